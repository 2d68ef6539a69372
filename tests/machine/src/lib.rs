//! A world for a test: an instance of its own, with folders, a supervisor and a machine of its own, all of which are
//! gone when it is dropped.

pub mod standin;
mod warm;
mod world;

pub use world::{PATIENCE, Ran, World, kill};
