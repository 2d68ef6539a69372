//! The guest image's manifest.

wire! {
/// What a guest image holds, with hashes. Lies beside the image's files as `manifest.json`.
pub struct ImageManifest {
    /// Version of this structure.
    pub schema: u32,
    /// The image's version: a hash of what it was made from.
    pub version: String,
    /// When it was built, RFC 3339.
    pub created: String,
    /// Such as `x86_64`.
    pub architecture: String,
    /// Version of the kernel.
    pub kernel_version: String,
    /// Kernel command line, without what belongs to one machine.
    pub cmdline: String,
    /// Which Kubernetes it holds.
    pub kubernetes: ImageKubernetes,
    /// Version of the guest's daemon.
    pub guest_version: String,
    /// The image's files: `vmlinuz`, `initrd`, `root.erofs`, and, where it was built with one, `kubectl` for the host.
    pub files: Vec<ImageFile>,
    /// Debian packages inside.
    pub packages: Vec<ImagePackage>,
    /// Container images inside.
    pub containers: Vec<String>,
}

/// Which Kubernetes an image holds.
pub struct ImageKubernetes {
    /// `k3s` for the official release, `modules` for the same parts built from their modules, `none` in a rescue image.
    pub distribution: String,
    /// Its version.
    pub version: String,
}

/// One file of an image.
pub struct ImageFile {
    /// Its name in the image's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// One package of an image.
pub struct ImagePackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What an image is to the machine of this instance.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ImageRole {
    /// The machine uses it, and it is known to work.
    Active,
    /// The machine uses it for the first time; kept only when it comes up.
    Trial,
    /// What the machine returns to when the one on trial fails.
    Fallback,
    /// Goes on trial at the machine's next start, or is what a new machine gets.
    Next,
    /// Failed its trial; not tried again by itself.
    Refused,
    /// None of these.
    Unused,
}

/// An image on this computer.
pub struct ImageEntry {
    /// What it holds.
    pub manifest: ImageManifest,
    /// The folder it lies in.
    pub folder: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// What it is to the machine.
    pub role: ImageRole,
    /// Whether it lies among the person's own data; one that came in a package goes with the package.
    pub own: bool,
    /// Instances that need it: their machines use it, or may return to it, or a suspended copy was made with it.
    pub used_by: Vec<String>,
}

/// A folder that should hold an image and does not.
pub struct DamagedImage {
    /// The folder.
    pub folder: String,
    /// What is wrong.
    pub reason: String,
}

/// An image of which a part was brought.
pub struct UnfinishedImage {
    /// Its version.
    pub version: String,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Where a package says that its image is brought from; lies as `/usr/share/alcove/image-source.json`.
pub struct ImageSource {
    /// Version of this structure.
    pub schema: u32,
    /// A folder or an address that holds `manifest.json` and the files that it names.
    pub from: String,
    /// SHA-256 of `manifest.json`, in hexadecimal.
    pub manifest_sha256: String,
    /// The manifest itself, so that what comes is known before it comes.
    pub manifest: ImageManifest,
}

/// The images of this computer.
#[derive(Default)]
pub struct ImageList {
    /// Those that can be used, newest first.
    pub images: Vec<ImageEntry>,
    /// Those that can't.
    pub damaged: Vec<DamagedImage>,
    /// Those of which a part was brought; asking for them again goes on where it stopped.
    pub unfinished: Vec<UnfinishedImage>,
    /// Where the package says that its image is brought from.
    pub source: Option<ImageSource>,
    /// The task that brings one now.
    pub task: Option<String>,
}

/// Asks for an image to be brought.
#[derive(Default)]
pub struct ImageFetch {
    /// A folder (its whole path) or an `http` or `https` address that holds `manifest.json`; the package's own source
    /// when it is left out.
    #[serde(default)]
    pub source: Option<String>,
    /// What `manifest.json` must have as its SHA-256, in hexadecimal. The package's own source is always held against
    /// what the package says.
    #[serde(default)]
    pub sha256: Option<String>,
}
}

/// The `schema` of `image-source.json` that this version writes and reads.
pub const SOURCE_SCHEMA: u32 = 1;

/// The `schema` that this version writes and reads.
pub const MANIFEST_SCHEMA: u32 = 1;
