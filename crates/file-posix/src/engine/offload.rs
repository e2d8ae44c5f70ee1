//! Takes blocking work off the async threads.

use block_core::{ErrorKind, Result};
use std::io;
use tokio::runtime::Handle;

/// Runs `work` on the blocking pool of the runtime that polls this.
///
/// Once polled, the work is done even if the future is dropped.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) outside a tokio runtime, [`Io`](ErrorKind::Io) if the
/// runtime shuts down before the work began.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let runtime = Handle::try_current().map_err(|_| {
        ErrorKind::Unsupported(
            "file I/O needs a tokio runtime, and this request was polled outside of any".to_owned(),
        )
    })?;
    runtime.spawn_blocking(work).await.map_err(|error| {
        let why = if error.is_cancelled() {
            "the runtime shut down before the request began"
        } else {
            "the request's thread panicked"
        };
        ErrorKind::Io(io::Error::other(why)).into()
    })
}
