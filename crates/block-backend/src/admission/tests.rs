//! Random schedules: requests that end at once, later or by a panic, callers that go away at any
//! moment, wide requests, limits of both kinds. `ADMISSION_SEED` replays one.

use super::*;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::runtime::Runtime;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// What the requests below do, as the test wants it.
#[derive(Default)]
struct World {
    /// Requests that were polled, in the order of their first polls.
    started: Vec<usize>,
    /// What a request shall do, once it may end.
    released: HashMap<usize, End>,
    wakers: HashMap<usize, Waker>,
    /// Requests whose work is there, and the bytes of those that were started.
    alive: usize,
    passes: usize,
    running: HashMap<usize, u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Done,
    Panic,
}

type Shared = Arc<Mutex<World>>;

/// Counts what a request holds.
struct Alive(Shared, usize);

impl Drop for Alive {
    fn drop(&mut self) {
        let mut world = self.0.lock().unwrap();
        world.alive -= 1;
        world.running.remove(&self.1);
    }
}

struct PassHeld(Shared);

impl Drop for PassHeld {
    fn drop(&mut self) {
        self.0.lock().unwrap().passes -= 1;
    }
}

fn call(world: &Shared, n: usize, bytes: u64) -> Call<usize> {
    world.lock().unwrap().alive += 1;
    let alive = Alive(Arc::clone(world), n);
    let mut polled = false;
    Box::pin(poll_fn(move |cx| {
        let mut world = alive.0.lock().unwrap();
        if !std::mem::replace(&mut polled, true) {
            world.started.push(n);
            world.running.insert(n, bytes);
        }
        world.wakers.insert(n, cx.waker().clone());
        match world.released.get(&n).copied() {
            None => Poll::Pending,
            Some(End::Done) => Poll::Ready(Ok(n)),
            Some(End::Panic) => {
                drop(world);
                std::panic::resume_unwind(Box::new("as the test wants it"));
            }
        }
    }))
}

struct Caller {
    n: usize,
    future: Pin<Box<dyn Future<Output = Result<usize>> + Send>>,
}

fn release(world: &Shared, n: usize, end: End) {
    let waker = {
        let mut world = world.lock().unwrap();
        world.released.insert(n, end);
        world.wakers.remove(&n)
    };
    waker.into_iter().for_each(Waker::wake);
}

/// Requests to one zone begin in their order, and none overtakes a wide one in either direction.
fn check_order(started: &[usize], scopes: &[Scope]) {
    for (i, &first) in started.iter().enumerate() {
        for &later in &started[i + 1..] {
            let tied = scopes[first] == scopes[later]
                || scopes[first] == Scope::Wide
                || scopes[later] == Scope::Wide;
            assert!(!tied || first < later, "request {first} began before {later}");
        }
    }
}

async fn explore(seed: u64) {
    let mut rng = Rng(seed);
    let most = match rng.below(3) {
        0 => Most { requests: 1 + rng.below(4) as usize, bytes: 0 },
        1 => Most { requests: 0, bytes: 1 + rng.below(12) },
        _ => Most { requests: 1 + rng.below(4) as usize, bytes: 1 + rng.below(12) },
    };
    let admission = Arc::new(Admission::new(most));
    let world = Shared::default();
    let mut scopes = Vec::new();
    let mut callers: Vec<Caller> = Vec::new();
    let (mut answers, mut gone, mut failed) = (0, 0, 0);
    for _ in 0..120 {
        match rng.below(10) {
            0..4 => {
                let n = scopes.len();
                let scope = match rng.below(12) {
                    0 => Scope::Wide,
                    1 => Scope::APART,
                    lane => Scope::Lane(lane % 3),
                };
                scopes.push(scope);
                let bytes = rng.below(7);
                world.lock().unwrap().passes += 1;
                let pass = PassHeld(Arc::clone(&world));
                let call = call(&world, n, bytes);
                if rng.below(4) == 0 {
                    let end = if rng.below(6) == 0 { End::Panic } else { End::Done };
                    release(&world, n, end);
                }
                let admission = Arc::clone(&admission);
                let future =
                    Box::pin(async move { admission.carry(scope, bytes, call, pass).await });
                let mut caller = Caller { n, future };
                // Polled once, as every request whose place in line counts.
                let mut nobody = Context::from_waker(Waker::noop());
                match caller.future.as_mut().poll(&mut nobody) {
                    Poll::Pending => callers.push(caller),
                    Poll::Ready(Ok(_)) => answers += 1,
                    Poll::Ready(Err(_)) => failed += 1,
                }
            }
            4..6 if !callers.is_empty() => {
                let who = rng.below(callers.len() as u64) as usize;
                drop(callers.swap_remove(who));
                gone += 1;
            }
            6..8 => {
                let running: Vec<usize> = world.lock().unwrap().running.keys().copied().collect();
                if !running.is_empty() {
                    let who = running[rng.below(running.len() as u64) as usize];
                    release(&world, who, if rng.below(8) == 0 { End::Panic } else { End::Done });
                }
            }
            _ => tokio::task::yield_now().await,
        }
        check_limits(&admission, &world, most);
    }
    for n in 0..scopes.len() {
        release(&world, n, End::Done);
    }
    for Caller { n, future } in callers {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(120), future).await;
        match answer.unwrap_or_else(|_| panic!("request {n} hangs")) {
            Ok(same) => {
                assert_eq!(same, n);
                answers += 1;
            }
            Err(error) => {
                assert_eq!(error.kind().name(), "io");
                failed += 1;
            }
        }
    }
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(answers + gone + failed, scopes.len());
    let Pressure { in_flight, in_flight_bytes, waiting, .. } = admission.pressure();
    assert_eq!((in_flight, in_flight_bytes, waiting), (0, 0, 0));
    let world = world.lock().unwrap();
    assert_eq!((world.alive, world.passes), (0, 0), "everything is given back");
    check_order(&world.started, &scopes);
}

fn check_limits(admission: &Admission, world: &Shared, most: Most) {
    let now = admission.pressure();
    let world = world.lock().unwrap();
    let bytes: u64 = world.running.values().sum();
    assert_eq!(now.in_flight, world.running.len());
    assert_eq!(now.in_flight_bytes, bytes);
    assert!(most.requests == 0 || now.in_flight <= most.requests);
    assert!(most.bytes == 0 || bytes <= most.bytes || now.in_flight == 1);
    let first = admission.0.state().line.next().map(|(_, waiting)| waiting.bytes);
    assert!(first.is_none_or(|b| !most.has_room(&now, b)), "{now:?}: there is room, and they wait");
    assert_eq!(world.passes, world.alive, "who is inside is counted as long as he is");
}

#[test]
fn any_schedule_keeps_the_limit_and_the_order_and_strands_nobody() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    if let Some(seed) = std::env::var("ADMISSION_SEED").ok().and_then(|s| s.parse().ok()) {
        return runtime().block_on(explore(seed));
    }
    for seed in 0..1500 {
        let run = std::panic::AssertUnwindSafe(|| runtime().block_on(explore(seed)));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("replay with ADMISSION_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[tokio::test]
async fn those_that_end_at_once_leave_the_thread_to_others_from_time_to_time() {
    let admission = Arc::new(Admission::new(Most { requests: 1, bytes: 0 }));
    let world = Shared::default();
    let carry = |n| {
        let (admission, call) = (Arc::clone(&admission), call(&world, n, 0));
        Box::pin(async move { admission.carry(Scope::Lane(0), 0, call, ()).await })
    };
    let mut nobody = Context::from_waker(Waker::noop());
    let mut all: Vec<_> = (0..1000).map(carry).collect();
    for future in &mut all {
        assert!(future.as_mut().poll(&mut nobody).is_pending());
    }
    (1..1000).for_each(|n| release(&world, n, End::Done));
    // Another task, which looks on whenever it is let.
    let seen = Arc::clone(&world);
    let onlooker = tokio::spawn(async move {
        let (mut before, mut largest) = (0, 0);
        while before < 1000 {
            let now = seen.lock().unwrap().started.len();
            largest = now.abs_diff(before).max(largest);
            before = now;
            // At the end of the queue, where `yield_now` waits until nobody else wants to run.
            let mut again = true;
            poll_fn(|cx| match std::mem::take(&mut again) {
                true => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                false => Poll::Ready(()),
            })
            .await;
        }
        largest
    });
    tokio::task::yield_now().await;
    release(&world, 0, End::Done);
    let largest = onlooker.await.unwrap();
    assert!(largest > 1 && largest < 100, "{largest} in one go");
    for (n, future) in all.into_iter().enumerate() {
        assert_eq!(future.await.unwrap(), n);
    }
    assert_eq!(admission.pressure().waits, 999);
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn who_goes_away_at_the_head_of_the_line_lets_the_next_through() {
    let admission = Admission::new(Most { requests: 0, bytes: 10 });
    let world = Shared::default();
    let carry = |n, bytes| {
        let call = call(&world, n, bytes);
        Box::pin(admission.carry(Scope::Lane(0), bytes, call, ()))
    };
    let (mut first, mut large, mut small) = (carry(0, 8), carry(1, 8), carry(2, 2));
    for request in [&mut first, &mut large, &mut small] {
        assert!(poll_once(request).is_pending());
    }
    assert_eq!(world.lock().unwrap().started, [0], "nobody overtakes");
    drop(large);
    assert_eq!(world.lock().unwrap().started, [0, 2]);
}

#[tokio::test]
async fn a_caller_that_goes_away_during_a_poll_of_its_request_ends_it() {
    let admission = Arc::new(Admission::new(Most { requests: 1, bytes: 0 }));
    let alive = Arc::new(());
    let caller = Arc::new(Mutex::new(None));
    let (inside, held) = (Arc::clone(&caller), Arc::clone(&alive));
    let mut polls = 0;
    let call: Call<()> = Box::pin(poll_fn(move |_| {
        let _held = &held;
        polls += 1;
        if polls == 2 {
            drop(inside.lock().unwrap().take());
        }
        Poll::Pending
    }));
    let own = Arc::clone(&admission);
    let mut request: Pin<Box<dyn Future<Output = Result<()>> + Send>> =
        Box::pin(async move { own.carry(Scope::Lane(0), 0, call, ()).await });
    assert!(poll_once(&mut request).is_pending());
    *caller.lock().unwrap() = Some(request);
    tokio::task::yield_now().await;
    assert!(caller.lock().unwrap().is_none());
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(admission.pressure().in_flight, 0);
}

#[test]
fn a_request_whose_runtime_ends_fails_and_gives_its_place_back() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let admission = Admission::new(Most { requests: 1, bytes: 0 });
    let world = Shared::default();
    let mut cut_off = Box::pin(admission.carry(Scope::Lane(0), 0, call(&world, 0, 0), ()));
    let mut next = Box::pin(admission.carry(Scope::Lane(0), 0, call(&world, 1, 0), ()));
    // Polled in the first one, which carries it; this thread waits for it.
    first.block_on(async { assert!(poll_once(&mut cut_off).is_pending()) });
    second.block_on(async { assert!(poll_once(&mut next).is_pending()) });
    drop(first);
    let Poll::Ready(Err(error)) = poll_once(&mut cut_off) else { panic!("it has ended") };
    assert!(error.to_string().contains("whether it was carried out is unknown"), "{error}");
    assert_eq!(world.lock().unwrap().started, [0, 1]);
    release(&world, 1, End::Done);
    assert_eq!(second.block_on(next).unwrap(), 1);
}

#[test]
fn a_runtime_that_ends_begins_nothing_more_however_many_wait_in_it() {
    const WAITING: usize = 100_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let elsewhere = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let admission = Arc::new(Admission::new(Most { requests: 2, bytes: 0 }));
    let world = Shared::default();
    world.lock().unwrap().passes = WAITING + 1;
    let carry = |n| {
        let (admission, call) = (Arc::clone(&admission), call(&world, n, 0));
        let pass = PassHeld(Arc::clone(&world));
        Box::pin(async move { admission.carry(Scope::Lane(0), 0, call, pass).await })
    };
    // One that is not dropped with its runtime hears of its end.
    let mut left_over = None;
    for n in 0..WAITING {
        let mut request = carry(n);
        runtime.block_on(async { assert!(poll_once(&mut request).is_pending()) });
        if n == WAITING / 2 {
            left_over = Some(request);
        } else {
            drop(runtime.spawn(request));
        }
    }
    let mut other = carry(WAITING);
    elsewhere.block_on(async { assert!(poll_once(&mut other).is_pending()) });
    drop(runtime);
    let started = world.lock().unwrap().started.clone();
    assert!(started.len() <= 4 && started.last() == Some(&WAITING), "{} began", started.len());
    let Poll::Ready(Err(error)) = poll_once(&mut left_over.unwrap()) else { panic!("it failed") };
    assert!(error.to_string().contains("not begun"), "{error}");
    release(&world, WAITING, End::Done);
    assert_eq!(elsewhere.block_on(other).unwrap(), WAITING);
    let Pressure { in_flight, waiting, .. } = admission.pressure();
    assert_eq!((in_flight, waiting), (0, 0));
    let world = world.lock().unwrap();
    assert_eq!((world.alive, world.passes), (0, 0));
}

/// The first is in flight. The others end as soon as they are started: more than are started in one
/// go, then some of `second`, then those behind.
fn crowd(first: &Runtime, second: &Runtime, behind: &Runtime) -> (Shared, Vec<Carried>) {
    let admission = Arc::new(Admission::new(Most { requests: 1, bytes: 0 }));
    let world = Shared::default();
    let mut all = Vec::new();
    for n in 0..100 {
        let (admission, call) = (Arc::clone(&admission), call(&world, n, 0));
        let mut request: Carried =
            Box::pin(async move { admission.carry(Scope::Lane(0), 0, call, ()).await });
        let runtime = match n {
            0..=31 => first,
            32 | 33 => second,
            _ => behind,
        };
        runtime.block_on(async { assert!(poll_once(&mut request).is_pending()) });
        all.push(request);
    }
    (1..100).for_each(|n| release(&world, n, End::Done));
    (world, all)
}

type Carried = Pin<Box<dyn Future<Output = Result<usize>> + Send>>;

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

async fn all_end(all: impl Iterator<Item = Carried>) {
    for request in all {
        let end = tokio::time::timeout(std::time::Duration::from_secs(120), request);
        end.await.expect("it does not hang").unwrap();
    }
}

#[test]
fn those_that_wait_do_not_need_a_runtime_that_nobody_drives() {
    // The next in line, when it is handed over, is one of a runtime that stands still.
    let (driven, still) = (current_thread(), current_thread());
    let (world, all) = crowd(&driven, &still, &driven);
    driven.block_on(async {
        release(&world, 0, End::Done);
        all_end(all.into_iter()).await;
    });
    // He who hands over stands still from then on.
    let (stops, driven) = (current_thread(), current_thread());
    let (_, mut all) = crowd(&stops, &driven, &driven);
    let first = all.remove(0);
    stops.block_on(async { drop(first) });
    driven.block_on(all_end(all.into_iter()));
}
