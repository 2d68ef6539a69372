//! Carrying bytes both ways.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};

/// The buffer of each direction. A slow reader stops the writer after this much.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// Copies both ways until both sides have ended. When one side ends, only the writing half of the other is closed, so
/// an answer that is still under way arrives. Returns the bytes from `a` to `b` and from `b` to `a`.
///
/// Dropping the future closes both.
///
/// # Errors
/// The first error of either side.
pub async fn splice<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    copy_bidirectional_with_sizes(a, b, BUFFER_BYTES, BUFFER_BYTES).await
}
