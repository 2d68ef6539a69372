//! What the tests of the window stand on: a place of their own, a virtual display with a session bus, and a driver of
//! the real window.

pub mod driver;
pub mod page;
pub mod place;
pub mod screen;

use std::{future::Future, time::Duration};

use anyhow::bail;
use tokio::time::{Instant, sleep};

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until `look` gives something; what it last failed with says why it never did.
///
/// # Errors
/// When the deadline passes.
pub async fn eventually<T, F>(what: &str, deadline: Duration, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let until = Instant::now() + deadline;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= until => bail!("{what}: not within {} s: {error:#}", deadline.as_secs()),
            Err(_) => sleep(LOOK).await,
        }
    }
}
