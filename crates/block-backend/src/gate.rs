//! Lets requests in, holds them back during a drain, and refuses them after a close.

use block_core::{ErrorKind, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

const DRAINING: usize = 1;
const CLOSED: usize = 2;
const ONE: usize = 4;

/// Counts the requests whose futures are alive, two flags beside the count in one word, so that
/// entering costs one atomic addition.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: AtomicUsize,
    drains: Mutex<usize>,
    /// Wakes both sides: requests when the gate opens, drains when the last request left.
    changed: Notify,
}

/// One request inside the gate.
#[must_use]
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    /// Counts the request until the pass is dropped, unless the gate is shut.
    #[inline]
    pub(crate) fn try_enter(&self) -> Option<Pass<'_>> {
        let before = self.state.fetch_add(ONE, Ordering::SeqCst);
        let pass = Pass(self);
        (before & (DRAINING | CLOSED) == 0).then_some(pass)
    }

    /// Waits while a drain is on, then counts the request until the pass is dropped.
    pub(crate) async fn enter(&self) -> Result<Pass<'_>> {
        loop {
            if let Some(pass) = self.try_enter() {
                return Ok(pass);
            }
            self.wait_until(|state| state & CLOSED != 0 || state & DRAINING == 0).await;
            if self.state.load(Ordering::SeqCst) & CLOSED != 0 {
                return Err(ErrorKind::Closed.into());
            }
        }
    }

    /// Holds back new requests until [`end_drain`](Self::end_drain); drains nest.
    pub(crate) fn begin_drain(&self) {
        let mut drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner);
        *drains = drains.saturating_add(1);
        self.state.fetch_or(DRAINING, Ordering::SeqCst);
    }

    pub(crate) fn end_drain(&self) {
        let mut drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner);
        *drains = drains.saturating_sub(1);
        if *drains == 0 {
            self.state.fetch_and(!DRAINING, Ordering::SeqCst);
            self.changed.notify_waiters();
        }
    }

    /// Refuses requests from now on, those held back by a drain included.
    pub(crate) fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Waits until no request is inside.
    pub(crate) async fn wait_empty(&self) {
        self.wait_until(|state| state < ONE).await;
    }

    /// Ends a request that was let in with [`stay`](Pass::stay).
    #[inline]
    pub(crate) fn leave(&self) {
        let before = self.state.fetch_sub(ONE, Ordering::SeqCst);
        // Only a drain or a close waits for the last request to leave.
        if before & (DRAINING | CLOSED) != 0 {
            self.changed.notify_waiters();
        }
    }

    async fn wait_until(&self, condition: impl Fn(usize) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if condition(self.state.load(Ordering::SeqCst)) {
                return;
            }
            changed.await;
        }
    }
}

impl Pass<'_> {
    /// Leaves the request inside: who takes it over calls [`leave`](Gate::leave).
    pub(crate) fn stay(self) {
        std::mem::forget(self);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn a_drain_holds_requests_back_and_waits_for_those_inside() {
        let gate = Gate::default();
        let inside = gate.enter().await.unwrap();
        gate.begin_drain();
        assert!(timeout(SOON, gate.wait_empty()).await.is_err());
        assert!(timeout(SOON, gate.enter()).await.is_err());
        drop(inside);
        gate.wait_empty().await;
        gate.begin_drain();
        gate.end_drain();
        assert!(timeout(SOON, gate.enter()).await.is_err(), "the outer drain is still on");
        gate.end_drain();
        let _pass = gate.enter().await.unwrap();
    }

    #[tokio::test]
    async fn closing_ends_the_wait_of_those_held_back() {
        let gate = Arc::new(Gate::default());
        gate.begin_drain();
        let held = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.map(drop) }
        });
        tokio::time::sleep(SOON).await;
        gate.close();
        let error = timeout(Duration::from_secs(120), held).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind().name(), "closed");
        gate.wait_empty().await;
    }
}
