//! A ring on the kernel that runs.

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
    Transfer { memory, at: Cursor::default(), offset: 0, last: true, at_once: false }
}

#[test]
fn what_the_kernel_has_is_never_given_back_early() {
    let Some((mut ring, pipe, other_end)) = ring() else { return };
    for _ in 0..IoUring::DEPTH - 1 {
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
    assert_eq!(ended.len(), IoUring::DEPTH as usize);
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
    assert!(of(true, -libc::EOPNOTSUPP));
    let told = Transfer { at_once: true, ..read() };
    assert!(!Outcome::of(&told, -libc::EOPNOTSUPP).done, "it is to be made without being told");
}

/// A ring on a kernel that does what the test says.
fn scripted() -> (Ring<Arc<OwnedFd>, Script>, Script, Arc<OwnedFd>) {
    let script = Script::default();
    let file = Arc::new(OwnedFd::from(tempfile::tempfile().unwrap()));
    (Ring::over(script.clone()), script, file)
}

fn lent() -> (Transfer, Lent) {
    let (buf, lent) = Lent::to_fill(16);
    (Transfer { memory: Memory::Fill(buf.into()), ..read() }, lent)
}

#[test]
fn memory_is_never_freed_under_the_kernel() {
    let (mut ring, script, file) = scripted();
    let (transfer, memory) = lent();
    ring.start(transfer, Arc::clone(&file));
    ring.submit().unwrap();
    drop(ring);
    assert!(memory.is_held() && Arc::strong_count(&file) == 2);
    // The kernel goes on.
    script.complete(script.taken()[0], 16);
}

#[test]
fn nor_is_what_the_kernel_may_still_take() {
    let (mut ring, script, file) = scripted();
    let (transfer, memory) = lent();
    ring.start(transfer, Arc::clone(&file));
    script.answer(Err(libc::EAGAIN));
    ring.submit().unwrap_err();
    drop(ring);
    assert!(memory.is_held() && Arc::strong_count(&file) == 2);
}

#[test]
fn what_the_kernel_never_saw_or_has_ended_is_freed() {
    let (mut ring, script, file) = scripted();
    let (transfer, ended) = lent();
    ring.start(transfer, Arc::clone(&file));
    ring.submit().unwrap();
    script.complete(script.taken()[0], 16);
    ring.reap(|_, outcome, _| assert!(outcome.done));
    let (transfer, queued) = lent();
    ring.start(transfer, Arc::clone(&file));
    drop(ring);
    assert!(!ended.is_held() && !queued.is_held() && Arc::strong_count(&file) == 1);
}

#[test]
fn a_full_submission_queue_takes_the_rest_later() {
    let (mut ring, script, file) = scripted();
    script.set_room(1);
    for _ in 0..3 {
        ring.start(lent().0, Arc::clone(&file));
    }
    for taken in 1..=3 {
        assert!(ring.can_submit());
        ring.submit().unwrap();
        assert_eq!(script.taken().len(), taken);
    }
    assert!(!ring.can_submit());
    script.oblige();
    let mut ended = 0;
    ring.reap(|_, _, _| ended += 1);
    assert_eq!((ended, ring.is_idle()), (3, true));
}

#[test]
fn what_is_withdrawn_while_the_kernel_hangs_leaves_no_trace() {
    let (mut ring, script, file) = scripted();
    for _ in 0..Script::DEPTH {
        ring.start(lent().0, Arc::clone(&file));
    }
    ring.submit().unwrap();
    let stays = ring.start(lent().0, Arc::clone(&file));
    for _ in 0..10_000 {
        let (transfer, memory) = lent();
        let key = ring.start(transfer, Arc::clone(&file));
        drop(ring.withdraw(key).unwrap());
        assert!(!memory.is_held());
    }
    assert_eq!((ring.queue.len(), ring.slots.len()), (1, Script::DEPTH as usize + 1));
    script.oblige();
    ring.reap(|_, _, _| ());
    ring.submit().unwrap();
    ring.reap(|_, _, _| ());
    assert!(ring.take(stays).is_some());
}
