//! What wakes a queue's thread: which of its requests can go on.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

/// Numbers of requests that can go on. Rung from any thread; only a sleeper is woken by a system
/// call.
#[derive(Debug)]
pub(crate) struct Bell {
    ready: Mutex<Vec<usize>>,
    asleep: AtomicBool,
    event: EventFd,
}

impl Bell {
    /// # Errors
    /// What the kernel says.
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Arc::new(Self { ready: Mutex::default(), asleep: AtomicBool::new(false), event }))
    }

    fn ready(&self) -> MutexGuard<'_, Vec<usize>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, number: usize) {
        self.ready().push(number);
        if self.asleep.swap(false, Ordering::SeqCst) {
            // It fails only if the count is at its end, and then it is readable.
            let _ = self.event.write(1);
        }
    }

    /// Moves the numbers to `into`.
    pub(crate) fn collect(&self, into: &mut Vec<usize>) {
        into.append(&mut self.ready());
    }

    pub(crate) fn has_rung(&self) -> bool {
        !self.ready().is_empty()
    }

    /// From now on the descriptor tells of ringing; false if it has rung, and the thread stays awake.
    pub(crate) fn sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let quiet = !self.has_rung();
        if !quiet {
            self.asleep.store(false, Ordering::SeqCst);
        }
        quiet
    }

    /// The thread is awake.
    pub(crate) fn wake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Makes the descriptor tell of the next ringing.
    pub(crate) fn heard(&self) {
        let _ = self.event.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Rings for one request: its waker.
#[derive(Debug)]
pub(crate) struct Rope {
    bell: Arc<Bell>,
    number: usize,
    rung: AtomicBool,
}

impl Rope {
    /// One that counts as rung.
    pub(crate) fn new(bell: Arc<Bell>, number: usize) -> Arc<Self> {
        Arc::new(Self { bell, number, rung: AtomicBool::new(true) })
    }

    /// Whether ringing would tell nothing new.
    pub(crate) fn set_rung(&self, rung: bool) {
        // What was done before a ringing that came to nothing is seen by who is about to look.
        let _ = self.rung.swap(rung, Ordering::AcqRel);
    }
}

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.bell.ring(self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn tells(bell: &Bell) -> bool {
        let mut fds = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn only_a_sleeper_is_told_by_the_kernel() {
        let bell = Bell::new().unwrap();
        bell.ring(3);
        assert!(bell.has_rung() && !tells(&bell));
        assert!(!bell.sleep(), "it has rung");
        bell.ring(4);
        assert!(!tells(&bell), "it did not fall asleep");
        let mut numbers = Vec::new();
        bell.collect(&mut numbers);
        assert_eq!(numbers, [3, 4]);
        assert!(bell.sleep());
        bell.ring(5);
        assert!(tells(&bell));
        bell.heard();
        assert!(!tells(&bell));
        bell.collect(&mut numbers);
        assert!(bell.sleep());
        bell.wake();
        bell.ring(6);
        assert!(!tells(&bell), "it was awake");
    }

    #[test]
    fn a_request_is_named_once_until_it_is_looked_at() {
        let bell = Bell::new().unwrap();
        let rope = Rope::new(Arc::clone(&bell), 7);
        rope.wake_by_ref();
        assert!(!bell.has_rung(), "it is about to be looked at");
        rope.set_rung(false);
        rope.wake_by_ref();
        rope.wake_by_ref();
        let mut numbers = Vec::new();
        bell.collect(&mut numbers);
        assert_eq!(numbers, [7]);
    }

    #[test]
    fn no_ringing_is_slept_through() {
        let bell = Bell::new().unwrap();
        let mut rung = 0_usize;
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|n| bell.ring(n)));
            let mut numbers = Vec::new();
            while rung < 20_000 {
                if bell.sleep() {
                    let mut fds = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
                    let woken = poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap();
                    assert_eq!(woken, 1, "after {rung}");
                    bell.wake();
                    bell.heard();
                }
                bell.collect(&mut numbers);
                rung += numbers.drain(..).count();
            }
        });
    }
}
