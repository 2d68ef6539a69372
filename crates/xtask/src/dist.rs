//! Packages for people: a `.deb` and an `.rpm` that install by double click.

mod binaries;
mod contents;
mod deb;
mod rpm;
mod tiny;

#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use contents::{Inputs, Package};
pub(crate) use tiny::tiny_image;

use crate::product;

/// Where the packages go when nothing else is said.
const OUT: &str = "target/dist";

/// Options of `cargo xtask dist`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DistArgs {
    /// Where the packages go.
    #[arg(long, value_name = "FOLDER", default_value = OUT)]
    pub out: PathBuf,
    /// Put the guest image in this folder into the packages.
    #[arg(long, value_name = "FOLDER", conflicts_with = "image_from")]
    pub with_image: Option<PathBuf>,
    /// Folder or URL from which the guest image is brought at first run.
    #[arg(long, value_name = "ADDRESS", requires = "image_manifest")]
    pub image_from: Option<String>,
    /// The manifest of the image that is brought.
    #[arg(long, value_name = "FILE", requires = "image_from")]
    pub image_manifest: Option<PathBuf>,
    /// Use the binaries in this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    pub binaries: Option<PathBuf>,
    /// A kubectl that the packages carry beside the supervisor; without it, `alcove kubectl` takes the image's own.
    #[arg(long, value_name = "FILE")]
    pub kubectl: Option<PathBuf>,
    /// Install the .deb in a clean Debian 13 afterwards, start what it brought, and purge it again.
    #[arg(long = "try")]
    pub try_out: bool,
}

impl Default for DistArgs {
    fn default() -> Self {
        Self {
            out: OUT.into(),
            with_image: None,
            image_from: None,
            image_manifest: None,
            binaries: None,
            kubectl: None,
            try_out: false,
        }
    }
}

/// What the packages say about themselves.
#[derive(Debug, Clone)]
struct Release {
    version: String,
    /// Seconds since 1970: every time in the packages.
    epoch: u64,
}

/// Makes the packages and prints where they are and how large.
///
/// # Errors
/// When something can't be built, found or written.
pub(crate) fn run(args: &DistArgs) -> anyhow::Result<()> {
    let root = product::repository()?;
    let release = Release { version: env!("CARGO_PKG_VERSION").to_owned(), epoch: source_date(&root)? };
    let folder = match &args.binaries {
        Some(folder) => folder.clone(),
        None => binaries::build(&root, &release)?,
    };
    // kubectl alone is larger than all the rest: it comes with the image.
    let made = binaries::collect(&folder, args.kubectl.as_deref())?;
    let written = tempfile::tempdir().context("can't make a folder for the manual pages")?;
    binaries::write_documents(&made, written.path())?;
    let inputs = Inputs {
        root: &root,
        binaries: &made,
        documents: written.path(),
        image: args.with_image.as_deref(),
        image_source: match (&args.image_from, &args.image_manifest) {
            (Some(from), Some(manifest)) => Some((from.as_str(), manifest.as_path())),
            _ => None,
        },
        third_party: &binaries::third_party(&root)?,
        release: &release,
    };
    let out = root.join(&args.out);
    fs::create_dir_all(&out).with_context(|| format!("can't make {}", out.display()))?;
    let glibc = binaries::newest_glibc(&made)?;

    let path = out.join(format!("alcove_{}-1_amd64.deb", release.version));
    deb::write(&contents::collect(&inputs, Package::Deb)?, &release, glibc, &path)?;
    report(&path, args.with_image.is_some())?;
    let deb = path;

    let path = out.join(format!("alcove-{}-1.x86_64.rpm", release.version));
    rpm::write(&contents::collect(&inputs, Package::Rpm)?, &release, glibc, &path)?;
    report(&path, args.with_image.is_some())?;

    if args.with_image.is_none() && args.image_from.is_none() {
        warn();
    }
    if args.try_out {
        let mut script = Command::new(root.join("installers/linux/try-deb.sh"));
        let status = script.arg(&deb).status().context("can't run installers/linux/try-deb.sh")?;
        ensure!(status.success(), "{} did not pass its trial", deb.display());
    }
    Ok(())
}

/// The largest that a package without an image is meant to be.
const BUDGET: u64 = 15_000_000;

#[expect(clippy::print_stdout, reason = "the result that the person asked for")]
fn report(path: &Path, with_image: bool) -> anyhow::Result<()> {
    let bytes = fs::metadata(path).with_context(|| format!("can't look at {}", path.display()))?.len();
    let tenths = bytes / 100_000;
    let over = if !with_image && bytes > BUDGET { " (over the budget of 15 MB)" } else { "" };
    println!("{}  {}.{} MB{over}", path.display(), tenths / 10, tenths % 10);
    Ok(())
}

#[expect(clippy::print_stderr, reason = "told to the person")]
fn warn() {
    eprintln!(
        "warning: these packages hold no guest image, and don't say where one is brought from: a person who installs one \
         is asked for an address at the first start.\n         --with-image FOLDER puts an image inside; --image-from \
         ADDRESS --image-manifest FILE names where it is."
    );
}

/// Every time in the packages: what `SOURCE_DATE_EPOCH` says, or when the last commit was made.
fn source_date(root: &Path) -> anyhow::Result<u64> {
    if let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") {
        return text.parse().context("SOURCE_DATE_EPOCH is not a number of seconds");
    }
    let output = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(root)
        .output()
        .context("can't run git; set SOURCE_DATE_EPOCH instead")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().context("git knows no last commit; set SOURCE_DATE_EPOCH instead")
}

/// A time of the packages.
fn time(epoch: u64) -> anyhow::Result<jiff::Zoned> {
    let seconds = i64::try_from(epoch).context("the time is too far away")?;
    Ok(jiff::Timestamp::from_second(seconds).context("the time is too far away")?.to_zoned(jiff::tz::TimeZone::UTC))
}
