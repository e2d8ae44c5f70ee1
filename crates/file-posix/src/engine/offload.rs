//! Takes blocking work off the async threads.

use block_core::{Error, ErrorKind, Result};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

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
    let Ok(task) = hand_over(&current_runtime()?, work) else { return Err(not_done(NO_THREAD)) };
    match task.await {
        Ok(Some(done)) => Ok(done),
        Ok(None) => Err(not_done(NO_THREAD)),
        Err(error) if error.is_cancelled() => Err(not_done(SHUT_DOWN)),
        Err(_) => Err(not_done("the request's thread panicked")),
    }
}

/// Drops this on the blocking pool of the runtime around, or here if there is no thread to be had:
/// for what may wait, as the closing of a file on a network does. Never panics for want of a thread.
pub(super) fn drop_aside<T: Send + 'static>(what: T) {
    match Handle::try_current() {
        Ok(runtime) => drop(hand_over(&runtime, move || drop(what))),
        Err(_) => drop(what),
    }
}

/// Gives work to the blocking pool, or back if no thread can be had.
fn hand_over<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(
    runtime: &Handle,
    work: W,
) -> std::result::Result<JoinHandle<Option<T>>, Option<W>> {
    // Tokio panics if it has no blocking thread and can start none, and keeps the work. It must then
    // not be done later, when its failure was told.
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<W>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let kept = Arc::clone(&work);
    let spawn = || runtime.spawn_blocking(move || take(&kept).map(|work| work()));
    catch_unwind(AssertUnwindSafe(spawn)).map_err(|_| take(&work))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::runtime::Builder;

    #[test]
    fn what_no_thread_can_be_had_for_is_not_done_and_dropped_at_once() {
        // No thread has room for such a stack.
        let runtime = Builder::new_current_thread().thread_stack_size(1 << 47).build().unwrap();
        let held = Arc::new(());
        runtime.block_on(async {
            let own = Arc::clone(&held);
            let error = blocking(move || drop(own)).await.unwrap_err();
            assert!(error.to_string().contains("no thread"), "{error}");
            assert_eq!(Arc::strong_count(&held), 1);
            drop_aside(Arc::clone(&held));
            assert_eq!(Arc::strong_count(&held), 1);
        });
    }
}
