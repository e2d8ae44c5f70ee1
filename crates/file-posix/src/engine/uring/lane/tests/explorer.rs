//! Random schedules, replayed with `LANE_SEED`: calls that complete in any order and to any result,
//! a kernel that puts submissions off, takes some, or takes none any more, requests that are dropped
//! in every state, another runtime that helps, and the runtime's end.
//!
//! Whatever happens: memory and file of a call stay until it has completed, a request hears what the
//! kernel said of it and is woken for it, one that was not submitted never is, calls go out in order,
//! and in the end everything is given back.

use super::*;
use nix::libc::{EAGAIN, EBUSY, ECANCELED, EINTR, EINVAL, EIO};
use std::collections::HashMap;

const SEEDS: u64 = 1000;
const STEPS: u64 = 120;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }
}

/// Far enough apart for any request.
const APART: u64 = 1000;

struct Explorer<'a> {
    rng: Rng,
    bench: Bench,
    helper: &'a Runtime,
    /// By number; a request's offset is its number times `APART`.
    requests: Vec<Request>,
    /// What the kernel said of each.
    said: HashMap<u64, i32>,
    /// Those that were dropped before they were submitted.
    withdrawn: Vec<u64>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    ended: u64,
    refused: u64,
    cancelled: u64,
    dropped: u64,
    orphaned: u64,
}

impl Explorer<'_> {
    fn step(&mut self) {
        match self.rng.below(16) {
            0..5 => self.begin(),
            5..7 => self.poll_woken(),
            7 => self.poll_any(),
            8 => self.drop_one(),
            9..12 => self.complete_one(),
            12..14 => self.drive(),
            14 => self.submissions(),
            _ => self.help(),
        }
        self.check();
    }

    /// Lets the driver run for as long as it has something to do.
    fn drive(&mut self) {
        (0..2).for_each(|_| self.bench.drive());
        let idle = self.bench.runtime.is_none() || !self.bench.script.is_willing();
        assert!(idle || !self.bench.lane.state().can_submit(), "what can be submitted is");
    }

    fn begin(&mut self) {
        let lens = (0..=self.rng.below(3)).map(|_| 1 + self.rng.index(40)).collect();
        let what = What {
            writes: self.rng.chance(2),
            offset: self.requests.len() as u64 * APART,
            lens,
            last: !self.rng.chance(4),
        };
        self.counts.requests += 1;
        let request = self.bench.request(what);
        self.requests.push(request);
        self.poll(self.requests.len() - 1);
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.requests.len()).filter(|&n| self.requests[n].future.is_some()).collect()
    }

    fn poll_woken(&mut self) {
        for n in self.alive() {
            if self.requests[n].is_woken() {
                self.poll(n);
            }
        }
    }

    fn poll_any(&mut self) {
        let alive = self.alive();
        if !alive.is_empty() {
            let n = alive[self.rng.index(alive.len())];
            self.poll(n);
        }
    }

    fn poll(&mut self, n: usize) {
        let Some(answer) = self.requests[n].poll() else { return };
        let request = &self.requests[n];
        let what = &request.what;
        match answer {
            Answer::Refused(..) => {
                assert!(self.bench.lane.is_retired());
                assert!(!self.bench.script.history().contains(&what.offset));
                self.counts.refused += 1;
            }
            Answer::Ended((memory, result), held) => {
                let result =
                    result.map(|n| n as i32).unwrap_or_else(|e| -e.raw_os_error().unwrap());
                let said = self.said.get(&what.offset).copied();
                if said.is_none() {
                    assert!(self.bench.lane.is_retired(), "only a lane that has ended cancels");
                    assert!(!self.bench.script.history().contains(&what.offset));
                    self.counts.cancelled += 1;
                }
                assert_eq!(result, said.unwrap_or(-ECANCELED), "{what:?}");
                let whole = result == what.len() as i32;
                let failed = result < 0 && ![EAGAIN, EINTR, ECANCELED].contains(&-result);
                assert_eq!(held.is_none(), failed || what.last && whole, "{what:?}: {result}");
                if !what.writes {
                    request.check_filled(result.max(0) as usize);
                }
                assert!(request.lent.iter().all(Lent::is_held), "the memory comes back whole");
                drop(memory);
                assert!(!request.is_held(), "and nobody else has it");
                self.counts.ended += 1;
            }
        }
    }

    fn drop_one(&mut self) {
        let alive = self.alive();
        if alive.is_empty() {
            return;
        }
        let request = &mut self.requests[alive[self.rng.index(alive.len())]];
        let offset = request.what.offset;
        let script = &self.bench.script;
        let submitted = script.submitted().contains(&offset) || script.history().contains(&offset);
        request.future = None;
        if !submitted {
            assert!(!request.is_held(), "what was not submitted is given back at once");
            self.withdrawn.push(offset);
        }
        self.counts.dropped += 1;
    }

    fn complete_one(&mut self) {
        let taken = self.bench.script.taken();
        if taken.is_empty() {
            return;
        }
        let call = taken[self.rng.index(taken.len())];
        let len = call.len() as i32;
        let result = match self.rng.below(12) {
            0 => -EAGAIN,
            1 => -EINTR,
            2 => -ECANCELED,
            3 => -EIO,
            4 => 0,
            5..7 => self.rng.below(len as u64) as i32,
            _ => len,
        };
        self.said.insert(call.offset(), result);
        self.bench.script.complete(call, result);
    }

    /// The kernel is short of something, or the submission queue is.
    fn submissions(&mut self) {
        let script = &self.bench.script;
        match self.rng.below(40) {
            0 => script.answer(Err(EINVAL)),
            1..10 => script.answer(Err(EAGAIN)),
            10..15 => script.answer(Err(EBUSY)),
            15..20 => script.answer(Err(EINTR)),
            20..30 => script.answer(Ok(self.rng.index(3))),
            _ => script.set_room(self.rng.index(4)),
        }
    }

    /// Another runtime waits for requests of this one for a while.
    fn help(&mut self) {
        let mut rounds = 1 + self.rng.below(4);
        let (lane, handle) = (Arc::clone(&self.bench.lane), self.helper.handle().clone());
        self.helper.block_on(async {
            let mut help = std::pin::pin!(lane.help(&handle));
            std::future::poll_fn(|cx| {
                assert!(help.as_mut().poll(cx).is_pending());
                rounds -= 1;
                cx.waker().wake_by_ref();
                if rounds == 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
    }

    fn check(&self) {
        let script = &self.bench.script;
        for call in script.taken() {
            let request = &self.requests[(call.offset() / APART) as usize];
            assert!(
                request.lent.iter().all(Lent::is_held),
                "the kernel has it: {:?}",
                request.what
            );
        }
        let history = script.history();
        assert!(history.is_sorted_by(|a, b| a < b), "in order, and each once: {history:?}");
        assert!(self.withdrawn.iter().all(|offset| !history.contains(offset)));
    }

    /// The runtime is dropped while the kernel may have requests.
    fn end_runtime(&mut self) {
        let no_threads = self.rng.chance(3);
        if no_threads {
            // Then its end waits for the kernel, which must go on by itself.
            self.oblige();
        }
        NO_THREADS.set(no_threads);
        self.bench.runtime = None;
        NO_THREADS.set(false);
        self.counts.orphaned += 1;
        assert!(self.bench.lane.is_retired());
    }

    /// The kernel completes all it has, and all it will get.
    fn oblige(&mut self) {
        for call in self.bench.script.taken() {
            self.said.insert(call.offset(), call.len() as i32);
        }
        self.bench.script.oblige();
    }

    fn finish(mut self) -> Counts {
        self.oblige();
        let end = Instant::now() + PATIENCE;
        while !self.alive().is_empty() {
            assert!(Instant::now() < end, "nobody wakes {:?}", self.bench.lane);
            self.bench.drive();
            for offset in self.bench.script.history() {
                let len = self.requests[(offset / APART) as usize].what.len() as i32;
                self.said.entry(offset).or_insert(len);
            }
            self.poll_woken();
        }
        // Those that were dropped end as well.
        self.bench.until(|| self.requests.iter().all(|request| !request.is_held()));
        self.bench.until(|| self.bench.in_flight.count() == 0);
        self.check();
        let written = self.requests.iter().filter(|request| request.what.writes);
        let ends = written.filter_map(|request| {
            let n = self.said.get(&request.what.offset).copied().or_else(|| {
                let offset = request.what.offset;
                self.bench.script.history().contains(&offset).then(|| request.what.len() as i32)
            });
            n.filter(|n| *n > 0).map(|n| request.what.offset + n as u64)
        });
        assert_eq!(self.bench.file.size().load(Ordering::SeqCst), ends.max().unwrap_or(0));
        self.bench.lane.close();
        // The driver, or the thread in its place, lets go of the lane.
        self.bench.until(|| Arc::strong_count(&self.bench.lane) == 1);
        self.bench.check_all_given_back();
        self.counts
    }
}

fn explore(seed: u64, helper: &Runtime) -> Counts {
    let mut explorer = Explorer {
        rng: Rng(seed),
        bench: Bench::new(),
        helper,
        requests: Vec::new(),
        said: HashMap::new(),
        withdrawn: Vec::new(),
        counts: Counts::default(),
    };
    // In half of the schedules.
    let end = explorer.rng.below(2 * STEPS);
    for step in 0..STEPS {
        if step == end {
            explorer.end_runtime();
        }
        explorer.step();
    }
    explorer.finish()
}

#[test]
fn any_schedule_gives_everything_back_and_strands_nobody() {
    let helper = runtime();
    if let Some(seed) = std::env::var("LANE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{:?}", explore(seed, &helper));
        return;
    }
    let mut all = Counts::default();
    for seed in 0..SEEDS {
        let run = std::panic::AssertUnwindSafe(|| explore(seed, &helper));
        let counts = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            eprintln!("replay with LANE_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        all.requests += counts.requests;
        all.ended += counts.ended;
        all.refused += counts.refused;
        all.cancelled += counts.cancelled;
        all.dropped += counts.dropped;
        all.orphaned += counts.orphaned;
    }
    println!("{SEEDS} schedules of {STEPS} steps: {all:?}");
    assert_eq!(all.requests, all.ended + all.refused + all.dropped);
    for (what, n) in [
        ("ended", all.ended),
        ("refused", all.refused),
        ("cancelled", all.cancelled),
        ("dropped", all.dropped),
        ("orphaned", all.orphaned),
    ] {
        assert!(n > 100, "{n} {what}: the schedules explore too little");
    }
}
