//! The ring and those who wait for it, under one lock. Nothing is woken or freed in here: what is to
//! be done is handed out, as [`After`].

use super::super::Held;
use crate::engine::offload::drop_aside;
use crate::sys::{Memory, Queues, Ring, Transfer};
use block_core::InFlightGuard;
use smallvec::SmallVec;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Waker;

/// What lives as long as a transfer.
#[derive(Debug)]
pub(in super::super) struct Keep {
    /// `None` once the request is done.
    pub(super) held: Option<Held>,
    pub(super) waiter: Waiter,
}

#[derive(Debug)]
pub(super) enum Waiter {
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
pub(super) const MAX_REFUSALS: u32 = 1000;

pub(super) struct State<Q: Queues> {
    pub(super) ring: Ring<Keep, Q>,
    /// The driver's, while it sleeps.
    pub(super) driver: Option<Waker>,
    /// The driver will take a turn soon without being woken.
    pub(super) awake: bool,
    /// A thread drives it by itself, between its tasks and its sleep.
    pub(super) own: bool,
    /// Takes no more requests: its runtime has ended, or the kernel refuses the ring.
    pub(super) retired: bool,
    /// How often in a row the kernel put a submission off.
    refusals: u32,
    /// Nobody will send a request any more; the driver ends when the last one has.
    pub(super) closing: bool,
}

/// What is to be done once the lane is unlocked: others may come back to it from there.
#[derive(Default)]
pub(super) struct After {
    pub(super) wakers: SmallVec<[Waker; 32]>,
    /// Of calls for which nobody waits.
    memory: SmallVec<[Memory; 4]>,
    pub(super) released: SmallVec<[Held; 4]>,
    /// What counted requests that pause.
    paused: SmallVec<[InFlightGuard; 4]>,
}

impl After {
    /// Does it, in this order. By reference, since the lists are large and mostly empty.
    pub(super) fn finish(&mut self) {
        self.memory.clear();
        self.released.drain(..).for_each(release);
        self.paused.clear();
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// Closing a file can wait, for a network file system for example.
pub(super) fn release(held: Held) {
    match Arc::strong_count(&held.file) {
        1 => drop_aside(held),
        _ => drop(held),
    }
}

/// What the driver does next.
pub(super) enum Next {
    /// Let the tasks run that were woken, then take another turn.
    Again,
    Sleep,
    End,
}

impl<Q: Queues> State<Q> {
    pub(super) fn new(ring: Ring<Keep, Q>) -> Self {
        Self {
            ring,
            driver: None,
            awake: true,
            own: false,
            retired: false,
            refusals: 0,
            closing: false,
        }
    }

    /// Whether a transfer is to be submitted, and what ends at once reaped, where it is made.
    pub(super) fn is_due(&self, transfer: &Transfer) -> bool {
        // Who writes to a zone hands it to a task if it does not end at once, which costs more than
        // a call. Reads come together, and are waited for by who made them.
        let soon = self.own && transfer.memory.is_written();
        self.ring.is_idle() && (soon || !self.awake)
    }

    pub(super) fn can_submit(&self) -> bool {
        !self.retired && self.ring.can_submit()
    }

    pub(super) fn submit(&mut self, after: &mut After) {
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

    pub(super) fn cancel_unsubmitted(&mut self, after: &mut After) {
        let mut gone = SmallVec::<[usize; 4]>::new();
        self.ring.cancel_unsubmitted(|key, keep| keep.tell(key, &mut gone, after));
        self.forget(gone, after);
    }

    pub(super) fn reap(&mut self, after: &mut After) {
        let mut gone = SmallVec::<[usize; 4]>::new();
        self.ring.reap(|key, outcome, keep| {
            if let Some((held, end)) = keep.held.as_ref().zip(outcome.written_up_to) {
                held.file.changed_up_to(end);
                held.file.ahead.taken();
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
        for ((memory, _), keep) in gone.into_iter().filter_map(|key| self.ring.take(key)) {
            after.memory.push(memory);
            after.released.extend(keep.held);
        }
    }

    pub(super) fn next(&mut self, woken: usize) -> Next {
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
    /// Tells the request's task that the call has ended; a key whose request is gone goes to `gone`.
    /// Until the task goes on, nothing of the request is under way.
    fn tell(&mut self, key: usize, gone: &mut SmallVec<[usize; 4]>, after: &mut After) {
        after.paused.extend(self.held.as_mut().map(|held| held.guard.pause()));
        match &mut self.waiter {
            Waiter::Task(waker) => after.wakers.extend(waker.take()),
            Waiter::Gone => gone.push(key),
        }
    }
}

impl<Q: Queues> fmt::Debug for State<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("ring", &self.ring)
            .field("awake", &self.awake)
            .field("retired", &self.retired)
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}
