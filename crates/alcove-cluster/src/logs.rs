//! Logs of a container.

use alcove_types::ApiError;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::errors;

/// Which part of a pod's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The container; needed where there are several.
    pub container: Option<String>,
    /// Only the last lines.
    pub tail: Option<u32>,
    /// Go on as lines are written.
    pub follow: bool,
    /// Of the container's life before its last restart.
    pub previous: bool,
    /// Begin each line with its time.
    pub timestamps: bool,
}

impl LogOptions {
    pub(crate) fn path(&self, namespace: &str, pod: &str) -> Result<String, ApiError> {
        let mut path = format!("/api/v1/namespaces/{}/pods/{}/log", name(namespace)?, name(pod)?);
        let mut options = Vec::new();
        if let Some(container) = &self.container {
            options.push(format!("container={}", name(container)?));
        }
        if let Some(lines) = self.tail {
            options.push(format!("tailLines={lines}"));
        }
        for (wanted, option) in [(self.follow, "follow"), (self.previous, "previous"), (self.timestamps, "timestamps")]
        {
            if wanted {
                options.push(format!("{option}=true"));
            }
        }
        if !options.is_empty() {
            path = format!("{path}?{}", options.join("&"));
        }
        Ok(path)
    }
}

/// A name of an object, which can be part of a path as it is; whatever else is refused.
pub(crate) fn name(text: &str) -> Result<&str, ApiError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let fine = (1..=253).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with(['.', '-'])
        && !text.ends_with(['.', '-']);
    if fine { Ok(text) } else { Err(errors::bad_name(text)) }
}

/// A log as it arrives. Dropping it closes the connection, so the API server stops following.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
}

impl LogStream {
    pub(crate) const fn new(body: Incoming) -> Self {
        Self { body }
    }

    /// The next piece, which may end in the middle of a line; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(e)) => return Err(errors::unreachable(e)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_a_query() {
        let options = LogOptions { container: Some("web".into()), tail: Some(50), follow: true, ..Default::default() };
        let path = options.path("default", "web-1").expect("path");
        assert_eq!(path, "/api/v1/namespaces/default/pods/web-1/log?container=web&tailLines=50&follow=true");
        assert_eq!(LogOptions::default().path("a", "b").expect("path"), "/api/v1/namespaces/a/pods/b/log");
    }

    #[test]
    fn names_can_not_lead_elsewhere() {
        for bad in ["", "..", "a/../../secrets", "a?b", "a%2fb", "A", "a b", "-a", "a.", &"a".repeat(254)] {
            assert!(LogOptions::default().path(bad, "pod").is_err(), "{bad}");
            assert!(LogOptions::default().path("ns", bad).is_err(), "{bad}");
            let options = LogOptions { container: Some(bad.into()), ..Default::default() };
            assert!(options.path("ns", "pod").is_err(), "{bad}");
        }
    }
}
