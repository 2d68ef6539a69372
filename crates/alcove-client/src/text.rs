//! A stream of text.

use alcove_types::ApiError;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::errors;

/// Text as it arrives. Dropping it ends the request.
#[derive(Debug)]
pub struct TextStream {
    body: Incoming,
}

impl TextStream {
    pub(crate) const fn new(body: Incoming) -> Self {
        Self { body }
    }

    /// The next piece, which may end in the middle of a line or of a character; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(e)) => return Err(errors::broken(e)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}
