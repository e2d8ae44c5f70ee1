//! What makes data durable, and what a failed sync means.
//!
//! After a failed `fdatasync` the kernel may have dropped the pages that it could not write, and
//! it reports such a loss once per open file. So a failure is kept: every later flush of the node
//! fails with it, whatever the kernel would say.
//!
//! Because the loss is reported once, two syncs must not run at the same time: one of them would
//! succeed although the other's failure concerns its data too. Syncs take turns, and whoever
//! waited while a whole sync passed is served by that one.

use crate::error::described;
use block_core::{Error, Result};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// What is known about an open file's durability.
#[derive(Debug, Default)]
pub(crate) struct Durability {
    failed: OnceLock<Error>,
    /// Number of the last sync that began, counting from 1.
    begun: AtomicU64,
    /// Number of the last sync that succeeded. Whoever holds the lock may sync.
    turn: Arc<Mutex<u64>>,
    /// Something changed since the last sync began.
    dirty: AtomicBool,
}

/// The right to sync. It travels into the operation, so that a sync whose future was dropped still
/// keeps others waiting.
#[derive(Debug)]
pub(crate) struct Turn {
    last_success: OwnedMutexGuard<u64>,
    number: u64,
}

impl Durability {
    /// Fails if a sync has failed before.
    pub(crate) fn check(&self) -> Result<()> {
        self.failed.get().map_or(Ok(()), |e| Err(e.clone()))
    }

    /// Remembers a failed sync for good; returns the failure that is remembered.
    pub(crate) fn fail(&self, error: io::Error) -> Error {
        let what = "data could not be made durable and may be lost; every later flush fails too, \
                    until the file is opened again";
        self.failed.get_or_init(|| described(what, error)).clone()
    }

    /// Says that there is something to sync.
    pub(crate) fn changed(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// Whether something changed since the last sync began.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Waits for the right to sync. `None` if a sync that began after this call succeeded
    /// meanwhile, so that none is needed any more.
    pub(crate) async fn turn(&self) -> Result<Option<Turn>> {
        self.check()?;
        let begun_before = self.begun.load(Ordering::SeqCst);
        let last_success = Arc::clone(&self.turn).lock_owned().await;
        self.check()?;
        if *last_success > begun_before {
            return Ok(None);
        }
        Ok(Some(self.begin(last_success)))
    }

    fn begin(&self, last_success: OwnedMutexGuard<u64>) -> Turn {
        self.dirty.store(false, Ordering::Release);
        let number = self.begun.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        Turn { last_success, number }
    }

    /// Ends a turn with what the sync gave.
    pub(crate) fn end(&self, mut turn: Turn, result: io::Result<()>) -> Result<()> {
        match result {
            Ok(()) => {
                *turn.last_success = turn.number;
                Ok(())
            }
            // The failure is remembered before the turn passes on.
            Err(error) => Err(self.fail(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn eio() -> io::Error {
        io::Error::from_raw_os_error(5)
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_failure_is_never_forgotten() {
        let durability = Durability::default();
        let turn = durability.turn().await.unwrap().unwrap();
        let first = durability.end(turn, Err(eio())).unwrap_err().to_string();
        assert!(first.contains("every later flush fails"), "{first}");
        assert!(first.contains("os error 5"), "{first}");
        assert_eq!(durability.turn().await.unwrap_err().to_string(), first);
        let other = io::Error::from_raw_os_error(28);
        assert_eq!(durability.fail(other).to_string(), first);
    }

    #[tokio::test]
    async fn a_failure_reaches_those_who_wait() {
        let durability = Durability::default();
        let turn = durability.turn().await.unwrap().unwrap();
        let mut waiting = pin!(durability.turn());
        assert!(poll(waiting.as_mut()).is_pending());
        durability.end(turn, Err(eio())).unwrap_err();
        waiting.await.unwrap_err();
    }

    #[tokio::test]
    async fn those_who_waited_through_a_whole_sync_need_none() {
        let durability = Durability::default();
        let first = durability.turn().await.unwrap().unwrap();
        let mut a = pin!(durability.turn());
        let mut b = pin!(durability.turn());
        assert!(poll(a.as_mut()).is_pending());
        assert!(poll(b.as_mut()).is_pending());
        durability.end(first, Ok(())).unwrap();
        // The first sync began before they asked, so it may have missed their data.
        let second = a.await.unwrap().unwrap();
        assert!(poll(b.as_mut()).is_pending());
        durability.end(second, Ok(())).unwrap();
        assert!(b.await.unwrap().is_none());
        // Who asks now is not served by the past.
        assert!(durability.turn().await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_sync_that_never_ran_serves_nobody() {
        let durability = Durability::default();
        let first = durability.turn().await.unwrap().unwrap();
        let mut waiting = pin!(durability.turn());
        assert!(poll(waiting.as_mut()).is_pending());
        drop(first);
        assert!(waiting.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_change_during_a_sync_stays_to_be_synced() {
        let durability = Durability::default();
        durability.changed();
        let turn = durability.turn().await.unwrap().unwrap();
        assert!(!durability.is_dirty());
        durability.changed();
        durability.end(turn, Ok(())).unwrap();
        assert!(durability.is_dirty());
    }
}
