//! Transfers by `io_uring`, driven from the runtimes' own workers.
//!
//! What the kernel would hand to threads of its own (syncs, allocation, writes through the page
//! cache) goes to ours instead, see [`Engine`](super::Engine).

mod lane;
#[cfg(test)]
mod tests;

use super::transfer::Calls;
use crate::error::is_unsupported;
use crate::open_file::OpenFile;
use crate::sys::Ring;
use block_core::turns::{self, TurnsId};
use block_core::{InFlight, InFlightGuard};
use io_uring::IoUring;
use lane::{Answer, Lane};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::num::NonZero;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;

/// What a request holds while the kernel works on it: the open file, then what says that it is under
/// way. They are dropped in this order.
#[derive(Debug)]
pub(super) struct Held {
    pub file: Arc<OpenFile>,
    pub guard: InFlightGuard,
}

/// At most so many rings for each file and runtime, so that workers rarely meet. Threads that take
/// turns have theirs besides.
const MAX_LANES: usize = 8;

/// The rings of one open file.
#[derive(Debug, Default)]
pub(crate) struct Uring {
    lanes: RwLock<Lanes>,
    /// Tells those who settle of a lane that came.
    added: Notify,
}

#[derive(Debug, Default)]
struct Lanes {
    entries: Vec<Entry>,
    /// How many were ever added.
    added: u64,
}

impl Lanes {
    /// Makes room for one more refusal: the oldest goes.
    fn forget_a_refusal(&mut self) {
        let refused = self.entries.iter().filter(|entry| entry.lane.is_err());
        if refused.count() >= MAX_REFUSALS
            && let Some(oldest) = self.entries.iter().position(|entry| entry.lane.is_err())
        {
            self.entries.remove(oldest);
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// Counted from 1.
    serial: u64,
    whose: Whose,
    /// Where no ring could be had, when that was: threads do the work for a while.
    lane: Result<Arc<Lane<IoUring>>, Instant>,
}

/// Who uses a ring, and drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// A thread that takes turns, whatever runtime it works for. Once it has ended them nobody finds
    /// the ring any more: those that it begins later have another one.
    Thread(TurnsId),
    /// The threads of a runtime that have this number.
    Workers(Id, usize),
}

impl Whose {
    /// Whether it may stay undriven while a task of this runtime waits.
    fn needs_help(self, here: Id) -> bool {
        match self {
            // The thread may be the one that waits.
            Self::Thread(_) => true,
            Self::Workers(runtime, _) => runtime != here,
        }
    }
}

impl Entry {
    /// Whether another ring is to be tried.
    fn is_refusal_over(&self) -> bool {
        self.lane.as_ref().is_err_and(|at| at.elapsed() >= RETRY)
    }

    /// Whether it is to be remembered: there are requests, or a runtime that may send some.
    fn is_needed(&self) -> bool {
        match &self.lane {
            Ok(lane) => !lane.is_retired() || !lane.close(),
            Err(_) => !self.is_refusal_over(),
        }
    }
}

/// What was refused for want of descriptors or memory may be had later.
const RETRY: Duration = Duration::from_secs(10);
/// So many refusals are remembered: runtimes come and go.
const MAX_REFUSALS: usize = 64;

/// Whether a request was carried to its end, or has to be by other means.
pub(super) enum Carried<T> {
    Done(io::Result<()>, T),
    /// The rest is still to do, and the kernel would have to wait for it: for space, for instance.
    WouldWait(T, Held),
    /// The rest is still to do: there is no ring, or its thread has ended.
    Left(T, Held),
}

/// Whether rings can be had.
///
/// # Errors
/// What the kernel says to the first that is tried.
pub(super) fn probe() -> io::Result<()> {
    Ring::<()>::new().map(drop)
}

impl Uring {
    /// The ring for the thread that asks: its own, or one of the runtime that it works for.
    fn lane(&self) -> Option<Arc<Lane<IoUring>>> {
        let runtime = Handle::try_current().ok()?;
        let whose = match turns::taken_here() {
            Some(turns) => Whose::Thread(turns),
            None => Whose::Workers(runtime.id(), thread_number() % lanes_per_runtime()),
        };
        let find = |entries: &[Entry]| {
            let found = entries.iter().find(|entry| entry.whose == whose);
            let found = found.filter(|entry| !entry.is_refusal_over());
            found.map(|entry| entry.lane.as_ref().ok().cloned())
        };
        let known = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = find(&known.entries) {
            return found;
        }
        drop(known);
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = find(&lanes.entries) {
            return found;
        }
        lanes.entries.retain(Entry::is_needed);
        lanes.forget_a_refusal();
        let open = |ring| match whose {
            Whose::Thread(_) => Lane::open_own(ring),
            Whose::Workers(..) => Lane::open(ring, &runtime),
        };
        let lane = Ring::new().and_then(open).map_err(|error| {
            tracing::warn!(%error, "no io_uring for this runtime for now; threads do the work");
            Instant::now()
        });
        lanes.added = lanes.added.saturating_add(1);
        let serial = lanes.added;
        lanes.entries.push(Entry { serial, whose, lane: lane.clone() });
        drop(lanes);
        self.added.notify_waiters();
        lane.ok()
    }

    /// Makes the calls that a request asks for. What the request holds is given back as soon as
    /// the kernel has done all of it, whether or not anybody polls this then.
    pub(super) async fn carry<T: Calls>(&self, mut calls: T, mut held: Held) -> Carried<T> {
        let judge = held.file.judge();
        loop {
            // Anew for each: another thread may poll this by now.
            let Some(lane) = self.lane() else { return Carried::Left(calls, held) };
            let Some(mut transfer) = calls.lend() else { return Carried::Done(Ok(()), calls) };
            transfer.at_once = T::FILLS_HOLES && held.file.tells_holes();
            let at_once = transfer.at_once;
            let (result, still_held) = match lane.transfer(transfer, held).await {
                Answer::Ended((memory, result), still_held) => {
                    calls.give_back(memory);
                    (result, still_held)
                }
                Answer::Refused(transfer, held) => {
                    calls.give_back(transfer.memory);
                    return Carried::Left(calls, held);
                }
            };
            let Some(still_held) = still_held else {
                return Carried::Done(calls.completed(judge.transferred(result)), calls);
            };
            held = still_held;
            held.guard.resume();
            if at_once && result.as_ref().is_err_and(is_unsupported) {
                held.file.ahead.no_telling.learn();
                return Carried::Left(calls, held);
            }
            if at_once && is_put_off(&result) {
                return match held.file.ahead.refused() {
                    true => Carried::WouldWait(calls, held),
                    false => Carried::Left(calls, held),
                };
            }
            if is_left(&result) {
                return Carried::Left(calls, held);
            }
            if let Err(error) = calls.completed(judge.transferred(result)) {
                return Carried::Done(Err(error), calls);
            }
        }
    }

    /// Waits for `in_flight`, also for requests of runtimes and threads that drive nothing at the
    /// moment.
    pub(super) async fn settle(&self, in_flight: &InFlight) {
        let Ok(here) = Handle::try_current() else { return in_flight.settle().await };
        let mut settled = pin!(in_flight.settle());
        let mut helpers: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::new();
        let mut seen = 0;
        loop {
            // A request that has begun may have no ring yet: listen first, then look.
            let mut added = pin!(self.added.notified());
            added.as_mut().enable();
            for lane in self.added_after(&mut seen, here.id()) {
                let here = &here;
                helpers.push(Box::pin(async move { lane.help(here).await }));
            }
            let has_settled = poll_fn(|cx| {
                if settled.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                helpers.retain_mut(|helper| helper.as_mut().poll(cx).is_pending());
                // What the helpers reaped may have been the last.
                if settled.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                added.as_mut().poll(cx).map(|()| false)
            })
            .await;
            if has_settled {
                return;
            }
        }
    }

    /// The lanes that this runtime does not drive and that came after those that were seen before.
    fn added_after(&self, seen: &mut u64, here: Id) -> Vec<Arc<Lane<IoUring>>> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(seen, lanes.added);
        let new = lanes.entries.iter().filter(|e| e.serial > before && e.whose.needs_help(here));
        new.filter_map(|e| e.lane.as_ref().ok().cloned()).collect()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let lanes = self.lanes.get_mut().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes.entries.iter().filter_map(|e| e.lane.as_ref().ok()) {
            lane.close();
        }
    }
}

/// Whether a call was not made: there is no ring any more, the thread that submitted it has ended,
/// or the kernel would have had to wait. It is then made by other means.
fn is_left(result: &io::Result<usize>) -> bool {
    let number = result.as_ref().err().and_then(io::Error::raw_os_error);
    number == Some(nix::libc::ECANCELED) || is_put_off(result)
}

fn is_put_off(result: &io::Result<usize>) -> bool {
    let number = result.as_ref().err().and_then(io::Error::raw_os_error);
    number == Some(nix::libc::EAGAIN)
}

fn lanes_per_runtime() -> usize {
    static LANES: OnceLock<usize> = OnceLock::new();
    *LANES
        .get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_LANES))
}

/// A number for this thread, counted up, so that the few workers of a runtime rarely share one.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.with(Cell::get)
}
