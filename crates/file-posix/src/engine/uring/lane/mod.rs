//! One ring, the requests that wait for it, and the task that drives it.
//!
//! A request that finds the ring idle submits itself. While others are in flight it only queues:
//! the driver, which runs once the tasks that it has just woken had their turn, submits them all
//! with one call. Completions wake the driver through an eventfd that the runtime watches; it reaps
//! all there are, and wakes those that wait for them.
//!
//! A thread that takes turns of what it drives ([`block_core::turns`]) needs neither task nor eventfd,
//! see `own`.
//!
//! A runtime that shuts down drops its driver. What is in flight is then waited for by a thread, so
//! that memory, locks and counts are given back, and requests that other runtimes wait for end.

mod orphan;
mod own;
mod request;
mod state;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
mod tests;

pub(super) use request::{Answer, Request};
pub(super) use state::Keep;

use super::Held;
use crate::sys::{Queues, Ring, Transfer, watch_readable};
use block_core::turns::{self, TurnsId};
use orphan::Driver;
use state::{After, Next, State};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

/// A ring that belongs to one runtime.
pub(super) struct Lane<Q: Queues> {
    state: Mutex<State<Q>>,
    /// Readable when something may have ended.
    events: OwnedFd,
    /// Who drives it without a task. Requests are taken from that thread only: from any other one,
    /// nothing would wake it.
    owner: Option<TurnsId>,
}

/// Who takes a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Driver,
    /// The thread that drives it without a task.
    Owner,
    Helper,
}

impl<Q: Queues + Send + 'static> Lane<Q> {
    /// Has this runtime drive a ring.
    ///
    /// # Errors
    /// What the kernel says, and `Unsupported` if the runtime has no I/O driver.
    pub(super) fn open(mut ring: Ring<Keep, Q>, runtime: &Handle) -> io::Result<Arc<Self>> {
        let events = ring.events()?;
        let watched = watch(runtime, &events)?;
        let lane = Arc::new(Self { state: Mutex::new(State::new(ring)), events, owner: None });
        // Made before the task, so that it also notices a task that is never polled.
        let driver = Driver::new(&lane);
        drop(runtime.spawn(async move { driver.lane().drive(&watched).await }));
        Ok(lane)
    }
}

impl<Q: Queues> Lane<Q> {
    fn state(&self) -> MutexGuard<'_, State<Q>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is queued from this thread will be submitted.
    fn is_driven_for_here(&self) -> bool {
        self.owner.is_none() || self.owner == turns::taken_here()
    }

    pub(super) fn is_retired(&self) -> bool {
        self.state().retired
    }

    /// Makes one transfer. Gives it back if the lane takes no more.
    pub(super) fn transfer(&self, transfer: Transfer, held: Held) -> Request<'_, Q> {
        Request::new(self, transfer, held)
    }

    /// Ends the driver once nothing is in flight; whether nothing is.
    pub(super) fn close(&self) -> bool {
        let (idle, driver) = {
            let mut state = self.state();
            state.closing = true;
            (state.ring.is_idle(), state.driver.take())
        };
        driver.into_iter().for_each(Waker::wake);
        idle
    }

    /// Takes turns until nobody needs the lane any more.
    pub(super) async fn drive(&self, events: &AsyncFd<OwnedFd>) {
        loop {
            match self.turn(By::Driver) {
                Next::Again => tokio::task::yield_now().await,
                Next::Sleep => {
                    self.sleep(events).await;
                    // Woken by a request: others may follow in this round.
                    if self.state().can_submit() {
                        tokio::task::yield_now().await;
                    }
                }
                Next::End => return,
            }
        }
    }

    /// As [`drive`](Self::drive), from a runtime that waits for requests of another one, which
    /// may not be driven at the moment. Does not return.
    pub(super) async fn help(&self, runtime: &Handle) {
        let Ok(events) = watch(runtime, &self.events) else { return };
        loop {
            while matches!(self.turn(By::Helper), Next::Again) {
                tokio::task::yield_now().await;
            }
            match events.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                // This runtime shuts down.
                Err(_) => return,
            }
        }
    }

    /// Submits what is queued and reaps what has ended.
    fn turn(&self, by: By) -> Next {
        let mut after = After::default();
        let next = {
            let mut state = self.state();
            state.submit(&mut after);
            state.reap(&mut after);
            let woken = after.wakers.len();
            let next = match state.next(woken) {
                // The requests of these tasks wait for another turn.
                Next::Sleep if by == By::Owner && woken > 0 => Next::Again,
                next => next,
            };
            if by == By::Driver {
                state.awake = matches!(next, Next::Again);
            }
            next
        };
        after.finish();
        next
    }

    async fn sleep(&self, events: &AsyncFd<OwnedFd>) {
        poll_fn(|cx| {
            {
                let mut state = self.state();
                if state.can_submit() || state.closing && state.ring.is_idle() {
                    return Poll::Ready(());
                }
                state.driver = Some(cx.waker().clone());
                state.awake = false;
            }
            match events.poll_read_ready(cx) {
                Poll::Ready(Ok(mut ready)) => {
                    // The descriptor's count is left as it is: each completion is an event anew.
                    ready.clear_ready();
                    Poll::Ready(())
                }
                // The runtime shuts down.
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
            }
        })
        .await;
        self.state().awake = true;
    }
}

impl<Q: Queues> fmt::Debug for Lane<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(f)
    }
}

/// Watches a descriptor from a runtime.
fn watch(runtime: &Handle, events: &OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let events = events.try_clone()?;
    let _context = runtime.enter();
    // Tokio has no way to ask whether a runtime has an I/O driver, and panics if it has none.
    let watched = catch_unwind(AssertUnwindSafe(|| watch_readable(events)));
    watched.unwrap_or_else(|_| {
        let message = "the tokio runtime was built without its I/O driver (enable_io)";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    })
}
