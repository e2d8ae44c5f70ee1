//! What the queues of a device count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of all zones' queues together, since the device was opened.
#[derive(Debug, Default)]
pub struct QueueStats {
    pub(crate) requests: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) singly: AtomicU64,
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

    /// Requests that were tried again by themselves after their write failed.
    pub fn singly(&self) -> u64 {
        self.singly.load(Ordering::Relaxed)
    }
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
