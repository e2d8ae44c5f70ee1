//! A crew with requests that are held, fail, or panic.

use super::super::transfer::{Reading, Writing};
use super::crew::{Crew, Terms};
use super::work::{Row, Work, Write};
use crate::alignment::Alignment;
use crate::engine::job::Durable;
use crate::open_file::OpenFile;
use block_core::{BufferPool, InFlight, IoVec, IoVecMut, Result};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Holds calls until it is opened, and remembers them.
#[derive(Default)]
struct Gate {
    /// Those before this position are not held.
    from: AtomicU64,
    open: Mutex<bool>,
    opened: Condvar,
    calls: Mutex<Vec<Vec<u64>>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gate {
    fn pass(&self, positions: Vec<u64>) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let from = self.from.load(Ordering::SeqCst);
        let is_held = positions.is_empty() || positions.iter().any(|at| *at >= from);
        self.calls.lock().unwrap().push(positions);
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| is_held && !*open).unwrap());
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn calls(&self) -> Vec<Vec<u64>> {
        self.calls.lock().unwrap().clone()
    }
}

struct Held {
    gate: Arc<Gate>,
    at: u64,
    len: usize,
}

impl Work for Held {
    type Done = u64;

    fn len(&self) -> usize {
        self.len
    }

    fn is_short(&self) -> bool {
        self.len < 100
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        self.at + self.len as u64 == next.at
    }

    fn make(self, _: &OpenFile) -> Result<u64> {
        self.gate.pass(vec![self.at]);
        assert_ne!(self.at, 666, "this one panics");
        Ok(self.at)
    }

    fn make_row(row: Row<Self>, _: &OpenFile) -> Row<Result<u64>> {
        let gate = Arc::clone(&row[0].gate);
        gate.pass(row.iter().map(|held| held.at).collect());
        row.into_iter().map(|held| Ok(held.at)).collect()
    }
}

struct World {
    crew: Arc<Crew<Held>>,
    gate: Arc<Gate>,
    file: Arc<OpenFile>,
    in_flight: InFlight,
}

impl Drop for World {
    /// So that a test that fails does not wait for its calls.
    fn drop(&mut self) {
        self.gate.open();
    }
}

impl World {
    fn new(workers: usize, joins: bool) -> Self {
        Self {
            crew: Arc::new(Crew::new(Terms { workers, joins, holds: true })),
            gate: Arc::default(),
            file: Arc::new(file()),
            in_flight: InFlight::default(),
        }
    }

    fn send(&self, at: u64, len: usize) -> JoinHandle<Result<u64>> {
        let (crew, file) = (Arc::clone(&self.crew), Arc::clone(&self.file));
        let held = Held { gate: Arc::clone(&self.gate), at, len };
        let guard = self.in_flight.start();
        tokio::spawn(async move { crew.carry(&Handle::current(), file, held, guard).await })
    }

    /// Sends requests one after another, the first of which is being made before the next comes.
    async fn send_all(&self, requests: &[(u64, usize)]) -> Vec<JoinHandle<Result<u64>>> {
        let mut sent = Vec::new();
        for (at, len) in requests {
            sent.push(self.send(*at, *len));
            if sent.len() == 1 {
                until("the first is made", || !self.gate.calls().is_empty()).await;
            } else {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        sent
    }
}

fn file() -> OpenFile {
    let fd = tempfile::tempfile().unwrap().into();
    OpenFile::new(fd, false, Alignment::ANY, 0, BufferPool::default())
}

/// How long something may take that would otherwise never happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until this holds. Looks are counted, not time: a machine that stands still takes none.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never comes: {what}");
}

async fn ends<T>(task: JoinHandle<T>) -> T {
    timeout(PATIENCE, task).await.expect("ends").expect("no panic")
}

#[tokio::test]
async fn neighbours_that_wait_go_together_and_each_has_its_own_answer() {
    let world = World::new(1, true);
    let sent = world.send_all(&[(0, 10), (10, 10), (20, 5), (25, 5), (40, 10), (30, 10)]).await;
    world.gate.open();
    for (task, at) in sent.into_iter().zip([0, 10, 20, 25, 40, 30]) {
        assert_eq!(ends(task).await.unwrap(), at);
    }
    assert_eq!(world.gate.calls(), [vec![0], vec![10, 20, 25], vec![40], vec![30]]);
}

#[tokio::test]
async fn long_requests_and_those_that_must_not_be_joined_go_alone() {
    const LONG: usize = 1 << 20;
    let world = World::new(1, true);
    let sent = world.send_all(&[(0, 10), (10, LONG), (10 + LONG as u64, 10)]).await;
    world.gate.open();
    for task in sent {
        ends(task).await.unwrap();
    }
    assert_eq!(world.gate.calls().len(), 3);

    let world = World::new(1, false);
    let sent = world.send_all(&[(0, 10), (10, 10), (20, 10)]).await;
    world.gate.open();
    for task in sent {
        ends(task).await.unwrap();
    }
    assert_eq!(world.gate.calls(), [vec![0], vec![10], vec![20]]);
}

#[tokio::test]
async fn a_row_is_bounded() {
    let world = World::new(1, true);
    let requests: Vec<_> = (0..200_u64).map(|i| (i * 4096, 4096)).collect();
    let first = world.send_all(&requests[..1]).await;
    let rest: Vec<_> = requests[1..].iter().map(|(at, len)| world.send(*at, *len)).collect();
    until("all others wait", || format!("{:?}", world.crew).contains("waiting: 199,")).await;
    world.gate.open();
    for task in first.into_iter().chain(rest) {
        ends(task).await.unwrap();
    }
    let lens: Vec<usize> = world.gate.calls().iter().map(Vec::len).collect();
    assert_eq!(lens.iter().sum::<usize>(), 200);
    assert!(lens.iter().all(|len| *len <= 64), "{lens:?}");
    assert!(lens.len() <= 8, "{lens:?}");
}

#[tokio::test]
async fn as_many_work_at_once_as_may_and_no_more() {
    let world = World::new(3, false);
    let sent: Vec<_> = (0..20).map(|i| world.send(i * 100, 10)).collect();
    until("three work", || world.gate.now.load(Ordering::SeqCst) == 3).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.gate.now.load(Ordering::SeqCst), 3);
    world.gate.open();
    for task in sent {
        ends(task).await.unwrap();
    }
    assert_eq!(world.gate.most.load(Ordering::SeqCst), 3);
    until("workers without work go home", || world.crew.is_idle()).await;
}

#[tokio::test]
async fn a_request_dropped_once_begun_counts_until_it_is_made_and_one_before_is_not_made() {
    let world = World::new(1, true);
    let mut sent = world.send_all(&[(0, 10), (100, 10), (200, 10)]).await;
    sent.drain(..2).for_each(|task| task.abort());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.in_flight.count(), 2);
    world.gate.open();
    for task in sent {
        ends(task).await.unwrap();
    }
    timeout(PATIENCE, world.in_flight.settle()).await.expect("nothing is left");
    assert_eq!(world.gate.calls(), [[0], [200]]);
}

#[tokio::test]
async fn requests_given_up_while_the_device_hangs_hold_nothing() {
    let world = World::new(1, true);
    let first = world.send_all(&[(0, 10)]).await;
    let runtime = Handle::current();
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    for at in 1..5000 {
        let (crew, file) = (Arc::clone(&world.crew), Arc::clone(&world.file));
        let held = Held { gate: Arc::clone(&world.gate), at: at * 10, len: 10 };
        let guard = world.in_flight.start();
        let mut carried = Box::pin(crew.carry(&runtime, file, held, guard));
        assert!(carried.as_mut().poll(&mut nobody).is_pending());
    }
    assert_eq!((world.in_flight.count(), Arc::strong_count(&world.file)), (1, 2));
    world.gate.open();
    for task in first {
        ends(task).await.unwrap();
    }
    assert_eq!(world.gate.calls(), [[0]]);
}

#[tokio::test]
async fn who_has_his_answer_does_not_wait_for_the_next_call() {
    let world = World::new(1, false);
    world.gate.from.store(100, Ordering::SeqCst);
    // The second is taken by the same worker right after the first, and held.
    let first = world.send(0, 10);
    let held = world.send(200, 10);
    assert_eq!(ends(first).await.unwrap(), 0);
    assert!(!held.is_finished());
    world.gate.open();
    ends(held).await.unwrap();
}

/// The answer to the first of several requests that one worker finds after many quick ones. Those
/// from this position on are held until it is there.
fn first_of(requests: &[(u64, usize)], from: u64) -> Result<u64> {
    let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(1).build();
    runtime.unwrap().block_on(async {
        let world = World::new(1, false);
        world.gate.from.store(from, Ordering::SeqCst);
        for _ in 0..64 {
            ends(world.send(0, 10)).await.unwrap();
        }
        // Nobody serves the queue before it is full.
        while !world.crew.is_idle() {
            tokio::task::yield_now().await;
        }
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (is_there, there) = tokio::sync::oneshot::channel();
        let other = tokio::task::spawn_blocking(move || {
            is_there.send(()).unwrap();
            wait.recv()
        });
        there.await.unwrap();
        let sent: Vec<_> = requests.iter().map(|(at, len)| world.send(*at, *len)).collect();
        let waiting = format!("waiting: {}", requests.len());
        while !format!("{:?}", world.crew).contains(&waiting) {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        ends(other).await.unwrap();
        let mut sent = sent.into_iter();
        let first = ends(sent.next().unwrap()).await;
        world.gate.open();
        for task in sent {
            let _ = timeout(Duration::from_secs(120), task).await.expect("ends");
        }
        first
    })
}

#[test]
fn however_quick_requests_are_nobody_waits_for_a_long_one() {
    let requests = [(0, 10), (200, 100), (10, 10), (20, 10), (30, 10)];
    assert_eq!(first_of(&requests, 100).unwrap(), 0);
}

#[test]
fn an_answer_that_waits_for_others_survives_a_panic() {
    let requests = [(0, 10), (666, 10), (10, 10), (20, 10), (30, 10)];
    assert_eq!(first_of(&requests, 1000).unwrap(), 0);
}

#[test]
fn a_busy_file_leaves_threads_to_others() {
    let runtime =
        Builder::new_multi_thread().max_blocking_threads(1).enable_time().build().unwrap();
    runtime.block_on(async {
        let world = Arc::new(World::new(1, false));
        world.gate.open();
        let stop = Arc::new(AtomicUsize::new(0));
        let loops: Vec<_> = (0..8_u64)
            .map(|n| {
                let (world, stop) = (Arc::clone(&world), Arc::clone(&stop));
                tokio::spawn(async move {
                    while stop.load(Ordering::SeqCst) == 0 {
                        world.send(n * 100, 10).await.unwrap().unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            ends(tokio::task::spawn_blocking(|| ())).await;
        }
        stop.store(1, Ordering::SeqCst);
        for each in loops {
            ends(each).await;
        }
    });
}

#[test]
fn a_worker_that_cannot_be_had_fails_what_waits_and_may_come_late() {
    let runtime =
        Builder::new_current_thread().max_blocking_threads(1).enable_time().build().unwrap();
    runtime.block_on(async {
        let world = World::new(1, false);
        world.gate.open();
        let blocker = Arc::new(Gate::default());
        let blocked = tokio::task::spawn_blocking({
            let blocker = Arc::clone(&blocker);
            move || blocker.pass(Vec::new())
        });
        let waiting = world.send(0, 10);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        world.crew.write_off();
        let error = ends(waiting).await.unwrap_err();
        assert!(error.to_string().contains("no thread"), "{error}");
        assert!(world.crew.is_idle());
        assert_eq!(world.in_flight.count(), 0);
        let next = world.send(100, 10);
        blocker.open();
        ends(blocked).await;
        assert_eq!(ends(next).await.unwrap(), 100);
        until("a worker without work goes home", || world.crew.is_idle()).await;
        assert_eq!(world.gate.calls(), [[100]]);
    });
}

#[tokio::test]
async fn a_panic_ends_one_request_and_the_others_go_on() {
    let world = World::new(1, false);
    let sent = world.send_all(&[(0, 10), (666, 10), (200, 10), (300, 10)]).await;
    world.gate.open();
    let mut failed = 0;
    for task in sent {
        failed += usize::from(ends(task).await.is_err());
    }
    assert_eq!(failed, 1);
    ends(world.send(400, 10)).await.unwrap();
    assert_eq!(world.in_flight.count(), 0);
}

#[test]
fn a_runtime_that_has_ended_sends_no_worker_and_nobody_waits_for_one() {
    let world = World::new(2, false);
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    let elsewhere = Builder::new_current_thread().enable_time().build().unwrap();
    for at in 0..3 {
        let (crew, file) = (Arc::clone(&world.crew), Arc::clone(&world.file));
        let held = Held { gate: Arc::clone(&world.gate), at, len: 1 };
        let guard = world.in_flight.start();
        let error = elsewhere.block_on(async {
            let carried = crew.carry(&handle, file, held, guard);
            timeout(PATIENCE, carried).await.expect("ends").unwrap_err()
        });
        assert!(error.to_string().contains("shut down"), "{error}");
    }
    assert!(world.crew.is_idle());
    assert_eq!(world.in_flight.count(), 0);
    assert_eq!(world.gate.calls().len(), 0);
}

#[test]
fn what_fails_together_is_tried_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("read-only");
    std::fs::write(&path, [0; 4]).unwrap();
    let fd = std::fs::File::open(&path).unwrap().into();
    let read_only = OpenFile::new(fd, false, Alignment::ANY, 4, BufferPool::default());
    let row = |file: &OpenFile| -> Row<Write> {
        [0, 4, 8].iter().map(|at| write_at(file, *at)).collect()
    };
    let results = Write::make_row(row(&read_only), &read_only);
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 3);

    let file = file();
    let results = Write::make_row(row(&file), &file);
    assert_eq!(results.len(), 3);
    assert!(results.into_iter().all(|done| done.unwrap() == Durable(false)));
    let mut reads: Row<Reading> = [0, 4, 8, 12].iter().map(|at| read_at(&file, *at)).collect();
    assert!(reads[0].is_followed_by(&reads[1]));
    let results = Reading::make_row(std::mem::take(&mut reads), &file);
    let read: Vec<Vec<u8>> = results.into_iter().map(|done| done.unwrap().to_vec()).collect();
    assert_eq!(read, [[7; 4], [7; 4], [7; 4], [0; 4]], "the last lies past the end");
}

fn read_at(file: &OpenFile, at: u64) -> Reading {
    Reading::new(&file.pool, file.alignment, at, IoVecMut::from(vec![9; 4]))
}

fn write_at(file: &OpenFile, at: u64) -> Write {
    let writing = Writing::new(&file.pool, file.alignment, at, IoVec::from(vec![7; 4]));
    Write { writing, durable: false, first: crate::engine::First::Nothing }
}
