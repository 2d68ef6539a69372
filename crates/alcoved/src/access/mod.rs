//! Who may come in: host names against DNS rebinding, origins against other pages, tokens, cookies and tickets.

mod gate;
mod sessions;

pub(crate) use gate::{Channel, api_gate, caller, surface_of_host, unknown_host};
pub(crate) use sessions::{Sessions, cookie_name, redeem};
