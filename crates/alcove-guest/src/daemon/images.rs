//! What the image says of itself.

use alcove_types::image::ImageKubernetes;
use serde::Deserialize;

const ABOUT: &str = "/usr/lib/alcove/image.json";

/// `image.json`, written when the image was built.
#[derive(Debug, Deserialize)]
pub(super) struct About {
    /// The image's version.
    pub(super) version: String,
    /// Which Kubernetes it holds.
    pub(super) kubernetes: ImageKubernetes,
    /// References of the container images inside.
    #[serde(default)]
    pub(super) containers: Vec<String>,
}

impl About {
    /// Reads it. An image that says nothing of itself is still served.
    pub(super) fn read() -> Self {
        std::fs::read(ABOUT).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_else(|| Self {
            version: String::new(),
            kubernetes: ImageKubernetes { distribution: "none".to_owned(), version: String::new() },
            containers: Vec::new(),
        })
    }

    /// Whether the image holds a Kubernetes at all.
    pub(super) fn has_kubernetes(&self) -> bool {
        self.kubernetes.distribution != "none"
    }
}
