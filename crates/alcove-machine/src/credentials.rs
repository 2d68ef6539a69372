//! The machine's secrets: the door's keys, the cluster's token, the key that signs identities.
//!
//! They are made once, lie in a folder that only the owner may enter, and reach the guest through firmware
//! configuration: never through a command line, which every user of the host could read.

use std::{fmt, fs, io, path::Path, time::SystemTime};

use alcove_door::DoorKeys;
use alcove_types::guest::{DoorCredentials, KubernetesCredentials, MachineCredentials};

use crate::{Layout, MachineError, MachineSpec, Result, files};

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
    /// Reads the secrets; those that are missing are made. A file that is there is never replaced.
    pub fn ensure(layout: &Layout) -> Result<Self> {
        if let Some(there) = Self::load(layout)? {
            return Ok(there);
        }
        let folder = layout.credentials();
        let random = || hex::encode(rand::random::<[u8; 32]>());
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
            for (name, content) in door_files(&keys) {
                files::write_private(&folder.join(name), content.as_bytes())?;
            }
        }
        Self::load(layout)?.ok_or_else(|| MachineError::FileCorrupt {
            path: folder,
            reason: "secrets that were just written are not there".into(),
            kept: None,
        })
    }

    /// Reads the secrets; `None` when they have not all been made.
    pub fn load(layout: &Layout) -> Result<Option<Self>> {
        let folder = layout.credentials();
        let (Some(door), Some(token), Some(identity_key)) =
            (read_door(&folder)?, read(&folder.join("token"))?, read(&folder.join("identity.key"))?)
        else {
            return Ok(None);
        };
        for (name, value) in [("token", &token), ("identity.key", &identity_key)] {
            if value.len() != 64 || !value.chars().all(|c| c.is_ascii_hexdigit()) {
                return Err(MachineError::FileCorrupt {
                    path: folder.join(name),
                    reason: "it does not hold 64 hexadecimal digits".into(),
                    kept: None,
                });
            }
        }
        Ok(Some(Self { door, token, identity_key }))
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

    /// Writes the blob that QEMU hands to the guest, with the time of now.
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

/// The guest's host name.
pub fn hostname(spec: &MachineSpec) -> String {
    match spec.instance.as_str() {
        "default" => "alcove".into(),
        other => format!("alcove-{other}"),
    }
}

fn door_files(keys: &DoorKeys) -> [(&'static str, &str); 5] {
    [
        ("door-server.key", &keys.server_key),
        ("door-server.crt", &keys.server_cert),
        ("door-client.key", &keys.client_key),
        ("door-client.crt", &keys.client_cert),
        ("door-ca.crt", &keys.ca_cert),
    ]
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
