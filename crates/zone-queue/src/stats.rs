//! What the queues of a device count.

use block_core::Counter;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of all zones' queues together, since the device was opened.
#[derive(Debug, Default)]
pub struct QueueStats {
    pub(crate) requests: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) singly: AtomicU64,
    pub(crate) longest: AtomicU64,
}

impl QueueStats {
    /// Writes and appends that were carried out or refused when their turn came.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Writes issued below; requests ÷ batches is the average number of requests merged.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Bytes that landed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Requests that lined up behind a full queue ([`QueueLimits::congested_above`]): where this
    /// grows, callers ask for more than the device takes.
    ///
    /// [`QueueLimits::congested_above`]: crate::QueueLimits::congested_above
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// Most bytes that waited in one zone's queue at the same time; a request counts as 4 KiB at
    /// least.
    pub fn longest(&self) -> u64 {
        self.longest.load(Ordering::Relaxed)
    }

    /// All of them, for [`BlockDriver::counters`](block_core::BlockDriver::counters).
    pub fn counters(&self) -> Vec<Counter> {
        let all = [
            ("queue_requests", self.requests()),
            ("queue_batches", self.batches()),
            ("queue_bytes", self.bytes()),
            ("queue_waits", self.waits()),
            ("queue_singly", self.singly()),
            ("queue_longest_bytes", self.longest()),
        ];
        all.into_iter().map(|(name, value)| Counter { name, value }).collect()
    }

    /// Takes note of a request, and of the size of the queue that it made longer.
    pub(crate) fn lined_up(&self, congested: bool, size: u64) {
        // On every request's way: nothing is written where nothing changes.
        if congested {
            add(&self.waits, 1);
        }
        if size > self.longest() {
            self.longest.fetch_max(size, Ordering::Relaxed);
        }
    }

    /// Requests that were tried again by themselves after their write failed.
    pub fn singly(&self) -> u64 {
        self.singly.load(Ordering::Relaxed)
    }
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
