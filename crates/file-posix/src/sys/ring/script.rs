//! Queues to a kernel that does what a test says, when it says so.

use super::queues::{Call, Queues, Target};
use block_core::{IoBuf, IoBufMut};
use nix::libc;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The test's hand on the kernel; its clones are the same kernel.
#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    submitted: VecDeque<Call>,
    taken: Vec<Call>,
    completed: VecDeque<(u64, i32)>,
    /// What the next submissions come to, in order; then all succeed.
    answers: VecDeque<Result<usize, i32>>,
    /// So many calls have room in the submission queue; 0 = `DEPTH`.
    room: usize,
    /// Every call that was taken completes at once.
    obliging: bool,
    events: Option<OwnedFd>,
    /// The offsets of all calls that the kernel ever took.
    history: Vec<u64>,
}

// SAFETY: the pointers of the calls lead to memory that the ring keeps, on whatever thread.
unsafe impl Send for World {}

/// A call that the kernel has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken(Call);

impl Taken {
    pub(crate) fn key(&self) -> u64 {
        self.0.key
    }

    pub(crate) fn offset(&self) -> u64 {
        self.0.offset
    }

    /// The pieces of its memory, as the kernel finds them.
    fn pieces(&self) -> Vec<(*mut u8, usize)> {
        match self.0.memory {
            Target::One { base, len } => vec![(base.cast(), len as usize)],
            Target::List { iovecs, count } => (0..count as usize)
                .map(|i| {
                    // SAFETY: the ring keeps the list until the completion is taken.
                    let iovec = unsafe { *iovecs.add(i) };
                    (iovec.iov_base.cast(), iovec.iov_len)
                })
                .collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces().iter().map(|(_, len)| len).sum()
    }

    /// What a read finds at each offset.
    pub(crate) fn byte_at(offset: u64) -> u8 {
        (offset % 251) as u8
    }

    /// Moves the first `n` bytes: fills the memory, or checks what is in it.
    fn transfer(&self, n: usize) {
        let bytes = self
            .pieces()
            .into_iter()
            .flat_map(|(base, len)| (0..len).map(move |i| base.wrapping_add(i)));
        for (i, byte) in bytes.take(n).enumerate() {
            let expected = Self::byte_at(self.0.offset + i as u64);
            // SAFETY: as above, for the memory.
            unsafe {
                if self.0.writes {
                    assert_eq!(*byte, expected, "the kernel takes what the caller wrote");
                } else {
                    *byte = expected;
                }
            }
        }
    }
}

impl Script {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the submissions after those that were said before come to: how many calls are taken at
    /// most, or an error number.
    pub(crate) fn answer(&self, answer: Result<usize, i32>) {
        self.world().answers.push_back(answer);
    }

    /// Whether it takes whatever is submitted next.
    pub(crate) fn is_willing(&self) -> bool {
        self.world().answers.is_empty()
    }

    /// So many calls have room in the submission queue.
    pub(crate) fn set_room(&self, room: usize) {
        self.world().room = room;
    }

    /// The calls that the kernel has, in the order in which it took them.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.world().taken.iter().copied().map(Taken).collect()
    }

    /// The offsets of all calls that the kernel ever took, in order.
    pub(crate) fn history(&self) -> Vec<u64> {
        self.world().history.clone()
    }

    /// The offsets of those that lie in the submission queue.
    pub(crate) fn submitted(&self) -> Vec<u64> {
        self.world().submitted.iter().map(|call| call.offset).collect()
    }

    /// Completes one of these calls: a count of bytes, which are moved, or a negative error number.
    pub(crate) fn complete(&self, call: Taken, result: i32) {
        self.world().complete(call, result);
    }

    /// From now on every call completes wholly as soon as it is taken; so do those that were taken.
    pub(crate) fn oblige(&self) {
        let mut world = self.world();
        world.obliging = true;
        world.complete_all();
    }
}

impl World {
    fn complete(&mut self, call: Taken, result: i32) {
        self.taken.retain(|other| other.key != call.key());
        call.transfer(usize::try_from(result).unwrap_or(0));
        self.completed.push_back((call.key(), result));
        if let Some(events) = &self.events {
            nix::unistd::write(events, &1_u64.to_ne_bytes()).unwrap();
        }
    }

    fn complete_all(&mut self) {
        for call in std::mem::take(&mut self.taken).into_iter().map(Taken) {
            let len = i32::try_from(call.len()).unwrap();
            self.complete(call, len);
        }
    }
}

impl Queues for Script {
    const DEPTH: u32 = 4;

    unsafe fn push(&mut self, call: &Call) -> bool {
        let mut world = self.world();
        let room = if world.room == 0 { Self::DEPTH as usize } else { world.room };
        let has_room = world.submitted.len() < room;
        if has_room {
            world.submitted.push_back(*call);
        }
        has_room
    }

    fn submit(&mut self) -> io::Result<usize> {
        let mut world = self.world();
        let all = world.submitted.len();
        let taken = match world.answers.pop_front() {
            Some(Err(number)) => return Err(io::Error::from_raw_os_error(number)),
            Some(Ok(most)) => most.min(all),
            None => all,
        };
        let calls: Vec<Call> = world.submitted.drain(..taken).collect();
        for call in calls {
            // SAFETY: a question about a number.
            let open = unsafe { libc::fcntl(call.fd, libc::F_GETFD) } >= 0;
            assert!(open, "the file is open when the kernel takes the call");
            assert!(
                world.taken.iter().all(|other| other.key != call.key),
                "a key is given out once"
            );
            world.history.push(call.offset);
            world.taken.push(call);
        }
        let with_kernel = world.taken.len() + world.completed.len();
        assert!(with_kernel <= Self::DEPTH as usize, "never more than the completion queue holds");
        if world.obliging {
            world.complete_all();
        }
        Ok(taken)
    }

    fn completions(&mut self, mut each: impl FnMut(u64, i32)) {
        loop {
            let Some((key, result)) = self.world().completed.pop_front() else { return };
            each(key, result);
        }
    }

    fn notify(&mut self, events: BorrowedFd<'_>) -> io::Result<()> {
        self.world().events = Some(events.try_clone_to_owned()?);
        Ok(())
    }

    fn readable(&mut self) -> io::Result<OwnedFd> {
        let events = super::event_counter()?;
        self.notify(events.as_fd())?;
        Ok(events)
    }
}

/// A test's own memory, of which it lends a buffer and sees when it is given back.
pub(crate) struct Lent(Arc<Box<[AtomicU8]>>);

impl Lent {
    /// Memory that holds what a file holds from `offset` on, or zeroes.
    fn new(len: usize, offset: Option<u64>) -> Self {
        let byte = |i| offset.map_or(0, |offset| Taken::byte_at(offset + i as u64));
        Self(Arc::new((0..len).map(|i| AtomicU8::new(byte(i))).collect()))
    }

    fn start(&self) -> NonNull<u8> {
        NonNull::new(self.0.as_ptr().cast_mut().cast()).unwrap()
    }

    /// A buffer to be filled.
    pub(crate) fn to_fill(len: usize) -> (IoBufMut, Self) {
        let lent = Self::new(len, None);
        // SAFETY: the owner keeps the memory, and its atomics may be changed by anybody.
        let buf = unsafe { IoBufMut::from_foreign(lent.start(), len, Arc::clone(&lent.0) as _) };
        (buf, lent)
    }

    /// A buffer to be filled, whose owner does this when it is freed.
    pub(crate) fn to_fill_then(len: usize, freed: impl FnOnce() + Send + 'static) -> IoBufMut {
        let lent = Self::new(len, None);
        let start = lent.start();
        let owner = Owner { _memory: lent.0, freed: Mutex::new(Some(Box::new(freed))) };
        // SAFETY: as above.
        unsafe { IoBufMut::from_foreign(start, len, Arc::new(owner) as _) }
    }

    /// A buffer to be written at this offset.
    pub(crate) fn to_write(len: usize, offset: u64) -> (IoBuf, Self) {
        let lent = Self::new(len, Some(offset));
        // SAFETY: as above.
        let buf = unsafe { IoBuf::from_foreign(lent.start(), len, Arc::clone(&lent.0) as _) };
        (buf, lent)
    }

    /// Whether the buffer is still there.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(crate) fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0.iter().map(|byte| byte.load(Ordering::SeqCst))
    }
}

struct Owner {
    _memory: Arc<Box<[AtomicU8]>>,
    freed: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let freed = self.freed.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        freed.into_iter().for_each(|freed| freed());
    }
}
