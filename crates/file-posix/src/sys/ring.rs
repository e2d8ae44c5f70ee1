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
    /// If it moves all that is left of its memory, its request is done.
    pub last: bool,
}

/// A transfer that has ended: its memory, and how many bytes were moved.
pub(crate) type Ended = (Memory, io::Result<usize>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the ring's own queue, under this number.
    Queued(u64),
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
pub(crate) struct Ring<K> {
    uring: ManuallyDrop<IoUring>,
    slots: ManuallyDrop<Slab<Slot<K>>>,
    /// Keys and numbers of the slots that are queued, in order. A number that is not the slot's is
    /// that of a transfer which was withdrawn: its key may have been given out again since.
    queue: VecDeque<(usize, u64)>,
    next_number: u64,
    /// Keys of the entries that lie in the submission queue, in order.
    pushed: VecDeque<usize>,
    /// How many transfers the kernel has taken and not completed.
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
            next_number: 0,
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
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let slot = Slot { transfer, state: State::Queued(number), iovecs: None, keep };
        let key = self.slots.insert(slot);
        self.queue.push_back((key, number));
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
        let queued = matches!(self.slots.get(key)?.state, State::Queued(_));
        queued.then(|| self.slots.try_remove(key).map(|slot| slot.keep)).flatten()
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
        self.with_kernel.saturating_add(pushed) < DEPTH
    }

    /// Gives the kernel what is queued, as far as there is room. Never waits.
    ///
    /// # Errors
    /// What the kernel says; what it did not take stays queued.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        while self.has_room()
            && let Some((key, number)) = self.queue.front().copied()
        {
            if let Some(slot) = self.slots.get_mut(key)
                && slot.state == State::Queued(number)
            {
                let entry = entry(slot, key);
                // SAFETY: the slot owns the memory and, through `keep`, the file. It is left in
                // place until its completion is reaped, and leaked if the ring is dropped before.
                if unsafe { self.uring.submission().push(&entry) }.is_err() {
                    break;
                }
                slot.state = State::Pushed;
                self.pushed.push_back(key);
            }
            self.queue.pop_front();
        }
        if !self.pushed.is_empty() {
            let taken = self.uring.submitter().submit()?;
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
        let slots = &mut self.slots;
        let pushed = self.pushed.drain(..).map(|key| (key, State::Pushed));
        let queued = self.queue.drain(..).map(|(key, number)| (key, State::Queued(number)));
        for (key, state) in pushed.chain(queued) {
            if let Some(slot) = slots.get_mut(key)
                && slot.state == state
            {
                slot.state = State::Ended(libc::ECANCELED.saturating_neg());
                ended(key, &mut slot.keep);
            }
        }
    }

    /// Takes note of what has ended, and calls `ended` with the key, what it came to, and what was
    /// kept.
    pub(crate) fn reap(&mut self, mut ended: impl FnMut(usize, Outcome, &mut K)) {
        let slots = &mut self.slots;
        for completion in self.uring.completion() {
            self.with_kernel = self.with_kernel.saturating_sub(1);
            let Ok(key) = usize::try_from(completion.user_data()) else { continue };
            let Some(slot) = slots.get_mut(key) else { continue };
            slot.state = State::Ended(completion.result());
            slot.iovecs = None;
            let outcome = Outcome::of(&slot.transfer, completion.result());
            ended(key, outcome, &mut slot.keep);
        }
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
        let failed = result < 0 && !again.contains(&result.saturating_neg());
        let whole = moved > 0 && transfer.at.done().saturating_add(moved) >= len;
        Self {
            written_up_to: (writes && moved > 0)
                .then(|| transfer.offset.saturating_add(u64::try_from(moved).unwrap_or(0))),
            done: failed || transfer.last && whole,
        }
    }
}

/// The entry for the transfer in this slot, which keeps what the entry points to.
fn entry<K: AsFd>(slot: &mut Slot<K>, key: usize) -> squeue::Entry {
    let fd = types::Fd(slot.keep.as_fd().as_raw_fd());
    let Transfer { memory, at, offset, .. } = &mut slot.transfer;
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
        if self.with_kernel > 0 || !self.pushed.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use block_core::IoBufMut;
    use std::io::Write as _;
    use std::sync::Arc;

    /// A ring, and a pipe whose reads stay with the kernel until its other end is closed.
    fn ring() -> Option<(Ring<Arc<OwnedFd>>, Arc<OwnedFd>, OwnedFd)> {
        let (read, write) = nix::unistd::pipe().unwrap();
        match Ring::new() {
            Ok(ring) => Some((ring, Arc::new(read), write)),
            Err(e) => {
                // Past the capture of output, so that the gap is seen and counted.
                drop(writeln!(io::stderr(), "NOT TESTED with io_uring: {e}"));
                None
            }
        }
    }

    fn read() -> Transfer {
        let memory = Memory::Fill(IoBufMut::zeroed(512).into());
        Transfer { memory, at: Cursor::default(), offset: 0, last: true }
    }

    #[test]
    fn what_the_kernel_has_is_never_given_back_early() {
        let Some((mut ring, pipe, other_end)) = ring() else { return };
        for _ in 0..DEPTH - 1 {
            ring.start(read(), Arc::clone(&pipe));
        }
        ring.submit().unwrap();
        let mut start = || ring.start(read(), Arc::clone(&pipe));
        let (a, b, c) = (start(), start(), start());
        assert!(ring.withdraw(a).is_some());
        let d = ring.start(read(), Arc::clone(&pipe));
        assert_eq!(a, d, "the key is given out again, while it stands in the queue from before");
        ring.submit().unwrap();
        assert!(ring.withdraw(b).is_none(), "there was room for one, the first in line");
        assert!(!ring.can_submit());
        let mut cancelled = Vec::new();
        ring.cancel_unsubmitted(|key, _| cancelled.push(key));
        assert_eq!(cancelled, [c, d]);
        assert!(ring.take(b).is_none());
        for key in cancelled {
            let ((_, result), _) = ring.take(key).unwrap();
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        }
        drop(other_end);
        let mut ended = Vec::new();
        while ring.is_busy() {
            ring.reap(|key, _, _| ended.push(key));
        }
        assert!(ring.is_idle());
        assert_eq!(ended.len(), DEPTH as usize);
        ended.into_iter().for_each(|key| drop(ring.take(key).unwrap()));
        assert_eq!(Arc::strong_count(&pipe), 1, "nothing is kept");
    }

    #[test]
    fn a_ring_that_is_dropped_keeps_what_the_kernel_has() {
        let Some((mut ring, pipe, _other_end)) = ring() else { return };
        ring.start(read(), Arc::clone(&pipe));
        ring.submit().unwrap();
        drop(ring);
        assert_eq!(Arc::strong_count(&pipe), 2);
    }

    #[test]
    fn a_request_is_done_when_all_is_moved_or_it_failed() {
        let of = |last, result| Outcome::of(&Transfer { last, ..read() }, result).done;
        assert!(of(true, 512) && !of(false, 512));
        assert!(!of(true, 511) && !of(true, 0));
        assert!(of(true, -libc::EIO) && of(false, -libc::EIO));
        for again in [libc::EAGAIN, libc::EINTR, libc::ECANCELED] {
            assert!(!of(true, -again));
        }
    }
}
