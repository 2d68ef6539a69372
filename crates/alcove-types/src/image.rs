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
    /// The image's files: `vmlinuz`, `initrd`, `root.erofs`.
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
}

/// The `schema` that this version writes and reads.
pub const MANIFEST_SCHEMA: u32 = 1;
