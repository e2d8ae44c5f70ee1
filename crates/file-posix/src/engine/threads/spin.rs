//! When it pays to look for something again and again for some ten microseconds, instead of
//! sleeping: being woken takes longer than a whole write to the page cache.
//!
//! A worker that ran out of work looks for more before it goes home, for at most 100 µs, and a lone
//! request whose worker is looking looks for its answer before it waits to be woken, for at most
//! 20 µs. Both only where requests are known to be quick and there is a second processor. After a
//! try in vain the next one is left out, after another one the next two, and so on, at most 16.

use std::hint::spin_loop;
use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longer requests are slept for. To sleep and be woken takes about as long: 5 µs where both sides
/// run on one processor, 20 to 100 where a virtual machine must call up another one.
const QUICK: Duration = Duration::from_micros(20);
/// A worker looks this long for more to do: as long as it takes to wake the one who sends more.
const FOR_WORK: Duration = Duration::from_micros(100);
/// One who asked looks this long for the answer.
const FOR_ANSWER: Duration = Duration::from_micros(20);
/// A request that takes longer counts as this long: one that was held up says little of the next.
const SLOW: Duration = Duration::from_micros(40);
/// After a try in vain so many are left out, after the next one in a row twice as many, and so on.
/// What is left out is slept for, which costs more than a few more tries.
const RESTS: u32 = 1;
const MOST_RESTS: u32 = 16;
/// So often one looks before the processor is offered to others.
const LOOKS: u32 = 32;
/// So many requests came alone before one is taken for the only one.
const ALONE: u32 = 8;
/// Of so many that came alone one waits, to see whether others come meanwhile.
const PROBE: u32 = 64;

/// How long requests take, in nanoseconds, as a moving average.
#[derive(Debug)]
pub(super) struct Pace(AtomicU64);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicU64::new(nanos(SLOW)))
    }
}

impl Pace {
    /// Takes note of requests that took this long together.
    pub(super) fn note(&self, took: Duration, requests: usize) {
        let requests = u64::try_from(requests.max(1)).unwrap_or(u64::MAX);
        let each = nanos(took).checked_div(requests).unwrap_or(0).min(nanos(SLOW));
        let old = self.0.load(Ordering::Relaxed);
        let new = old.saturating_sub(old >> 3).saturating_add(each >> 3);
        self.0.store(new, Ordering::Relaxed);
    }

    /// Whether what comes next is expected to be over soon.
    pub(super) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) < nanos(QUICK)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Looks for something, unless that was in vain lately.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// So many tries are left out yet.
    rests: AtomicU32,
    /// How many the last try in vain cost.
    last_rests: AtomicU32,
}

impl Lookout {
    /// Whether to look at all.
    pub(super) fn pays(&self, pace: &Pace) -> bool {
        if !pace.is_quick() {
            return false;
        }
        let rests = self.rests.load(Ordering::Relaxed);
        if rests > 0 {
            self.rests.store(rests.saturating_sub(1), Ordering::Relaxed);
        }
        rests == 0
    }

    /// Looks for work.
    pub(super) fn for_work(&self, found: impl Fn() -> bool) -> bool {
        static SEATS: Seats = Seats(AtomicUsize::new(0));
        SEATS.take().is_some_and(|_seat| self.look(FOR_WORK, found))
    }

    /// Looks for an answer.
    pub(super) fn for_answer(&self, found: impl Fn() -> bool) -> bool {
        static SEATS: Seats = Seats(AtomicUsize::new(0));
        SEATS.take().is_some_and(|_seat| self.look(FOR_ANSWER, found))
    }

    /// The kernel often keeps the two sides of a hand-over on one processor, even if another is
    /// idle: offering it to others lets the other side run, and costs little where nobody wants it.
    fn look(&self, limit: Duration, found: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if found() {
                    self.last_rests.store(0, Ordering::Relaxed);
                    return true;
                }
                spin_loop();
            }
            if start.elapsed() >= limit {
                let last = self.last_rests.load(Ordering::Relaxed);
                let rests = last.saturating_mul(2).clamp(RESTS, MOST_RESTS);
                self.last_rests.store(rests, Ordering::Relaxed);
                self.rests.store(rests, Ordering::Relaxed);
                return false;
            }
            std::thread::yield_now();
        }
    }
}

/// Half of the processors may be kept busy with looking, whatever the number of files.
struct Seats(AtomicUsize);

struct Seat<'a>(&'a Seats);

impl Seats {
    fn take(&self) -> Option<Seat<'_>> {
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(self);
        (taken < processors().div_euclid(2)).then_some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts requests that came while no other was there.
#[derive(Debug, Default)]
pub(super) struct Alone(u32);

impl Alone {
    /// Takes note of a request; whether it is very probably the only one.
    pub(super) fn note(&mut self, others: bool) -> bool {
        self.0 = if others { 0 } else { self.0.wrapping_add(1) };
        self.0 >= ALONE && !self.0.is_multiple_of(PROBE)
    }
}

fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get))
}
