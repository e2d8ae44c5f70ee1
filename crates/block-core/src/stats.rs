//! Counters and latency histograms of a node.

use crate::histogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// The kinds of request that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum OpKind {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Zone appends.
    Append,
    /// Flushes.
    Flush,
    /// Discards.
    Discard,
    /// Write-zeroes.
    WriteZeroes,
    /// Zone reports.
    Report,
    /// Zone management.
    Manage,
}

impl OpKind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 8] = [
        Self::Read,
        Self::Write,
        Self::Append,
        Self::Flush,
        Self::Discard,
        Self::WriteZeroes,
        Self::Report,
        Self::Manage,
    ];

    /// The kind's name in error messages, spans and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Append => "append",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::WriteZeroes => "write-zeroes",
            Self::Report => "zone report",
            Self::Manage => "zone management",
        }
    }
}

/// How many requests of a kind are timed one by one before sampling starts.
const TIME_ALL_UNTIL: u64 = 1024;
/// Requests that take less than this, in nanoseconds, are sampled from then on.
const QUICK_NS: u64 = 10_000;
/// One quick request in this many is timed, and counts for as many in the histogram.
const SAMPLE: u64 = 64;

/// What a node counts about one kind of request. Counting is exact; latency is measured of the
/// first 1024 requests and then, while they take less than 10 µs, of every 64th, because reading a
/// clock twice costs more than a filter does.
#[derive(Debug, Default)]
pub struct OpStats {
    done: AtomicU64,
    failed: AtomicU64,
    abandoned: AtomicU64,
    /// About how many began.
    ticks: AtomicU64,
    bytes: AtomicU64,
    /// Whether the last that was timed was quick.
    quick: AtomicBool,
    latency_ns: Histogram,
}

impl OpStats {
    /// Requests that ended well.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Requests that ended with an error.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Requests whose futures were dropped before they ended.
    pub fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Bytes of the requests that ended well.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Latencies in nanoseconds of the requests that ended well.
    pub fn latency_ns(&self) -> &Histogram {
        &self.latency_ns
    }

    #[inline]
    pub(crate) fn start(&self) -> Timer {
        // Threads may take the same numbers, which only times some requests too many.
        let n = self.ticks.load(Ordering::Relaxed);
        self.ticks.store(n.wrapping_add(1), Ordering::Relaxed);
        let weight = match n {
            0..TIME_ALL_UNTIL => 1,
            _ if !self.quick.load(Ordering::Relaxed) => 1,
            _ if n.is_multiple_of(SAMPLE) => SAMPLE,
            _ => return Timer::NONE,
        };
        Timer(Some((Instant::now(), weight)))
    }

    #[inline]
    pub(crate) fn finish(&self, timer: Timer, bytes: u64) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if bytes > 0 {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if let Some((start, weight)) = timer.0 {
            let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.latency_ns.record_weighted(ns, weight);
            self.quick.store(ns < QUICK_NS, Ordering::Relaxed);
        }
    }

    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn abandon(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }
}

/// When a request began, if it is timed, and for how many it stands.
pub(crate) struct Timer(Option<(Instant, u64)>);

impl Timer {
    pub(crate) const NONE: Self = Self(None);
}

/// Something that a driver counts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// What is counted, in lower case with underscores, for example `queue_batches`.
    pub name: &'static str,
    /// How many, or how many bytes if the name says so, since the node was opened.
    pub value: u64,
}

/// Everything that a node counts.
#[derive(Debug, Default)]
pub struct NodeStats {
    ops: [OpStats; OpKind::ALL.len()],
}

impl NodeStats {
    /// The counters of one kind of request.
    #[allow(clippy::indexing_slicing)] // The array has a place for every variant.
    pub fn of(&self, kind: OpKind) -> &OpStats {
        &self.ops[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A start from which no time has passed yet, whatever this thread is kept from.
    fn ahead() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn every_request_is_counted_and_sampled_ones_weigh_more() {
        let stats = OpStats::default();
        for _ in 0..TIME_ALL_UNTIL + 10 * SAMPLE {
            let mut timer = stats.start();
            // Quick, however long this thread is kept waiting.
            timer.0 = timer.0.map(|(_, weight)| (ahead(), weight));
            stats.finish(timer, 10);
        }
        assert_eq!(stats.done(), TIME_ALL_UNTIL + 10 * SAMPLE);
        assert_eq!(stats.bytes(), stats.done() * 10);
        assert_eq!(stats.latency_ns().count(), stats.done());
    }

    #[test]
    fn slow_requests_are_timed_one_by_one() {
        let stats = OpStats::default();
        let slow = Duration::from_nanos(QUICK_NS);
        for _ in 0..TIME_ALL_UNTIL {
            stats.finish(Timer(Some((Instant::now() - slow, 1))), 0);
            stats.start();
        }
        for _ in 0..10 * SAMPLE {
            assert!(matches!(stats.start(), Timer(Some((_, 1)))));
        }
        stats.finish(Timer(Some((ahead(), 1))), 0);
        let timed = (0..10 * SAMPLE).filter(|_| stats.start().0.is_some()).count();
        assert_eq!(timed, 10);
    }

    #[test]
    fn requests_are_counted_by_how_they_ended() {
        let stats = OpStats::default();
        let first = stats.start();
        stats.finish(first, 0);
        stats.fail();
        stats.abandon();
        assert_eq!((stats.done(), stats.failed(), stats.abandoned()), (1, 1, 1));
    }
}
