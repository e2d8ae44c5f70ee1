//! Keeps a number of requests in flight and measures them.
//!
//! Depth D is D loops, each of which makes one request after the other (see
//! [`crew`](crate::crew) for who runs them). A request costs two atomic additions, one clock
//! reading and one entry in a histogram beside itself. Requests of less than a microsecond are
//! sampled instead: one in 64 is timed.

use crate::clock::process_cpu_time;
use crate::counters;
use crate::crew::Crew;
use crate::error::BenchError;
use crate::load::{Load, Worker};
use crate::report::BenchReport;
use crate::workload::{Until, Workload};
use block_backend::BlockBackend;
use block_core::{Error, Histogram};
use futures_util::future::{Either, select};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A loop lets others run after so many requests, should they all complete without waiting.
const YIELD_EVERY: u64 = 256;
/// Each loop times so many requests one by one before it may begin to sample.
const TIME_ALL_UNTIL: u64 = 1024;
/// Where requests take less than this, a clock reading for each would be a large part of it.
const QUICK_NS: u64 = 1000;
/// Then one in this many is timed, and counts for as many in the percentiles.
const SAMPLE: u64 = 64;
/// How often progress is told.
const PROGRESS_EVERY_NS: u64 = 100_000_000;

/// Runs a workload and measures it. `progress` is told now and then, and at the end, how many
/// requests are done.
///
/// # Errors
/// The first request that fails ends the run, with [`BenchError::done`] saying how many succeeded;
/// those in flight are waited for. Before the first request: `InvalidOption` for a workload that
/// makes no sense, `OutOfRange`, `Misaligned`, `NotZoned` (append and report), `ReadOnly`,
/// `Unsupported` (random writes to sequential zones, appends without a sequential zone).
///
/// # Cancellation
/// Dropping the future ends the run; its requests behave as any dropped request.
pub async fn run(
    backend: &BlockBackend,
    workload: &Workload,
    progress: impl Fn(u64),
) -> Result<BenchReport, BenchError> {
    workload.validate()?;
    let load = Load::prepare(backend, workload).await?;
    let before = counters::of(backend.root());
    let (cpu, started) = (process_cpu_time(), Instant::now());
    let run = Arc::new(Run::new(load, workload, started));
    let mut crew = Crew::new(run.load.is_ordered(), workload.depth, || Arc::clone(&run).work());
    loop {
        match select(pin!(crew.next()), pin!(run.progress_due.notified())).await {
            Either::Left((Some(Ok(())), _)) => {}
            Either::Left((Some(Err(error)), _)) => run.fail(error),
            Either::Left((None, _)) => break,
            Either::Right(_) => progress(run.done.load(Ordering::Relaxed)),
        }
    }
    let wall = started.elapsed();
    let cpu = process_cpu_time().saturating_sub(cpu);
    let ops = run.done.load(Ordering::Relaxed);
    progress(ops);
    let failure = run.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failure {
        Some(error) => Err(BenchError { error, done: ops }),
        None => {
            let counters = counters::since(&before, counters::of(backend.root()));
            let report = BenchReport::new(workload, ops, wall, cpu, &run.latency);
            Ok(BenchReport { counters, ..report })
        }
    }
}

/// What the loops share.
struct Run {
    load: Load,
    /// Number of the next request.
    next: AtomicU64,
    /// Requests that this run makes.
    limit: u64,
    started: Instant,
    /// In nanoseconds since the start.
    deadline: u64,
    flush_interval: u64,
    done: AtomicU64,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
    latency: Histogram,
    next_progress: AtomicU64,
    /// Tells that it is time to tell.
    progress_due: Notify,
}

impl Run {
    fn new(load: Load, workload: &Workload, started: Instant) -> Self {
        let (limit, deadline) = match workload.until {
            Until::Count(count) => (count, u64::MAX),
            Until::Time(time) => (u64::MAX, nanos(time)),
        };
        Self {
            load,
            next: AtomicU64::new(0),
            limit,
            started,
            deadline,
            flush_interval: if workload.op.destroys_data() { workload.flush_interval } else { 0 },
            done: AtomicU64::new(0),
            stop: AtomicBool::new(deadline == 0),
            failure: Mutex::new(None),
            latency: Histogram::default(),
            next_progress: AtomicU64::new(PROGRESS_EVERY_NS),
            progress_due: Notify::new(),
        }
    }

    /// One of the loops: a request, then the next one.
    async fn work(self: Arc<Self>) {
        let mut worker = Worker::default();
        let mut sampling = Sampling::new(self.flush_interval == 0);
        let mut last = Instant::now();
        let mut unyielded = 0_u64;
        while let Some(number) = self.claim() {
            let timed = sampling.next();
            if sampling.every > 1 && timed {
                last = Instant::now();
            }
            if let Err(error) = self.load.request(&mut worker, number).await {
                // The last of the untold is this one.
                self.count(sampling.untold.saturating_sub(1));
                return self.fail(error);
            }
            if timed {
                // While all are timed, one clock reading ends this request and begins the next.
                let now = Instant::now();
                let done = self.record(last, now, &mut sampling);
                last = now;
                if self.flush_interval != 0 && done.checked_rem(self.flush_interval) == Some(0) {
                    if let Err(error) = self.load.flush().await {
                        return self.fail(error);
                    }
                    last = Instant::now();
                }
            }
            unyielded = unyielded.wrapping_add(1);
            if unyielded.is_multiple_of(YIELD_EVERY) {
                tokio::task::yield_now().await;
                last = Instant::now();
            }
        }
        self.count(sampling.untold);
    }

    /// The number of the request to make now, unless the run is over.
    fn claim(&self) -> Option<u64> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.limit).then_some(number)
    }

    /// Counts requests that ended well; returns how many there are.
    fn count(&self, requests: u64) -> u64 {
        self.done.fetch_add(requests, Ordering::Relaxed).wrapping_add(requests)
    }

    /// Takes note of a timed request and of those before it; returns how many are done.
    fn record(&self, from: Instant, to: Instant, sampling: &mut Sampling) -> u64 {
        let latency = nanos(to.saturating_duration_since(from));
        self.latency.record_weighted(latency, sampling.untold);
        let done = self.count(sampling.told(latency));
        let at = nanos(to.saturating_duration_since(self.started));
        if at >= self.deadline {
            self.stop.store(true, Ordering::Relaxed);
        }
        if at >= self.next_progress.load(Ordering::Relaxed) {
            self.next_progress.store(at.saturating_add(PROGRESS_EVERY_NS), Ordering::Relaxed);
            self.progress_due.notify_one();
        }
        done
    }

    fn fail(&self, error: Error) {
        self.stop.store(true, Ordering::Relaxed);
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Which requests of one loop are timed: all, unless that would cost more than the requests.
struct Sampling {
    every: u64,
    /// Requests since the last that was told, this one included.
    untold: u64,
    /// Requests that were timed while all were, and what they took in nanoseconds.
    timed: u64,
    took: u64,
    may_skip: bool,
}

impl Sampling {
    fn new(may_skip: bool) -> Self {
        Self { every: 1, untold: 0, timed: 0, took: 0, may_skip }
    }

    /// Whether the next request is timed.
    fn next(&mut self) -> bool {
        self.untold = self.untold.saturating_add(1);
        self.untold >= self.every
    }

    /// How many requests are told with the one that took this long.
    fn told(&mut self, latency: u64) -> u64 {
        if self.every == 1 && self.may_skip {
            self.timed = self.timed.saturating_add(1);
            self.took = self.took.saturating_add(latency);
            let quick = self.took.checked_div(self.timed).is_some_and(|mean| mean < QUICK_NS);
            if self.timed >= TIME_ALL_UNTIL && quick {
                self.every = SAMPLE;
            }
        }
        std::mem::take(&mut self.untold)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
