//! What an export counts.

use crate::request::Kind;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts of an export's requests since it was made, exact and monotonic.
#[derive(Debug, Default)]
pub struct Counters {
    kinds: [KindCounters; Kind::ALL.len()],
    /// Failures are rare enough for a lock.
    failures: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    copied_bytes: AtomicU64,
    copied_requests: AtomicU64,
}

/// Counts of one kind of request.
#[derive(Debug, Default)]
pub struct KindCounters {
    done: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
}

impl KindCounters {
    /// Requests that ended well.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Requests that ended with an error.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Bytes of the requests that ended well.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// The counts of one kind.
    pub fn of(&self, kind: Kind) -> &KindCounters {
        // One entry for each kind, in the order of the enum.
        static NONE: KindCounters = KindCounters {
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        self.kinds.get(kind as usize).unwrap_or(&NONE)
    }

    /// How many requests failed: by kind of request and by the name of the error's kind (see
    /// [`ErrorKind::name`](block_core::ErrorKind::name)).
    pub fn failures(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes that a door copied because the kernel or the alignment of memory demanded it.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes.load(Ordering::Relaxed)
    }

    /// Requests whose data a door copied.
    pub fn copied_requests(&self) -> u64 {
        self.copied_requests.load(Ordering::Relaxed)
    }

    /// A door copied the data of a request.
    pub fn count_copy(&self, bytes: u64) {
        self.copied_requests.fetch_add(1, Ordering::Relaxed);
        self.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_done(&self, kind: Kind, bytes: u64) {
        let counters = self.of(kind);
        counters.done.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn count_failed(&self, kind: Kind, error: &'static str) {
        self.of(kind).failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let number = failures.entry((kind.name(), error)).or_default();
        *number = number.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_apart() {
        let counters = Counters::default();
        for (n, kind) in (1..).zip(Kind::ALL) {
            (0..n).for_each(|_| counters.count_done(kind, 512));
        }
        for (n, kind) in (1..).zip(Kind::ALL) {
            let of = counters.of(kind);
            assert_eq!((of.done(), of.failed(), of.bytes()), (n, 0, n * 512), "{}", kind.name());
        }
        counters.count_failed(Kind::Write, "zone-full");
        counters.count_failed(Kind::Write, "zone-full");
        counters.count_failed(Kind::Open, "too-many-open");
        assert_eq!(counters.of(Kind::Write).failed(), 2);
        let failures: Vec<_> = counters.failures().into_iter().collect();
        assert_eq!(failures, [(("write", "zone-full"), 2), (("zone-open", "too-many-open"), 1)]);
    }
}
