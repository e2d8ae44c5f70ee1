//! A lane on a kernel that does what the test says.

mod explorer;
mod own;
mod stories;

use super::super::Held;
use super::{Answer, Lane};
use crate::alignment::Alignment;
use crate::open_file::OpenFile;
use crate::sys::{Cursor, Lent, Memory, Ring, Script, Taken, Transfer};
use block_core::{BufferPool, InFlight, IoBuf, IoBufMut};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    /// No thread can be started from this one.
    pub(super) static NO_THREADS: Cell<bool> = const { Cell::new(false) };
}

/// How long something may take that would otherwise never happen.
const PATIENCE: Duration = Duration::from_secs(120);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Lets the tasks of a runtime run, and its descriptors be looked at.
fn drive(runtime: &Runtime, rounds: u64) {
    runtime.block_on(async {
        for _ in 0..rounds {
            tokio::task::yield_now().await;
        }
    });
}

/// A lane with its kernel, its runtime and a file.
struct Bench {
    script: Script,
    lane: Arc<Lane<Script>>,
    runtime: Option<Runtime>,
    file: Arc<OpenFile>,
    in_flight: InFlight,
}

impl Bench {
    fn new() -> Self {
        let script = Script::default();
        let runtime = runtime();
        let lane = Lane::open(Ring::over(script.clone()), runtime.handle()).unwrap();
        let fd = tempfile::tempfile().unwrap().into();
        let file = Arc::new(OpenFile::new(fd, false, Alignment::ANY, 0, BufferPool::default()));
        Self { script, lane, runtime: Some(runtime), file, in_flight: InFlight::default() }
    }

    /// Its thread, this one, drives the lane by itself.
    fn own() -> Self {
        let script = Script::default();
        let lane = Lane::open_own(Ring::over(script.clone())).unwrap();
        let fd = tempfile::tempfile().unwrap().into();
        let file = Arc::new(OpenFile::new(fd, false, Alignment::ANY, 0, BufferPool::default()));
        Self { script, lane, runtime: None, file, in_flight: InFlight::default() }
    }

    fn request(&self, what: What) -> Request {
        Request::new(self, what)
    }

    fn drive(&self) {
        if let Some(runtime) = &self.runtime {
            drive(runtime, 4);
        }
    }

    /// Drives the lane until this holds.
    fn until(&self, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < end, "it never comes: {:?}", self.lane);
            self.drive();
            if self.runtime.is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Nothing of any request is left.
    fn check_all_given_back(&self) {
        assert_eq!(self.in_flight.count(), 0);
        assert_eq!(Arc::strong_count(&self.file), 1);
    }
}

/// What a request is for.
#[derive(Clone, Debug)]
struct What {
    writes: bool,
    offset: u64,
    /// Of its buffers.
    lens: Vec<usize>,
    last: bool,
}

impl What {
    fn len(&self) -> usize {
        self.lens.iter().sum()
    }
}

fn read(offset: u64) -> What {
    What { writes: false, offset, lens: vec![16], last: true }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A request that is polled by hand.
struct Request {
    what: What,
    lent: Vec<Lent>,
    future: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    woken: Arc<Flag>,
}

impl Request {
    fn new(bench: &Bench, what: What) -> Self {
        let (mut lent, mut at) = (Vec::new(), what.offset);
        let memory = if what.writes {
            let buf = |&len: &usize| {
                let (buf, own) = Lent::to_write(len, at);
                at += len as u64;
                lent.push(own);
                buf
            };
            Memory::Take(what.lens.iter().map(buf).collect::<Vec<IoBuf>>().into_iter().collect())
        } else {
            let buf = |&len: &usize| {
                let (buf, own) = Lent::to_fill(len);
                lent.push(own);
                buf
            };
            Memory::Fill(what.lens.iter().map(buf).collect::<Vec<IoBufMut>>().into_iter().collect())
        };
        let Transfer { offset, last, .. } = Transfer {
            memory: Memory::Take(IoBuf::zeroed(0).into()),
            at: Cursor::default(),
            offset: what.offset,
            last: what.last,
            at_once: false,
        };
        let transfer = Transfer { memory, at: Cursor::default(), offset, last, at_once: false };
        let held = Held { file: Arc::clone(&bench.file), guard: bench.in_flight.start() };
        let lane = Arc::clone(&bench.lane);
        let future = Box::pin(async move { lane.transfer(transfer, held).await });
        Self { what, lent, future: Some(future), woken: Arc::default() }
    }

    /// Polls it if it is there.
    fn poll(&mut self) -> Option<Answer> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        let polled = self.future.as_mut()?.as_mut().poll(&mut Context::from_waker(&waker));
        let Poll::Ready(answer) = polled else { return None };
        self.future = None;
        Some(answer)
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// Whether any of its memory is still in use.
    fn is_held(&self) -> bool {
        self.lent.iter().any(Lent::is_held)
    }

    /// Whether a read filled its first `n` bytes and no other.
    fn check_filled(&self, n: usize) {
        for (i, byte) in self.lent.iter().flat_map(Lent::bytes).enumerate() {
            let expected = Taken::byte_at(self.what.offset + i as u64);
            assert_eq!(byte, if i < n { expected } else { 0 }, "byte {i} of {:?}", self.what);
        }
    }
}
