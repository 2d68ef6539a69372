//! The read models over objects as Kubernetes writes them, and the client against a stand-in for the API server.
#![allow(clippy::unwrap_used)] // a test may fail that way

mod client;
mod nodes_and_events;
mod pods;
