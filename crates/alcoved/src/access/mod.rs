//! Who may come in: host names against DNS rebinding, origins against other pages, tokens, cookies and tickets.

mod gate;
mod sessions;

pub(crate) use gate::{Channel, NATIVE, api_gate, caller, is_native_origin, surface_of_host, unknown_host};
pub(crate) use sessions::{Sessions, cookie_name, redeem};
