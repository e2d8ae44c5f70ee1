//! When it pays to look for something again and again for a few microseconds, instead of sleeping:
//! being woken takes longer than a whole write to the page cache.
//!
//! A worker that ran out of work looks for more before it goes home, and a lone request whose worker
//! is looking looks for its answer before it waits to be woken. Both only where requests are known
//! to be quick and there is a second processor, never for longer than a short read is copied in, and
//! not for a while after it was in vain.

use std::hint::spin_loop;
use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longer requests are slept for.
const QUICK: Duration = Duration::from_micros(6);
/// A worker looks this long for more to do: as long as it takes to wake the one who sends more.
const FOR_WORK: Duration = Duration::from_micros(20);
/// One who asked looks this long for the answer.
const FOR_ANSWER: Duration = Duration::from_micros(8);
/// After one try in vain so many are left out.
const RESTS: i32 = 32;
/// So many requests came alone before one is taken for the only one.
const ALONE: u32 = 8;
/// Of so many that came alone one waits, to see whether others come meanwhile.
const PROBE: u32 = 64;

/// How long requests take, in nanoseconds, as a moving average.
#[derive(Debug)]
pub(super) struct Pace(AtomicU32);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicU32::new(u32::MAX >> 4))
    }
}

impl Pace {
    /// Takes note of requests that took this long together.
    pub(super) fn note(&self, took: Duration, requests: usize) {
        let each = took.as_nanos().checked_div(requests.max(1) as u128).unwrap_or(0);
        let each = u32::try_from(each).unwrap_or(u32::MAX) >> 4;
        let old = self.0.load(Ordering::Relaxed);
        // A quarter of each new value; kept small enough for the sum.
        let new = old.saturating_sub(old >> 2).saturating_add(each >> 2);
        self.0.store(new, Ordering::Relaxed);
    }

    fn is_quick(&self) -> bool {
        let each = Duration::from_nanos(u64::from(self.0.load(Ordering::Relaxed)) << 4);
        each < QUICK && has_processors()
    }
}

/// Looks for something, unless that was in vain lately.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// Below zero: so many tries are left out.
    credit: AtomicI32,
}

impl Lookout {
    /// Whether to look at all.
    pub(super) fn pays(&self, pace: &Pace) -> bool {
        if !pace.is_quick() {
            return false;
        }
        let credit = self.credit.load(Ordering::Relaxed);
        if credit < 0 {
            self.credit.store(credit.saturating_add(1), Ordering::Relaxed);
        }
        credit >= 0
    }

    /// Looks for work.
    pub(super) fn for_work(&self, found: impl Fn() -> bool) -> bool {
        self.look(FOR_WORK, found)
    }

    /// Looks for an answer.
    pub(super) fn for_answer(&self, found: impl Fn() -> bool) -> bool {
        self.look(FOR_ANSWER, found)
    }

    fn look(&self, limit: Duration, found: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..16 {
                if found() {
                    return true;
                }
                spin_loop();
            }
            if start.elapsed() >= limit {
                self.credit.store(RESTS.saturating_neg(), Ordering::Relaxed);
                return false;
            }
        }
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

/// Whether one can look while another works.
fn has_processors() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| {
        std::thread::available_parallelism().is_ok_and(|n| n > NonZero::<usize>::MIN)
    })
}
