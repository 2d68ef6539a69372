//! Where an image is brought from: a folder or an address.

use std::{
    io,
    path::{Path, PathBuf},
};

use alcove_machine::image::{Images, LARGEST_MANIFEST, MANIFEST};
use alcove_types::{ApiError, ErrorCode};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{
    Patience,
    web::{self, Answer, Web},
};

/// Why a file did not come.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) error: ApiError,
    /// Whether a further try may get on.
    pub(super) again: bool,
}

impl Stop {
    /// What stays so however often it is tried.
    pub(super) fn for_good(error: ApiError) -> Self {
        Self { error, again: false }
    }

    /// What may be over soon.
    pub(super) fn for_now(error: ApiError) -> Self {
        Self { error, again: true }
    }
}

/// Where an image is brought from.
#[derive(Debug)]
pub(super) enum Source {
    Folder(PathBuf),
    Web(Box<Web>),
}

/// A file that is being read.
pub(super) struct Opened {
    /// The byte that comes first.
    pub(super) from: u64,
    /// Bytes of the whole file, where that is known.
    pub(super) total: Option<u64>,
    /// What tells this content of the file from a later one.
    pub(super) tag: Option<String>,
    pub(super) body: Body,
}

/// The bytes of a file as they come.
pub(super) enum Body {
    File(tokio::fs::File, PathBuf),
    Web(Answer),
}

/// Bytes read from a folder at once.
const PIECE: usize = 256 * 1024;

impl Source {
    /// Reads what a person wrote: a folder's whole path, one that begins with `~/`, or an address. Either may name the
    /// manifest itself, or, for folders, one that holds images by version.
    pub(super) fn parse(text: &str, patience: &Patience) -> Result<Self, ApiError> {
        let text = text.trim();
        if text.contains("://") && !text.starts_with("file:///") {
            return Web::new(text, patience).map(|web| Self::Web(Box::new(web)));
        }
        let path = text.strip_prefix("file://").unwrap_or(text);
        let path = match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => Path::new(&home).join(rest),
            _ => PathBuf::from(path),
        };
        if !path.is_absolute() {
            return Err(ApiError::new(
                ErrorCode::BadRequest,
                format!("{text:?} is neither the whole path of a folder nor an address."),
                "Write a path that begins with `/`, or an address that begins with `https://`.",
            ));
        }
        let path = if path.ends_with(MANIFEST) { path.parent().unwrap_or(&path).to_owned() } else { path };
        if !path.join(MANIFEST).exists()
            && let Some(newest) = Images::find_in(std::slice::from_ref(&path)).newest()
        {
            return Ok(Self::Folder(newest.folder.clone()));
        }
        Ok(Self::Folder(path))
    }

    /// Refuses what could be changed on its way here when nothing says what it must be: an image runs as the machine, and
    /// its `kubectl` on this computer.
    ///
    /// # Errors
    /// For addresses without encryption beyond this computer.
    pub(super) fn must_be_the_one_named(&self) -> Result<(), ApiError> {
        match self {
            Self::Web(web) if web::in_the_clear(web.base()) => Err(ApiError::new(
                ErrorCode::BadRequest,
                format!("What comes from {} could be changed on its way: the address has no encryption.", web.base()),
                "Use an address that begins with `https://`, or name the SHA-256 of its `manifest.json` \
                 (`alcove image fetch --sha256`).",
            )),
            _ => Ok(()),
        }
    }

    /// The source in words.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Folder(path) => path.display().to_string(),
            Self::Web(web) => web.base().to_owned(),
        }
    }

    /// Where a file of it lies, in words.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(path) => path.join(name),
            Self::Web(web) => format!("{}{name}", web.base()).into(),
        }
    }

    /// The manifest, byte for byte.
    pub(super) async fn manifest(&self) -> Result<Vec<u8>, Stop> {
        let mut opened = self.open(MANIFEST, 0, None).await?;
        let mut text = Vec::new();
        while let Some(piece) = opened.body.next().await? {
            text.extend_from_slice(&piece);
            if text.len() as u64 > LARGEST_MANIFEST {
                return Err(Stop::for_good(ApiError::new(
                    ErrorCode::ImageInvalid,
                    format!("{} is too large for a manifest.", self.place(MANIFEST).display()),
                    "Check the folder or the address: `manifest.json` of a guest image must lie there.",
                )));
            }
        }
        if opened.total.is_some_and(|total| total > text.len() as u64) {
            return Err(Stop::for_now(broken_off(&self.place(MANIFEST))));
        }
        Ok(text)
    }

    /// Begins to read a file from a byte on. What comes may begin at its start all the same: a server may not be able
    /// to, or its file may not be the one with this `tag` any more.
    pub(super) async fn open(&self, name: &str, from: u64, tag: Option<&str>) -> Result<Opened, Stop> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let failed = |e: io::Error| Stop::for_good(unreadable(&path, &e));
                let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
                let meta = file.metadata().await.map_err(failed)?;
                if !meta.is_file() {
                    return Err(failed(io::Error::other("it is not a file")));
                }
                file.seek(io::SeekFrom::Start(from)).await.map_err(failed)?;
                Ok(Opened { from, total: Some(meta.len()), tag: None, body: Body::File(file, path) })
            }
            Self::Web(web) => web.open(name, from, tag).await,
        }
    }
}

impl Body {
    /// What comes next; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Stop> {
        match self {
            Self::File(file, path) => {
                let mut piece = Vec::with_capacity(PIECE);
                let read = (&mut *file).take(PIECE as u64).read_to_end(&mut piece).await;
                let count = read.map_err(|e| Stop::for_good(unreadable(path, &e)))?;
                Ok((count > 0).then(|| piece.into()))
            }
            Self::Web(answer) => answer.next().await,
        }
    }
}

/// The bytes ended before their time.
pub(super) fn broken_off(place: &Path) -> ApiError {
    ApiError::new(
        ErrorCode::SourceUnreachable,
        format!("{} broke off half-way.", place.display()),
        "Ask again: it goes on where it stopped.",
    )
}

fn unreadable(path: &Path, error: &io::Error) -> ApiError {
    let (code, hint) = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => (
            ErrorCode::NotFound,
            "Check the folder: it must hold `manifest.json` and the files of a guest image. Is its drive plugged in?",
        ),
        io::ErrorKind::PermissionDenied => {
            (ErrorCode::Forbidden, "Make the folder and its files readable to you, or copy them somewhere else.")
        }
        _ => (ErrorCode::NotFound, "Check the folder and its drive, then ask again: it goes on where it stopped."),
    };
    ApiError::new(code, format!("{} can't be read: {error}.", path.display()), hint)
}
