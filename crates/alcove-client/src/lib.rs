//! Speaks to the supervisor. The command line, the desktop shell and the tests all go through here, so that they find
//! the same supervisor in the same way and show the same errors.
//!
//! Reading is [`Client::get`] and the typed calls on top of it; what changes something is sent with a key of its own, so
//! that a request whose answer was lost can be sent again.
//!
//! Every failure is an [`alcove_types::ApiError`]: the supervisor's own words when it answered, ours when it did not.

mod client;
mod connection;
mod errors;
mod events;
mod sse;
mod start;
mod terminal;
mod text;

pub use client::{Client, Outcome};
pub use events::EventStream;
pub use sse::{SseMessage, SseParser};
pub use start::{Endpoint, find_beside, find_executable, find_on_path};
pub use terminal::{Terminal, TerminalInput, TerminalMessage, TerminalOutput};
pub use text::TextStream;

/// Encodes `text` for use as one segment of a path or one value of a query.
#[must_use]
pub fn encode_component(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn components_can_hold_anything() {
        assert_eq!(super::encode_component("ls -l /a&b=c"), "ls%20-l%20%2Fa%26b%3Dc");
        assert_eq!(super::encode_component("é"), "%C3%A9");
    }
}
