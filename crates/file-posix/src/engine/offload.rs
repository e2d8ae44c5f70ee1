//! Takes blocking work off the async threads.

use block_core::{Error, ErrorKind, Result};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// Why a request was not begun that waited for a thread.
pub(super) const SHUT_DOWN: &str = "the runtime shut down before the request began";

/// As [`SHUT_DOWN`].
pub(super) const NO_THREAD: &str =
    "no thread could be started for the request; raise the limit of processes and threads";

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
/// [`Unsupported`](ErrorKind::Unsupported) outside a tokio runtime, [`Io`](ErrorKind::Io) if no
/// thread can be started or the runtime shuts down before the work began.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let runtime = current_runtime()?;
    // Tokio panics if it has no blocking thread and can start none, and keeps the work. It must then
    // not be done later, when its failure was told.
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let kept = Arc::clone(&work);
    let spawn = || runtime.spawn_blocking(move || take(&kept).map(|work| work()));
    let Ok(task) = catch_unwind(AssertUnwindSafe(spawn)) else {
        drop(take(&work));
        return Err(not_done(NO_THREAD));
    };
    drop(work);
    match task.await {
        Ok(Some(done)) => Ok(done),
        Ok(None) => Err(not_done(NO_THREAD)),
        Err(error) if error.is_cancelled() => Err(not_done(SHUT_DOWN)),
        Err(_) => Err(not_done("the request's thread panicked")),
    }
}
