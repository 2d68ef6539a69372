//! The machine's secrets: the door's keys, the cluster's token, the key that signs identities.
//!
//! They are made once. Certificates and the token lie in a folder that only the owner may enter; the private keys lie
//! there, too, or in the keychain ([`crate::secrets`]). They reach the guest through firmware configuration, whose file is
//! there for a moment only: never through a command line, which every user of the host could read.

use std::{ffi::OsStr, fmt, fs, io, path::Path, time::SystemTime};

use alcove_door::DoorKeys;
use alcove_types::guest::{DoorCredentials, KubernetesCredentials, MachineCredentials};
use sha2::{Digest, Sha256};

use crate::{
    Layout, MachineError, MachineSpec, Result, files,
    secrets::{Ask, Keys, Trouble, Vault},
};

/// Length of the blob that is handed to the guest. It is always the same, because a suspended state remembers it.
pub const BLOB_BYTES: usize = 16384;
/// The `schema` of the blob.
pub const SCHEMA: u32 = 1;

/// A machine's secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Keys of both ends of the door.
    pub door: DoorKeys,
    /// The secret part of the cluster's join token.
    pub token: String,
    /// 32 bytes in hexadecimal; signs the identity that the host vouches for.
    pub identity_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the secrets; those that are missing are made. One that is there is never replaced, unless a keychain has
    /// lost the keys. The machine must be off. May block for as long as a person takes to unlock the keychain.
    pub fn ensure(layout: &Layout) -> Result<Self> {
        Vault::of_process().ensure(layout)
    }

    /// Reads the secrets; `None` when they have not all been made. Asks nobody for a password; may block for seconds
    /// when a keychain does.
    pub fn load(layout: &Layout) -> Result<Option<Self>> {
        Vault::of_process().load(layout, Ask::Nobody)
    }

    /// [`Credentials::load`] off the event loop.
    pub async fn read(layout: &Layout) -> Result<Option<Self>> {
        let layout = layout.clone();
        off_the_loop(move || Self::load(&layout)).await
    }

    /// [`Credentials::ensure`] off the event loop.
    pub(crate) async fn prepare(layout: &Layout) -> Result<Self> {
        let layout = layout.clone();
        off_the_loop(move || Self::ensure(&layout)).await
    }

    /// Reads the secrets for a start, for which a person may be asked to unlock the keychain.
    pub(crate) async fn for_start(layout: &Layout) -> Result<Option<Self>> {
        let layout = layout.clone();
        off_the_loop(move || Vault::of_process().for_start(&layout)).await
    }

    /// Whether a copy of a machine takes this file of its credentials over as it is: the note about the original's place
    /// in the keychain stays behind.
    pub(crate) fn belongs_to_copies(name: &OsStr) -> bool {
        name == "token" || CERTIFICATES.iter().chain(&SECRET_FILES).any(|n| name == *n)
    }

    /// Writes the keys of a folder to files of its copy when the keychain holds them.
    pub(crate) async fn copy_keys(from: &Path, to: &Path) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        off_the_loop(move || Vault::of_process().copy(&from, &to)).await
    }

    /// Lets the keychain forget the secrets of a machine that is destroyed.
    pub(crate) async fn forget(layout: &Layout) {
        let layout = layout.clone();
        // The machine goes, whatever the keychain says.
        let _ = off_the_loop(move || {
            Vault::of_process().forget(&layout);
            Ok(())
        })
        .await;
    }

    /// What the guest gets.
    pub fn for_guest(&self, spec: &MachineSpec, now: SystemTime) -> MachineCredentials {
        let server = self.door.server();
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        MachineCredentials {
            schema: SCHEMA,
            instance: spec.instance.to_string(),
            hostname: hostname(spec),
            machine_id: spec.machine_id.clone(),
            door: DoorCredentials {
                ca_cert: server.ca_cert,
                server_cert: server.server_cert,
                server_key: server.server_key,
            },
            kubernetes: KubernetesCredentials { token: self.token.clone() },
            identity_key: self.identity_key.clone(),
            unix_time_ns: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
            account: spec.account.clone(),
        }
    }

    /// Writes the blob that QEMU hands to the guest, with the time of now. It goes as soon as QEMU has read it: see
    /// [`remove_blob`].
    pub fn write_blob(&self, layout: &Layout, spec: &MachineSpec) -> Result<()> {
        let path = layout.credentials_blob();
        let mut blob = serde_json::to_vec(&self.for_guest(spec, SystemTime::now()))
            .map_err(|e| MachineError::io("can't write", &path, io::Error::other(e)))?;
        if blob.len() >= BLOB_BYTES {
            return Err(MachineError::BadRequest {
                message: format!("the machine's credentials take {} bytes, {BLOB_BYTES} fit", blob.len()),
                hint: "Choose a shorter account name.".into(),
            });
        }
        blob.resize(BLOB_BYTES - 1, b' ');
        blob.push(b'\n');
        files::write_private(&path, &blob)
    }
}

/// Removes the blob. QEMU has read it by the time that it answers a command (its greeting comes before), and keeps it for
/// a guest that restarts by itself.
pub(crate) fn remove_blob(layout: &Layout) -> Result<()> {
    files::remove_if_there(&layout.credentials_blob())
}

/// The guest's host name.
pub fn hostname(spec: &MachineSpec) -> String {
    match spec.instance.as_str() {
        "default" => "alcove".into(),
        other => format!("alcove-{other}"),
    }
}

/// The files of the private keys; everything else in the folder may be read by whoever may read the disk.
const SECRET_FILES: [&str; 3] = ["door-server.key", "door-client.key", "identity.key"];
const CERTIFICATES: [&str; 3] = ["door-ca.crt", "door-server.crt", "door-client.crt"];

/// Makes what is missing, in files.
pub(crate) fn make(layout: &Layout) -> Result<Credentials> {
    let folder = layout.credentials();
    let random = || hex::encode(rand::random::<[u8; 32]>());
    // The token lies in the clear on the machine's disk, too, and a cluster does not come up with another one: a
    // keychain could only lose it.
    for name in ["token", "identity.key"] {
        let path = folder.join(name);
        if read(&path)?.is_none() {
            files::write_private(&path, random().as_bytes())?;
        }
    }
    if read_door(&folder)?.is_none() {
        // All five belong together, so they are made together; the authority's certificate is written last and
        // stands for all of them.
        let keys = DoorKeys::generate(layout.instance().as_str())?;
        for (name, content) in [
            ("door-server.key", &keys.server_key),
            ("door-server.crt", &keys.server_cert),
            ("door-client.key", &keys.client_key),
            ("door-client.crt", &keys.client_cert),
            ("door-ca.crt", &keys.ca_cert),
        ] {
            files::write_private(&folder.join(name), content.as_bytes())?;
        }
    }
    from_files(&folder)?.ok_or_else(|| MachineError::FileCorrupt {
        path: folder,
        reason: "secrets that were just written are not there".into(),
        kept: None,
    })
}

/// The secrets of a folder whose keys lie in files, too; `None` when they have not all been made.
pub(crate) fn from_files(folder: &Path) -> Result<Option<Credentials>> {
    let (Some(door), Some(token), Some(identity_key)) =
        (read_door(folder)?, read(&folder.join("token"))?, read(&folder.join("identity.key"))?)
    else {
        return Ok(None);
    };
    checked(folder, Credentials { door, token, identity_key }).map(Some)
}

/// The secrets of a folder whose keys lie in the keychain.
pub(crate) fn with_keys(folder: &Path, keys: Keys) -> Result<Option<Credentials>> {
    let file = |name: &str| {
        let path = folder.join(name);
        read(&path)?.ok_or_else(|| MachineError::FileCorrupt {
            path,
            reason: "it is missing, while the keychain has the keys".into(),
            kept: None,
        })
    };
    let door = DoorKeys {
        ca_cert: file("door-ca.crt")?,
        server_cert: file("door-server.crt")?,
        server_key: keys.door_server_key,
        client_cert: file("door-client.crt")?,
        client_key: keys.door_client_key,
    };
    if authority(&door) != keys.authority {
        return Err(MachineError::FileCorrupt {
            path: folder.join("door-ca.crt"),
            reason: "the keychain's keys belong to another one".into(),
            kept: None,
        });
    }
    checked(folder, Credentials { door, token: file("token")?, identity_key: keys.identity_key }).map(Some)
}

/// What the keychain is to hold.
pub(crate) fn keys(of: &Credentials) -> Keys {
    Keys {
        door_server_key: of.door.server_key.clone(),
        door_client_key: of.door.client_key.clone(),
        identity_key: of.identity_key.clone(),
        authority: authority(&of.door),
    }
}

/// Writes the files of the private keys.
pub(crate) fn write_keys(folder: &Path, keys: &Keys) -> Result<()> {
    for (name, content) in
        SECRET_FILES.into_iter().zip([&keys.door_server_key, &keys.door_client_key, &keys.identity_key])
    {
        files::write_private(&folder.join(name), content.as_bytes())?;
    }
    Ok(())
}

/// Removes the files of the private keys.
pub(crate) fn remove_secret_files(folder: &Path) -> Result<()> {
    SECRET_FILES.iter().try_for_each(|name| files::remove_if_there(&folder.join(name)))?;
    files::sync_parent(&folder.join(SECRET_FILES[0]))
}

/// Removes what belongs to keys that are lost. The token stays.
pub(crate) fn remove_keys(folder: &Path) -> Result<()> {
    CERTIFICATES.iter().try_for_each(|name| files::remove_if_there(&folder.join(name)))?;
    remove_secret_files(folder)
}

fn authority(door: &DoorKeys) -> String {
    hex::encode(Sha256::digest(&door.ca_cert))
}

fn checked(folder: &Path, credentials: Credentials) -> Result<Credentials> {
    for (name, value) in [("token", &credentials.token), ("identity.key", &credentials.identity_key)] {
        if value.len() != 64 || !value.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(MachineError::FileCorrupt {
                path: folder.join(name),
                reason: "it does not hold 64 hexadecimal digits".into(),
                kept: None,
            });
        }
    }
    Ok(credentials)
}

async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| MachineError::Keychain(Trouble::Failed(format!("the access broke off: {e}"))))?
}

fn read_door(folder: &Path) -> Result<Option<DoorKeys>> {
    let Some(ca_cert) = read(&folder.join("door-ca.crt"))? else { return Ok(None) };
    let rest = |name: &str| {
        let path = folder.join(name);
        read(&path)?.ok_or_else(|| MachineError::FileCorrupt {
            path,
            reason: "it is missing, while the other keys are there".into(),
            kept: None,
        })
    };
    Ok(Some(DoorKeys {
        ca_cert,
        server_cert: rest("door-server.crt")?,
        server_key: rest("door-server.key")?,
        client_cert: rest("door-client.crt")?,
        client_key: rest("door-client.key")?,
    }))
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(MachineError::io("can't read", path, e)),
    }
}
