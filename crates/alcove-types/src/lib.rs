//! Wire types of Alcove: what the supervisor, the guest, the command line and the user interface say to each other.
//!
//! Nothing here does IO. The TypeScript in `ui/packages/api/src/gen` is generated from these types by this crate's
//! tests, and the OpenAPI document takes its schemas from them.

/// Derives what every wire type has.
macro_rules! wire {
    ($($item:item)*) => {$(
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[cfg_attr(test, derive(ts_rs::TS), ts(export, export_to = "types.ts"))]
        $item
    )*};
}

pub mod boot;
pub mod cluster;
pub mod condition;
pub mod error;
pub mod event;
pub mod guest;
pub mod host;
pub mod image;
pub mod machine;
pub mod operation;
pub mod session;
pub mod settings;
pub mod status;
pub mod task;

pub use condition::{Condition, ConditionStatus};
pub use error::{ApiError, ErrorCode};
