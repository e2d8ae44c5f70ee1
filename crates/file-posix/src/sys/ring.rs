//! An `io_uring` instance together with the memory that it works on.
//!
//! The kernel uses a transfer's memory and file from the moment a transfer is submitted until its
//! completion is reaped, whatever happens to the caller meanwhile. Therefore the ring owns both:
//! what is started moves in, and comes out when it has ended. A ring that is dropped before that
//! leaks them instead of freeing what the kernel may still write to.

use super::iov::{self, Cursor, Iovecs};
use block_core::{IoVec, IoVecMut};
use io_uring::{IoUring, Probe, opcode, squeue, types};
use nix::libc;
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How many transfers one ring keeps with the kernel; more wait in the ring's own queue.
pub(crate) const DEPTH: u32 = 256;

/// The memory of one transfer.
#[derive(Debug)]
pub(crate) enum Memory {
    /// To be filled by a read.
    Fill(IoVecMut),
    /// To be taken by a write.
    Take(IoVec),
}

/// One call: which part of the memory, and where in the file.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub memory: Memory,
    pub at: Cursor,
    pub offset: u64,
}

/// A transfer that has ended: its memory, and how many bytes were moved.
pub(crate) type Ended = (Memory, io::Result<usize>);

#[derive(Debug, PartialEq, Eq)]
enum State {
    Queued,
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
pub(crate) struct Ring<K> {
    uring: ManuallyDrop<IoUring>,
    slots: ManuallyDrop<Slab<Slot<K>>>,
    /// Keys of the slots that are queued, in order, and of some that were withdrawn since.
    queue: VecDeque<usize>,
    /// Keys of the entries that lie in the submission queue, in order.
    pushed: VecDeque<usize>,
    /// How many transfers are pushed or with the kernel.
    with_kernel: u32,
}

// SAFETY: the addresses in a slot's `iovecs` point to memory that the slot's transfer owns, which
// itself may move to another thread (`IoVec` and `IoVecMut` are `Send`); the kernel does not mind
// which thread reaps.
unsafe impl<K: Send> Send for Ring<K> {}

impl<K> Ring<K> {
    /// A new ring.
    ///
    /// # Errors
    /// What the kernel says: `ENOSYS` without `io_uring`, `EPERM` where it is forbidden. Also
    /// `ENOSYS` if it lacks an operation that this crate needs.
    pub(crate) fn new() -> io::Result<Self> {
        let uring = IoUring::builder().dontfork().setup_cqsize(DEPTH * 2).build(DEPTH)?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let needed =
            [opcode::Read::CODE, opcode::Write::CODE, opcode::Readv::CODE, opcode::Writev::CODE];
        // Without these two, entries must outlive their submission, and completions can be lost.
        let stable = uring.params().is_feature_submit_stable();
        let kept = uring.params().is_feature_nodrop();
        if !(stable && kept && needed.iter().all(|code| probe.is_supported(*code))) {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        Ok(Self {
            uring: ManuallyDrop::new(uring),
            slots: ManuallyDrop::new(Slab::new()),
            queue: VecDeque::new(),
            pushed: VecDeque::new(),
            with_kernel: 0,
        })
    }
}

impl<K: AsFd> Ring<K> {
    /// A descriptor that becomes readable with each completion.
    pub(crate) fn events(&self) -> io::Result<OwnedFd> {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call just made this descriptor, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        self.uring.submitter().register_eventfd(fd.as_raw_fd())?;
        Ok(fd)
    }

    /// Queues a transfer; returns its key, under which [`take`](Self::take) gives it back.
    pub(crate) fn start(&mut self, transfer: Transfer, keep: K) -> usize {
        let slot = Slot { transfer, state: State::Queued, iovecs: None, keep };
        let key = self.slots.insert(slot);
        self.queue.push_back(key);
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
    pub(crate) fn withdraw(&mut self, key: usize) -> Option<K> {
        if self.slots.get(key)?.state != State::Queued {
            return None;
        }
        // Its key stays in the queue and is passed over; should it be given out again before, then
        // only its turn comes early.
        self.slots.try_remove(key).map(|slot| slot.keep)
    }

    /// Whether transfers wait for being submitted.
    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty() || !self.pushed.is_empty()
    }

    /// How many transfers the kernel has.
    pub(crate) fn with_kernel(&self) -> u32 {
        self.with_kernel
    }

    /// Whether the ring holds nothing that was not submitted or not reaped.
    pub(crate) fn is_idle(&self) -> bool {
        self.with_kernel == 0 && !self.has_queued()
    }

    /// Gives the kernel what is queued, as far as there is room. Never waits.
    ///
    /// # Errors
    /// What the kernel says; what it did not take stays queued.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        while self.with_kernel < DEPTH
            && let Some(key) = self.queue.front().copied()
        {
            if let Some(slot) = self.slots.get_mut(key)
                && slot.state == State::Queued
            {
                let entry = entry(slot, key);
                // SAFETY: the slot owns the memory and, through `keep`, the file. It is left in
                // place until its completion is reaped, and leaked if the ring is dropped before.
                if unsafe { self.uring.submission().push(&entry) }.is_err() {
                    break;
                }
                slot.state = State::WithKernel;
                self.with_kernel = self.with_kernel.saturating_add(1);
                self.pushed.push_back(key);
            }
            self.queue.pop_front();
        }
        if !self.pushed.is_empty() {
            let taken = self.uring.submitter().submit()?;
            self.pushed.drain(..taken.min(self.pushed.len()));
        }
        Ok(())
    }

    /// Ends what the kernel has not taken, as cancelled. Only for a ring to which the kernel takes
    /// nothing any more, and that is not submitted to again.
    pub(crate) fn cancel_unsubmitted(&mut self, mut ended: impl FnMut(usize, &mut K)) {
        let pushed = u32::try_from(self.pushed.len()).unwrap_or(u32::MAX);
        self.with_kernel = self.with_kernel.saturating_sub(pushed);
        for key in self.pushed.drain(..).chain(self.queue.drain(..)) {
            if let Some(slot) = self.slots.get_mut(key)
                && !matches!(slot.state, State::Ended(_))
            {
                slot.state = State::Ended(libc::ECANCELED.saturating_neg());
                ended(key, &mut slot.keep);
            }
        }
    }

    /// Takes note of what has ended, and calls `ended` with the key, the end of what a write wrote,
    /// and what was kept.
    pub(crate) fn reap(&mut self, mut ended: impl FnMut(usize, Option<u64>, &mut K)) {
        let slots = &mut self.slots;
        for completion in self.uring.completion() {
            let Ok(key) = usize::try_from(completion.user_data()) else { continue };
            let Some(slot) = slots.get_mut(key) else { continue };
            self.with_kernel = self.with_kernel.saturating_sub(1);
            slot.state = State::Ended(completion.result());
            slot.iovecs = None;
            let written = match (&slot.transfer.memory, u64::try_from(completion.result())) {
                (Memory::Take(_), Ok(n)) => Some(slot.transfer.offset.saturating_add(n)),
                _ => None,
            };
            ended(key, written, &mut slot.keep);
        }
    }
}

/// The entry for the transfer in this slot, which keeps what the entry points to.
fn entry<K: AsFd>(slot: &mut Slot<K>, key: usize) -> squeue::Entry {
    let fd = types::Fd(slot.keep.as_fd().as_raw_fd());
    let Transfer { memory, at, offset } = &mut slot.transfer;
    let (iovecs, fill) = match memory {
        Memory::Fill(bufs) => (iov::to_fill(bufs, *at), true),
        Memory::Take(bufs) => (iov::to_write(bufs, *at), false),
    };
    let entry = match iovecs.as_slice() {
        [one] if u32::try_from(one.iov_len).is_ok() => {
            let len = u32::try_from(one.iov_len).unwrap_or(u32::MAX);
            match fill {
                true => opcode::Read::new(fd, one.iov_base.cast(), len).offset(*offset).build(),
                false => opcode::Write::new(fd, one.iov_base.cast(), len).offset(*offset).build(),
            }
        }
        _ => {
            let iovecs = slot.iovecs.insert(Box::new(iovecs));
            let count = u32::try_from(iovecs.len()).unwrap_or(u32::MAX);
            match fill {
                true => opcode::Readv::new(fd, iovecs.as_ptr(), count).offset(*offset).build(),
                false => opcode::Writev::new(fd, iovecs.as_ptr(), count).offset(*offset).build(),
            }
        }
    };
    entry.user_data(u64::try_from(key).unwrap_or(u64::MAX))
}

impl<K> Drop for Ring<K> {
    fn drop(&mut self) {
        if self.with_kernel > 0 {
            // The kernel may still use the memory: it is lost, which is better than shared.
            return;
        }
        // SAFETY: neither is used again, this being the drop.
        unsafe {
            ManuallyDrop::drop(&mut self.uring);
            ManuallyDrop::drop(&mut self.slots);
        }
    }
}

impl<K> std::fmt::Debug for Ring<K> {
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
