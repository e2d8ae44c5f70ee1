//! An `io_uring` instance together with the memory that it works on.
//!
//! The kernel uses a transfer's memory and file from the moment a transfer is submitted until its
//! completion is reaped, whatever happens to the caller meanwhile. Therefore the ring owns both:
//! what is started moves in, and comes out when it has ended. A ring that is dropped before that
//! leaks them instead of freeing what the kernel may still write to.

mod queues;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::host_endian_bytes)]
mod script;
#[cfg(test)]
mod tests;

pub(crate) use queues::Queues;
#[cfg(test)]
pub(crate) use script::{Lent, Script, Taken};

use super::iov::{self, Cursor, Iovecs};
use block_core::waitlist::{Place, Waitlist};
use block_core::{IoVec, IoVecMut};
use io_uring::IoUring;
use nix::libc;
use queues::{Call, Target};
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The memory of one transfer.
#[derive(Debug)]
pub(crate) enum Memory {
    /// To be filled by a read.
    Fill(IoVecMut),
    /// To be taken by a write.
    Take(IoVec),
}

impl Memory {
    pub(crate) fn is_written(&self) -> bool {
        matches!(self, Self::Take(_))
    }
}

/// One call: which part of the memory, and where in the file.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub memory: Memory,
    pub at: Cursor,
    pub offset: u64,
    /// If it moves all that is left of its memory, its request is done.
    pub last: bool,
    /// Only if the kernel need not wait for anything but the device: otherwise `EAGAIN`, where it
    /// would hand the call to a thread of its own.
    pub at_once: bool,
}

/// A transfer that has ended: its memory, and how many bytes were moved.
pub(crate) type Ended = (Memory, io::Result<usize>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the ring's own queue, at this place.
    Queued(Place),
    /// In the submission queue. The kernel has not taken it yet, but will.
    Pushed,
    WithKernel,
    /// With the kernel's result: a count, or a negative error number.
    Ended(i32),
}

#[derive(Debug)]
struct Slot<K> {
    transfer: Transfer,
    state: State,
    /// What a vectored call points to, while it is with the kernel.
    iovecs: Option<Box<Iovecs>>,
    keep: K,
}

/// A ring. `K` holds the file of each transfer, and whatever else must live as long.
pub(crate) struct Ring<K, Q = IoUring> {
    queues: ManuallyDrop<Q>,
    slots: ManuallyDrop<Slab<Slot<K>>>,
    /// Keys of the slots that are queued, in order.
    queue: Waitlist<usize>,
    /// Keys of the entries that lie in the submission queue, in order.
    pushed: VecDeque<usize>,
    /// How many transfers the kernel has taken and not completed.
    with_kernel: u32,
}

// SAFETY: the addresses in a slot's `iovecs` point to memory that the slot's transfer owns, which
// itself may move to another thread (`IoVec` and `IoVecMut` are `Send`); the kernel does not mind
// which thread reaps.
unsafe impl<K: Send, Q: Send> Send for Ring<K, Q> {}

impl<K> Ring<K> {
    /// A new ring.
    ///
    /// # Errors
    /// What the kernel says: `ENOSYS` without `io_uring`, `EPERM` where it is forbidden. Also
    /// `ENOSYS` if it lacks an operation that this crate needs.
    pub(crate) fn new() -> io::Result<Self> {
        queues::open().map(Self::over)
    }
}

impl<K, Q> Ring<K, Q> {
    /// A ring over these queues, which hold nothing.
    pub(crate) fn over(queues: Q) -> Self {
        Self {
            queues: ManuallyDrop::new(queues),
            slots: ManuallyDrop::new(Slab::new()),
            queue: Waitlist::default(),
            pushed: VecDeque::new(),
            with_kernel: 0,
        }
    }
}

impl<K: AsFd, Q: Queues> Ring<K, Q> {
    /// A descriptor that becomes readable with each completion.
    pub(crate) fn events(&mut self) -> io::Result<OwnedFd> {
        let fd = event_counter()?;
        self.queues.notify(fd.as_fd())?;
        Ok(fd)
    }

    /// A descriptor that is readable while there are completions to be [reaped](Self::reap), for
    /// who looks only now and then: it costs nothing while nobody does.
    pub(crate) fn readable(&mut self) -> io::Result<OwnedFd> {
        self.queues.readable()
    }

    /// Queues a transfer; returns its key, under which [`take`](Self::take) gives it back.
    pub(crate) fn start(&mut self, transfer: Transfer, keep: K) -> usize {
        let vacant = self.slots.vacant_entry();
        let key = vacant.key();
        let state = State::Queued(self.queue.push(key));
        vacant.insert(Slot { transfer, state, iovecs: None, keep });
        key
    }

    /// What is kept with a transfer.
    pub(crate) fn keep_mut(&mut self, key: usize) -> Option<&mut K> {
        self.slots.get_mut(key).map(|slot| &mut slot.keep)
    }

    /// Takes a transfer out that has ended.
    pub(crate) fn take(&mut self, key: usize) -> Option<(Ended, K)> {
        let State::Ended(result) = self.slots.get(key)?.state else {
            return None;
        };
        let slot = self.slots.try_remove(key)?;
        let result = match usize::try_from(result) {
            Ok(n) => Ok(n),
            Err(_) => Err(io::Error::from_raw_os_error(result.saturating_neg())),
        };
        Some(((slot.transfer.memory, result), slot.keep))
    }

    /// Takes a transfer out that was not submitted yet.
    pub(crate) fn withdraw(&mut self, key: usize) -> Option<(Memory, K)> {
        let State::Queued(place) = self.slots.get(key)?.state else {
            return None;
        };
        self.queue.remove(place);
        self.slots.try_remove(key).map(|slot| (slot.transfer.memory, slot.keep))
    }

    /// Whether a call of [`submit`](Self::submit) has something to do.
    pub(crate) fn can_submit(&self) -> bool {
        !self.pushed.is_empty() || !self.queue.is_empty() && self.has_room()
    }

    /// Whether the kernel has transfers.
    pub(crate) fn is_busy(&self) -> bool {
        self.with_kernel > 0
    }

    /// Whether the ring holds nothing that was not submitted or not reaped.
    pub(crate) fn is_idle(&self) -> bool {
        self.with_kernel == 0 && self.pushed.is_empty() && self.queue.is_empty()
    }

    fn has_room(&self) -> bool {
        let pushed = u32::try_from(self.pushed.len()).unwrap_or(u32::MAX);
        self.with_kernel.saturating_add(pushed) < Q::DEPTH
    }

    /// Gives the kernel what is queued, as far as there is room. Never waits.
    ///
    /// # Errors
    /// What the kernel says; what it did not take stays queued.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        while self.has_room()
            && let Some(key) = self.queue.first().copied()
        {
            if let Some(slot) = self.slots.get_mut(key) {
                let call = call(slot, key);
                // SAFETY: the slot owns the memory and, through `keep`, the file. It is left in
                // place until its completion is reaped, and leaked if the ring is dropped before.
                if !unsafe { self.queues.push(&call) } {
                    break;
                }
                slot.state = State::Pushed;
                self.pushed.push_back(key);
            }
            self.queue.pop();
        }
        if !self.pushed.is_empty() {
            let taken = self.queues.submit()?;
            for key in self.pushed.drain(..taken.min(self.pushed.len())) {
                self.with_kernel = self.with_kernel.saturating_add(1);
                if let Some(slot) = self.slots.get_mut(key) {
                    slot.state = State::WithKernel;
                }
            }
        }
        Ok(())
    }

    /// Ends what the kernel has not taken, as cancelled, and calls `ended` for each. Only for a ring
    /// to which the kernel takes nothing any more, and that is not submitted to again.
    pub(crate) fn cancel_unsubmitted(&mut self, mut ended: impl FnMut(usize, &mut K)) {
        let queued = self.queue.extract(|_| true);
        for key in self.pushed.drain(..).chain(queued) {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.state = State::Ended(libc::ECANCELED.saturating_neg());
                ended(key, &mut slot.keep);
            }
        }
    }

    /// Takes note of what has ended, and calls `ended` with the key, what it came to, and what was
    /// kept.
    pub(crate) fn reap(&mut self, mut ended: impl FnMut(usize, Outcome, &mut K)) {
        let Self { queues, slots, with_kernel, .. } = self;
        queues.completions(|key, result| {
            *with_kernel = with_kernel.saturating_sub(1);
            let Ok(key) = usize::try_from(key) else { return };
            let Some(slot) = slots.get_mut(key) else { return };
            slot.state = State::Ended(result);
            slot.iovecs = None;
            let outcome = Outcome::of(&slot.transfer, result);
            ended(key, outcome, &mut slot.keep);
        });
    }
}

/// What a completed transfer means for its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The end of what a write wrote, if it wrote anything.
    pub written_up_to: Option<u64>,
    /// The request is done: all was moved, or it failed for good.
    pub done: bool,
}

impl Outcome {
    fn of(transfer: &Transfer, result: i32) -> Self {
        let (len, writes) = match &transfer.memory {
            Memory::Fill(bufs) => (bufs.len(), false),
            Memory::Take(bufs) => (bufs.len(), true),
        };
        let moved = usize::try_from(result).unwrap_or(0);
        let again = [libc::EAGAIN, libc::EINTR, libc::ECANCELED];
        let failed = result < 0
            && !again.contains(&result.saturating_neg())
            && !(transfer.at_once && result == libc::EOPNOTSUPP.saturating_neg());
        let whole = moved > 0 && transfer.at.done().saturating_add(moved) >= len;
        Self {
            written_up_to: (writes && moved > 0)
                .then(|| transfer.offset.saturating_add(u64::try_from(moved).unwrap_or(0))),
            done: failed || transfer.last && whole,
        }
    }
}

fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The call for the transfer in this slot, which keeps what the call points to.
fn call<K: AsFd>(slot: &mut Slot<K>, key: usize) -> Call {
    let fd = slot.keep.as_fd().as_raw_fd();
    let Transfer { memory, at, offset, at_once, .. } = &mut slot.transfer;
    let (iovecs, writes) = match memory {
        Memory::Fill(bufs) => (iov::to_fill(bufs, *at), false),
        Memory::Take(bufs) => (iov::to_write(bufs, *at), true),
    };
    let memory = match iovecs.as_slice() {
        [one] if u32::try_from(one.iov_len).is_ok() => {
            Target::One { base: one.iov_base, len: u32::try_from(one.iov_len).unwrap_or(u32::MAX) }
        }
        _ => {
            let iovecs = slot.iovecs.insert(Box::new(iovecs));
            let count = u32::try_from(iovecs.len()).unwrap_or(u32::MAX);
            Target::List { iovecs: iovecs.as_ptr(), count }
        }
    };
    let key = u64::try_from(key).unwrap_or(u64::MAX);
    Call { key, fd, offset: *offset, writes, at_once: *at_once, memory }
}

impl<K, Q> Drop for Ring<K, Q> {
    fn drop(&mut self) {
        if self.with_kernel > 0 || !self.pushed.is_empty() {
            // The kernel may still use the memory: it is lost, which is better than shared.
            return;
        }
        // SAFETY: neither is used again, this being the drop.
        unsafe {
            ManuallyDrop::drop(&mut self.queues);
            ManuallyDrop::drop(&mut self.slots);
        }
    }
}

impl<K, Q> std::fmt::Debug for Ring<K, Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("queued", &self.queue.len())
            .field("with_kernel", &self.with_kernel)
            .finish_non_exhaustive()
    }
}

/// Watches a descriptor for the current runtime, which must have an I/O driver.
pub(crate) fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is returned, which offers no other way to close it,
    // and it is the same for as long as that lives.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(io::Error::from)
}
