//! Read models of the cluster: what a person needs to see of nodes, pods and events.
//!
//! The functions that turn Kubernetes' objects into rows are pure ([`pods`], [`nodes`], [`events`], [`overview`]).
//! [`ClusterClient`] asks the API server for the objects, over whatever [`Dial`] connects.

mod client;
mod connection;
mod errors;
mod event_rows;
mod logs;
mod node_rows;
pub mod object;
mod overview;
mod pod_rows;
mod pod_status;
mod quantity;

pub use client::ClusterClient;
pub use connection::{Dial, DoorDial};
pub use event_rows::events;
pub use logs::{LogOptions, LogStream};
pub use node_rows::nodes;
pub use overview::overview;
pub use pod_rows::pods;
pub use quantity::{bytes, millis};
