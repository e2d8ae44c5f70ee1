//! One ring, the requests that wait for it, and the task that drives it.
//!
//! A request that finds the ring idle submits itself. While others are in flight it only queues:
//! the driver, which runs once the tasks that it has just woken had their turn, submits them all
//! with one call. Completions wake the driver through an eventfd that the runtime watches; it reaps
//! all there are, and wakes those that wait for them.
//!
//! A runtime that shuts down drops its driver. What is in flight is then waited for by a thread, so
//! that memory, locks and counts are given back, and requests that other runtimes wait for end.

use crate::open_file::OpenFile;
use crate::sys::{DEPTH, Ended, Ring, Transfer, watch_readable};
use block_core::InFlightGuard;
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

/// What lives as long as a transfer, in the order in which it is to be dropped.
#[derive(Debug)]
pub(super) struct Keep {
    pub file: Arc<OpenFile>,
    pub guard: InFlightGuard,
    waiter: Waiter,
}

#[derive(Debug)]
enum Waiter {
    Task(Option<Waker>),
    /// The request's future was dropped.
    Gone,
}

impl Keep {
    pub(super) fn new(file: Arc<OpenFile>, guard: InFlightGuard) -> Self {
        Self { file, guard, waiter: Waiter::Task(None) }
    }
}

impl AsFd for Keep {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.fd()
    }
}

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
    /// Nobody will send a request any more; the driver ends when the last one has.
    closing: bool,
}

type Wakers = SmallVec<[Waker; 32]>;

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
        let state = State { ring, driver: None, awake: true, retired: false, closing: false };
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
    pub(super) fn transfer(&self, transfer: Transfer, keep: Keep) -> Request<'_> {
        Request { lane: self, stage: Stage::New(Some((transfer, keep))) }
    }

    /// Ends the driver once nothing is in flight.
    pub(super) fn close(&self) {
        let driver = {
            let mut state = self.state();
            state.closing = true;
            state.driver.take()
        };
        driver.into_iter().for_each(Waker::wake);
    }

    /// Takes turns until nobody needs the lane any more.
    pub(super) async fn drive(&self, events: &AsyncFd<OwnedFd>) {
        loop {
            match self.turn() {
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
            let _ = self.turn();
            if let Ok(mut ready) = events.readable().await {
                ready.clear_ready();
            }
        }
    }

    /// Submits what is queued and reaps what has ended.
    fn turn(&self) -> Next {
        let mut wakers = Wakers::new();
        let next = {
            let mut state = self.state();
            state.submit(&mut wakers);
            state.reap(&mut wakers);
            state.next(wakers.len())
        };
        wakers.into_iter().for_each(Waker::wake);
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
            let next = self.turn();
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
        self.ring.has_queued() && self.ring.with_kernel() < DEPTH && !self.retired
    }

    fn submit(&mut self, wakers: &mut Wakers) {
        if !self.can_submit() {
            return;
        }
        let Err(error) = self.ring.submit() else { return };
        let passing = [nix::libc::EINTR, nix::libc::EAGAIN, nix::libc::EBUSY];
        if error.raw_os_error().is_some_and(|e| passing.contains(&e)) {
            return;
        }
        tracing::error!(%error, "the kernel refuses io_uring; threads do the work from now on");
        self.retired = true;
        self.cancel_unsubmitted(wakers);
    }

    fn cancel_unsubmitted(&mut self, wakers: &mut Wakers) {
        let mut gone = SmallVec::<[usize; 4]>::new();
        self.ring.cancel_unsubmitted(|key, keep| match &mut keep.waiter {
            Waiter::Task(waker) => wakers.extend(waker.take()),
            Waiter::Gone => gone.push(key),
        });
        for key in gone {
            drop(self.ring.take(key));
        }
    }

    fn reap(&mut self, wakers: &mut Wakers) {
        let mut gone = SmallVec::<[usize; 4]>::new();
        self.ring.reap(|key, written, keep| {
            if let Some(end) = written {
                keep.file.changed_up_to(end);
            }
            match &mut keep.waiter {
                Waiter::Task(waker) => wakers.extend(waker.take()),
                Waiter::Gone => gone.push(key),
            }
        });
        for key in gone {
            drop(self.ring.take(key));
        }
    }

    fn next(&mut self, woken: usize) -> Next {
        if self.closing && self.ring.is_idle() {
            return Next::End;
        }
        // A task that is alone will find the ring idle and submit by itself. Several are better
        // waited for, and submitted together.
        let busy = woken > 1 || woken == 1 && self.ring.with_kernel() > 0;
        self.awake = busy || self.can_submit();
        if self.awake { Next::Again } else { Next::Sleep }
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
            let mut wakers = Wakers::new();
            lane.state().cancel_unsubmitted(&mut wakers);
            wakers.into_iter().for_each(Waker::wake);
            let thread = std::thread::Builder::new().name("zblk-io-uring".to_owned());
            if let Err(error) = thread.spawn(move || lane.drain()) {
                tracing::error!(%error, "requests in flight cannot be waited for");
            }
        }
    }
}

/// What became of a transfer.
pub(super) enum Outcome {
    Ended(Ended, Keep),
    Refused(Transfer, Keep),
}

/// A transfer, as a future. Once polled, it runs to its end even if the future is dropped, unless
/// it was not submitted yet.
pub(super) struct Request<'a> {
    lane: &'a Lane,
    stage: Stage,
}

enum Stage {
    New(Option<(Transfer, Keep)>),
    Started(usize),
    Over,
}

impl Future for Request<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let lane = self.lane;
        let mut wakers = Wakers::new();
        let mut state = lane.state();
        let key = match &mut self.stage {
            Stage::Started(key) => *key,
            Stage::New(request) => {
                let Some((transfer, keep)) = request.take() else { return Poll::Pending };
                if state.retired {
                    return Poll::Ready(Outcome::Refused(transfer, keep));
                }
                let alone = state.ring.is_idle() && !state.awake;
                let key = state.ring.start(transfer, keep);
                self.stage = Stage::Started(key);
                if alone {
                    state.submit(&mut wakers);
                    state.reap(&mut wakers);
                }
                if state.can_submit() && !state.awake {
                    state.awake = true;
                    wakers.extend(state.driver.take());
                }
                key
            }
            Stage::Over => return Poll::Pending,
        };
        let result = match state.ring.take(key) {
            Some((ended, keep)) => {
                self.stage = Stage::Over;
                Poll::Ready(Outcome::Ended(ended, keep))
            }
            None => {
                if let Some(keep) = state.ring.keep_mut(key) {
                    keep.waiter = Waiter::Task(Some(cx.waker().clone()));
                }
                Poll::Pending
            }
        };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        result
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let Stage::Started(key) = self.stage else { return };
        let mut state = self.lane.state();
        let withdrawn = state.ring.withdraw(key);
        let ended = match withdrawn {
            Some(_) => None,
            None => state.ring.take(key),
        };
        if let Some(keep) = state.ring.keep_mut(key) {
            keep.waiter = Waiter::Gone;
        }
        drop(state);
        drop((withdrawn, ended));
    }
}
