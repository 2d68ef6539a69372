//! Tickets and versions.

wire! {
/// What a ticket opens.
#[derive(Copy, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// The native pages.
    Native,
    /// The web desktop.
    Desktop,
}

/// Asks for a link that signs a browser in once.
pub struct TicketRequest {
    /// What the link opens.
    #[serde(rename = "for")]
    pub surface: Surface,
}

/// A link that signs a browser in, once.
pub struct Ticket {
    /// The link.
    pub url: String,
    /// Until when it can be used, RFC 3339.
    pub expires_at: String,
}

/// Versions of the parts.
pub struct VersionInfo {
    /// The supervisor's version.
    pub alcove: String,
    /// Version of this API.
    pub api: String,
    /// The instance that this supervisor owns.
    pub instance: String,
    /// The supervisor's process.
    pub pid: u32,
}
}
