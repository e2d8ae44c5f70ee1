//! A latency histogram that many threads may feed at once.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets per power of two: percentiles are exact to 1/16.
const SUB_BITS: u32 = 4;
const SUB: usize = 1 << SUB_BITS;
/// Values from 2^41 on (36 minutes in nanoseconds) share the last bucket.
const OCTAVES: usize = 38;
const BUCKETS: usize = OCTAVES * SUB;

/// A histogram of `u64` values with a relative error of at most 1/16, for any unit.
///
/// Recording takes two relaxed atomic additions and no lock.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&self, value: u64) {
        self.record_weighted(value, 1);
    }

    /// Counts one value as if it had occurred `weight` times.
    pub fn record_weighted(&self, value: u64, weight: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.fetch_add(weight, Ordering::Relaxed);
        }
        self.sum.fetch_add(value.saturating_mul(weight), Ordering::Relaxed);
        if value > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// How many values were counted, weights included.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).fold(0, u64::saturating_add)
    }

    /// The largest value, exactly.
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// The mean, or 0 if nothing was counted.
    pub fn mean(&self) -> u64 {
        self.sum.load(Ordering::Relaxed).checked_div(self.count()).unwrap_or(0)
    }

    /// The value below which `per_mille` of 1000 values lie (500 = the median), or 0 if nothing
    /// was counted.
    pub fn per_mille(&self, per_mille: u32) -> u64 {
        let total = u128::from(self.count());
        let rank = total.saturating_mul(u128::from(per_mille.min(1000))).div_ceil(1000).max(1);
        let mut seen = 0_u128;
        for (i, bucket) in self.buckets.iter().enumerate() {
            seen = seen.saturating_add(u128::from(bucket.load(Ordering::Relaxed)));
            if seen >= rank {
                return upper_bound(i).min(self.max());
            }
        }
        self.max()
    }
}

fn bucket_of(value: u64) -> usize {
    let value = value.max(1);
    let magnitude = value.ilog2();
    let (octave, sub) = match magnitude.checked_sub(SUB_BITS) {
        // Values below 16 have a bucket each, in the first octave.
        None => (0, value),
        Some(shift) => (shift.saturating_add(1), (value >> shift) & 0xF),
    };
    let index = u64::from(octave).saturating_mul(16).saturating_add(sub);
    usize::try_from(index).map_or(BUCKETS - 1, |i| i.min(BUCKETS - 1))
}

/// The largest value that falls into this bucket.
fn upper_bound(bucket: usize) -> u64 {
    let octave = bucket / SUB;
    let sub = u64::try_from(bucket % SUB).unwrap_or(0);
    match octave.checked_sub(1).and_then(|shift| u32::try_from(shift).ok()) {
        None => sub,
        Some(shift) => {
            (sub.saturating_add(17)).checked_shl(shift).map_or(u64::MAX, |v| v.saturating_sub(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket(value in 1_u64..1 << 40) {
            let top = upper_bound(bucket_of(value));
            prop_assert!(top >= value && top - value <= value / 16, "{value} {top}");
        }

        #[test]
        fn percentiles_are_within_a_sixteenth_of_the_exact_ones(mut values in prop::collection::vec(1_u64..10_000_000, 1..300)) {
            let h = Histogram::default();
            values.iter().for_each(|&v| h.record(v));
            values.sort_unstable();
            for p in [1_u32, 500, 990, 999, 1000] {
                let rank = (values.len() * p as usize).div_ceil(1000).max(1);
                let exact = values[rank - 1];
                let got = h.per_mille(p);
                prop_assert!(got >= exact && got - exact <= exact / 16, "{p}: {got} for {exact}");
            }
            prop_assert_eq!(h.max(), *values.last().unwrap());
        }
    }

    #[test]
    fn an_empty_histogram_is_all_zero() {
        let h = Histogram::default();
        assert_eq!((h.count(), h.mean(), h.max(), h.per_mille(999)), (0, 0, 0, 0));
        h.record(u64::MAX);
        assert_eq!((h.count(), h.max()), (1, u64::MAX));
    }
}
