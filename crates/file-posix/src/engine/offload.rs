//! Takes blocking work off the async threads.

use block_core::{Error, ErrorKind, Result};
use std::io;
use tokio::runtime::Handle;

/// Why a request was not begun that waited for a thread.
pub(super) const SHUT_DOWN: &str = "the runtime shut down before the request began";

/// The runtime that polls this.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) outside a tokio runtime.
pub(super) fn current_runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        let message =
            "file I/O needs a tokio runtime, and this request was polled outside of any".to_owned();
        ErrorKind::Unsupported(message).into()
    })
}

/// A request that nobody carried out.
pub(super) fn not_done(why: &'static str) -> Error {
    ErrorKind::Io(io::Error::other(why)).into()
}

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
    current_runtime()?.spawn_blocking(work).await.map_err(|error| {
        not_done(if error.is_cancelled() { SHUT_DOWN } else { "the request's thread panicked" })
    })
}
