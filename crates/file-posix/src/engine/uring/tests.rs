//! The rings of a file, on the kernel that runs.

use super::*;
use crate::alignment::Alignment;
use crate::engine::transfer::Reading;
use block_core::turns::Turns;
use block_core::{BufferPool, IoBufMut};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::task::{Context, Waker};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// How long something may take that would otherwise never happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sleeps as a thread does that takes turns, and takes them.
fn sleep_and_take(turns: &mut Turns) {
    let mut told = None;
    turns.watch(|number, ring| {
        let mut fds = [PollFd::new(ring, PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap(), 1);
        told = Some(number);
        true
    });
    turns.told(told.unwrap());
    assert!(turns.take());
}

fn poll_here(request: &mut Pin<Box<impl Future<Output = Carried<Reading>>>>) -> Poll<bool> {
    let polled = request.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    polled.map(|carried| matches!(carried, Carried::Done(Ok(()), _)))
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_ready())).await
}

/// A file that is a pipe, its other end, and a request to read 16 bytes of it.
struct Pipe {
    file: Arc<OpenFile>,
    other_end: OwnedFd,
    uring: Uring,
    in_flight: InFlight,
}

impl Pipe {
    fn new() -> Option<Self> {
        if let Err(error) = probe() {
            // Past the capture of output, so that the gap is seen and counted.
            drop(writeln!(io::stderr(), "NOT TESTED with io_uring: {error}"));
            return None;
        }
        let (read_end, other_end) = nix::unistd::pipe().unwrap();
        let file = OpenFile::new(read_end, false, Alignment::ANY, 0, BufferPool::default());
        let (uring, in_flight) = (Uring::default(), InFlight::default());
        Some(Self { file: Arc::new(file), other_end, uring, in_flight })
    }

    fn read(&self) -> impl Future<Output = Carried<Reading>> + Send {
        let bufs = IoBufMut::zeroed(16).into();
        let reading = Reading::new(&self.file.pool, self.file.alignment, 0, bufs);
        let held = Held { file: Arc::clone(&self.file), guard: self.in_flight.start() };
        self.uring.carry(reading, held)
    }

    fn write(&self, n: usize) {
        assert_eq!(nix::unistd::write(&self.other_end, &vec![7; n]).unwrap(), n);
    }
}

#[tokio::test]
async fn a_request_that_goes_on_after_a_short_call_is_under_way_again() {
    let Some(pipe) = Pipe::new() else { return };
    let mut request = Box::pin(pipe.read());
    assert!(!poll_once(&mut request).await);
    pipe.write(8);
    tokio::time::timeout(PATIENCE, pipe.in_flight.settle()).await.unwrap();
    assert!(!poll_once(&mut request).await);
    assert_eq!(pipe.in_flight.count(), 1);
    pipe.write(8);
    let Carried::Done(Ok(()), reading) = request.await else { panic!("it reads all") };
    assert_eq!(reading.finish().segments()[0].as_slice().unwrap(), [7; 16]);
    assert_eq!(pipe.in_flight.count(), 0);
}

#[test]
fn a_ring_that_came_after_a_settle_began_is_driven_by_it_too() {
    let Some(pipe) = Pipe::new() else { return };
    let (first, second) = (runtime(), runtime());
    // It has begun and has no ring yet.
    let mut request = Box::pin(pipe.read());
    first.block_on(async {
        let mut settle = Box::pin(pipe.uring.settle(&pipe.in_flight));
        assert!(!poll_once(&mut settle).await);
        // Its runtime is driven for this moment and never again.
        std::thread::scope(|scope| {
            let submit = || assert!(!second.block_on(poll_once(&mut request)));
            scope.spawn(submit).join().unwrap();
        });
        pipe.write(16);
        let settled = tokio::time::timeout(PATIENCE, settle).await;
        settled.expect("it drives the ring of a runtime that nobody drives");
    });
    assert!(matches!(second.block_on(request), Carried::Done(Ok(()), _)));
}

#[test]
fn a_ring_that_could_not_be_had_is_tried_again_and_few_refusals_are_remembered() {
    let uring = Uring::default();
    // A runtime that cannot watch a ring.
    let refused = || Builder::new_current_thread().build().unwrap();
    for _ in 0..500 {
        refused().block_on(async { assert!(uring.lane().is_none()) });
    }
    let known = || uring.lanes.read().unwrap().entries.len();
    assert!(known() <= MAX_REFUSALS, "{}", known());
    refused().block_on(async {
        assert!(uring.lane().is_none());
        let tries = || uring.lanes.read().unwrap().added;
        let before = tries();
        assert!(uring.lane().is_none());
        assert_eq!(tries(), before, "not again and again");
        for entry in &mut uring.lanes.write().unwrap().entries {
            entry.lane = Err(Instant::now().checked_sub(RETRY).unwrap());
        }
        assert!(uring.lane().is_none());
        assert_eq!((tries(), known()), (before + 1, 1));
    });
}

#[test]
fn a_thread_that_takes_turns_has_a_ring_of_its_own() {
    let Some(pipe) = Pipe::new() else { return };
    let runtime = runtime();
    let mut turns = Turns::begin().unwrap();
    let _context = runtime.enter();
    let mut request = Box::pin(pipe.read());
    let mut poll = || request.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    assert!(!turns.take());
    let own = pipe.uring.lane().unwrap();
    std::thread::scope(|scope| {
        let elsewhere = || {
            let _context = runtime.enter();
            assert!(!Arc::ptr_eq(&own, &pipe.uring.lane().unwrap()));
        };
        scope.spawn(elsewhere).join().unwrap();
    });
    pipe.write(16);
    // The ring itself tells of completions.
    sleep_and_take(&mut turns);
    assert!(matches!(poll(), Poll::Ready(Carried::Done(Ok(()), _))));
    assert!(!turns.take());
    turns.watch(|_, _| panic!("nothing is under way"));
}

#[test]
fn a_request_that_another_thread_goes_on_with_does_not_wait_for_the_first_ones_turn() {
    let Some(pipe) = Pipe::new() else { return };
    let (first, second) = (runtime(), runtime());
    let mut turns = Turns::begin().unwrap();
    let _context = first.enter();
    let mut request = Box::pin(pipe.read());
    assert!(poll_here(&mut request).is_pending());
    assert!(!turns.take());
    pipe.write(8);
    sleep_and_take(&mut turns);
    pipe.write(8);
    // This thread takes no turn meanwhile.
    let ended = std::thread::scope(|scope| {
        let ends = || second.block_on(async { tokio::time::timeout(PATIENCE, request).await });
        scope.spawn(ends).join().unwrap()
    });
    assert!(matches!(ended, Ok(Carried::Done(Ok(()), _))), "it goes by the other thread's ring");
}

#[test]
fn a_thread_that_waits_instead_of_taking_turns_sees_its_requests_settle() {
    let Some(pipe) = Pipe::new() else { return };
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut turns = Turns::begin().unwrap();
    let _context = runtime.enter();
    // One that its turn has submitted, and one that waits for the next.
    let mut requests = [Box::pin(pipe.read()), Box::pin(pipe.read())];
    assert!(poll_here(&mut requests[0]).is_pending());
    assert!(!turns.take());
    assert!(poll_here(&mut requests[1]).is_pending());
    pipe.write(32);
    let settle = async { tokio::time::timeout(PATIENCE, pipe.uring.settle(&pipe.in_flight)).await };
    runtime.handle().block_on(settle).expect("it drives the ring of its own thread");
    assert!(requests.iter_mut().all(|request| poll_here(request) == Poll::Ready(true)));
}

#[test]
fn a_thread_that_begins_turns_again_has_a_ring_again() {
    let Some(pipe) = Pipe::new() else { return };
    let (runtime, other) = (runtime(), runtime());
    let mut before: Option<Arc<Lane<IoUring>>> = None;
    for _ in 0..3 {
        let mut turns = Turns::begin().unwrap();
        let _context = runtime.enter();
        let mut request = Box::pin(pipe.read());
        assert!(poll_here(&mut request).is_pending());
        let own = pipe.uring.lane().unwrap();
        assert!(!own.is_retired() && before.is_none_or(|before| !Arc::ptr_eq(&own, &before)));
        {
            let _context = other.enter();
            let same = pipe.uring.lane().unwrap();
            assert!(Arc::ptr_eq(&own, &same), "one for the thread, not for each runtime");
        }
        assert!(!turns.take());
        pipe.write(16);
        sleep_and_take(&mut turns);
        assert_eq!(poll_here(&mut request), Poll::Ready(true), "by the ring");
        assert_eq!(pipe.uring.lanes.read().unwrap().entries.len(), 1, "the old one is forgotten");
        before = Some(own);
    }
}
