//! The read models over objects as Kubernetes writes them, and the client against a stand-in for the API server.

mod client;
mod nodes_and_events;
mod pods;
