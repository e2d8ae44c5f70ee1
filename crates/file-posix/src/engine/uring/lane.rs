//! One ring, the requests that wait for it, and the task that drives it.
//!
//! A request that finds the ring idle submits itself. While others are in flight it only queues:
//! the driver, which runs once the tasks that it has just woken had their turn, submits them all
//! with one call. Completions wake the driver through an eventfd that the runtime watches; it reaps
//! all there are, and wakes those that wait for them.
//!
//! A runtime that shuts down drops its driver. What is in flight is then waited for by a thread, so
//! that memory, locks and counts are given back, and requests that other runtimes wait for end.

use super::Held;
use crate::sys::{Ended, Ring, Transfer, watch_readable};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use smallvec::SmallVec;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

/// What lives as long as a transfer.
#[derive(Debug)]
struct Keep {
    /// `None` once the request is done.
    held: Option<Held>,
    waiter: Waiter,
}

#[derive(Debug)]
enum Waiter {
    Task(Option<Waker>),
    /// The request's future was dropped.
    Gone,
}

impl AsFd for Keep {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.held {
            Some(held) => held.file.fd(),
            // A transfer that is not done holds its file.
            None => std::process::abort(),
        }
    }
}

/// So often in a row may the kernel put off a submission while it has nothing to complete.
const MAX_REFUSALS: u32 = 1000;

/// A ring that belongs to one runtime.
#[derive(Debug)]
pub(super) struct Lane {
    state: Mutex<State>,
    events: OwnedFd,
}

#[derive(Debug)]
struct State {
    ring: Ring<Keep>,
    /// The driver's, while it sleeps.
    driver: Option<Waker>,
    /// The driver will take a turn soon without being woken.
    awake: bool,
    /// Takes no more requests: its runtime has ended, or the kernel refuses the ring.
    retired: bool,
    /// How often in a row the kernel put a submission off.
    refusals: u32,
    /// Nobody will send a request any more; the driver ends when the last one has.
    closing: bool,
}

/// What is to be done once the lane is unlocked: others may come back to it from there.
#[derive(Default)]
struct After {
    wakers: SmallVec<[Waker; 32]>,
    released: SmallVec<[Held; 4]>,
}

impl After {
    fn finish(self) {
        for held in self.released {
            release(held);
        }
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

/// Closing a file can wait, for a network file system for example.
fn release(held: Held) {
    match Handle::try_current() {
        Ok(runtime) if Arc::strong_count(&held.file) == 1 => {
            drop(runtime.spawn_blocking(move || drop(held)));
        }
        _ => drop(held),
    }
}

/// Who takes a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Driver,
    Helper,
}

/// What the driver does next.
enum Next {
    /// Let the tasks run that were woken, then take another turn.
    Again,
    Sleep,
    End,
}

impl Lane {
    /// A ring that is driven by this runtime.
    ///
    /// # Errors
    /// What the kernel says, and `Unsupported` if the runtime has no I/O driver.
    pub(super) fn open(runtime: &Handle) -> io::Result<Arc<Self>> {
        let ring = Ring::new()?;
        let events = ring.events()?;
        let watched = watch(runtime, &events)?;
        let state =
            State { ring, driver: None, awake: true, retired: false, refusals: 0, closing: false };
        let lane = Arc::new(Self { state: Mutex::new(state), events });
        // Made before the task, so that it also notices a task that is never polled.
        let driver = Driver(Arc::clone(&lane));
        drop(runtime.spawn(async move { driver.0.drive(&watched).await }));
        Ok(lane)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_retired(&self) -> bool {
        self.state().retired
    }

    /// Makes one transfer. Gives it back if the lane takes no more.
    pub(super) fn transfer(&self, transfer: Transfer, held: Held) -> Request<'_> {
        Request { lane: self, stage: Stage::New(Some((transfer, held))) }
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
            let next = state.next(after.wakers.len());
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

    /// Waits for what is in flight, for want of a driver.
    fn drain(&self) {
        loop {
            let next = self.turn(By::Helper);
            if matches!(next, Next::End) || self.state().ring.is_idle() {
                return;
            }
            let mut count = [0; 8];
            if nix::unistd::read(&self.events, &mut count).is_err() {
                let mut fds = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut fds, PollTimeout::NONE);
            }
        }
    }
}

impl State {
    fn can_submit(&self) -> bool {
        !self.retired && self.ring.can_submit()
    }

    fn submit(&mut self, after: &mut After) {
        if !self.can_submit() {
            return;
        }
        let Err(error) = self.ring.submit() else {
            self.refusals = 0;
            return;
        };
        let passing = [nix::libc::EINTR, nix::libc::EAGAIN, nix::libc::EBUSY];
        if error.raw_os_error().is_some_and(|e| passing.contains(&e)) {
            self.refusals = self.refusals.saturating_add(1);
            // What is in flight will free what the kernel lacks; if nothing is, nothing will.
            if self.ring.is_busy() || self.refusals < MAX_REFUSALS {
                return;
            }
        }
        tracing::error!(%error, "the kernel refuses io_uring; threads do the work from now on");
        self.retired = true;
        self.cancel_unsubmitted(after);
    }

    fn cancel_unsubmitted(&mut self, after: &mut After) {
        let mut gone = SmallVec::<[usize; 4]>::new();
        self.ring.cancel_unsubmitted(|key, keep| keep.tell(key, &mut gone, after));
        self.forget(gone, after);
    }

    fn reap(&mut self, after: &mut After) {
        let mut gone = SmallVec::<[usize; 4]>::new();
        self.ring.reap(|key, outcome, keep| {
            if let Some((held, end)) = keep.held.as_ref().zip(outcome.written_up_to) {
                held.file.changed_up_to(end);
            }
            if outcome.done {
                after.released.extend(keep.held.take());
            }
            keep.tell(key, &mut gone, after);
        });
        self.forget(gone, after);
    }

    /// Takes out what nobody waits for.
    fn forget(&mut self, gone: SmallVec<[usize; 4]>, after: &mut After) {
        let kept = gone.into_iter().filter_map(|key| self.ring.take(key));
        after.released.extend(kept.filter_map(|(_, keep)| keep.held));
    }

    fn next(&mut self, woken: usize) -> Next {
        if self.closing && self.ring.is_idle() {
            return Next::End;
        }
        // A task that is alone will find the ring idle and submit by itself. Several are better
        // waited for, and submitted together.
        let busy = woken > 1 || woken == 1 && self.ring.is_busy();
        if busy || self.can_submit() { Next::Again } else { Next::Sleep }
    }
}

impl Keep {
    /// Tells the request's task that it has ended; a key whose request is gone goes to `gone`.
    fn tell(&mut self, key: usize, gone: &mut SmallVec<[usize; 4]>, after: &mut After) {
        match &mut self.waiter {
            Waiter::Task(waker) => after.wakers.extend(waker.take()),
            Waiter::Gone => gone.push(key),
        }
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

/// Notices that the driver was dropped before its end, with its runtime.
struct Driver(Arc<Lane>);

impl Drop for Driver {
    fn drop(&mut self) {
        let lane = Arc::clone(&self.0);
        let idle = {
            let mut state = lane.state();
            state.retired = true;
            state.ring.is_idle()
        };
        if !idle {
            let mut after = After::default();
            lane.state().cancel_unsubmitted(&mut after);
            after.finish();
            let thread = std::thread::Builder::new().name("zblk-io-uring".to_owned());
            if let Err(error) = thread.spawn(move || lane.drain()) {
                tracing::error!(%error, "requests in flight cannot be waited for");
            }
        }
    }
}

/// What became of a transfer.
pub(super) enum Answer {
    /// It has ended; what the request holds, unless the request is done.
    Ended(Ended, Option<Held>),
    /// The lane takes no more.
    Refused(Transfer, Held),
}

/// A transfer, as a future. Once polled, it runs to its end even if the future is dropped, unless
/// it was not submitted yet.
pub(super) struct Request<'a> {
    lane: &'a Lane,
    stage: Stage,
}

enum Stage {
    New(Option<(Transfer, Held)>),
    Started(usize),
    Over,
}

impl Future for Request<'_> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let lane = self.lane;
        let mut after = After::default();
        let mut state = lane.state();
        let key = match &mut self.stage {
            Stage::Started(key) => *key,
            Stage::New(request) => {
                let Some((transfer, held)) = request.take() else { return Poll::Pending };
                if state.retired {
                    return Poll::Ready(Answer::Refused(transfer, held));
                }
                let alone = state.ring.is_idle() && !state.awake;
                let keep = Keep { held: Some(held), waiter: Waiter::Task(None) };
                let key = state.ring.start(transfer, keep);
                self.stage = Stage::Started(key);
                if alone {
                    state.submit(&mut after);
                    state.reap(&mut after);
                }
                if state.can_submit() && !state.awake {
                    state.awake = true;
                    after.wakers.extend(state.driver.take());
                }
                key
            }
            Stage::Over => return Poll::Pending,
        };
        let result = match state.ring.take(key) {
            Some((ended, keep)) => {
                self.stage = Stage::Over;
                Poll::Ready(Answer::Ended(ended, keep.held))
            }
            None => {
                if let Some(keep) = state.ring.keep_mut(key) {
                    keep.waiter = Waiter::Task(Some(cx.waker().clone()));
                }
                Poll::Pending
            }
        };
        drop(state);
        after.finish();
        result
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let Stage::Started(key) = self.stage else { return };
        let mut state = self.lane.state();
        let withdrawn = state.ring.withdraw(key);
        let kept = withdrawn.or_else(|| state.ring.take(key).map(|(_, keep)| keep));
        if kept.is_none()
            && let Some(keep) = state.ring.keep_mut(key)
        {
            keep.waiter = Waiter::Gone;
        }
        drop(state);
        kept.and_then(|keep| keep.held).into_iter().for_each(release);
    }
}
