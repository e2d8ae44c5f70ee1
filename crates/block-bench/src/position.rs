//! Where the requests of a load without zones go.

use crate::workload::invalid;
use block_core::{ErrorKind, Result};

/// The positions of a region, each holding one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Positions {
    start: u64,
    size: u64,
    slots: u64,
    /// `None` for one after the other.
    seed: Option<u64>,
}

impl Positions {
    /// Positions from `start` up to `end`, each of `size` bytes, random if there is a seed.
    pub(crate) fn new(start: u64, end: u64, size: u64, seed: Option<u64>) -> Result<Self> {
        let Some(room) = end.checked_sub(start) else {
            return Err(ErrorKind::OutOfRange { length: end }.into());
        };
        match room.checked_div(size) {
            Some(slots) if slots > 0 => Ok(Self { start, size, slots, seed }),
            _ => {
                invalid(format!("no request of {size} bytes fits between {start:#x} and {end:#x}"))
            }
        }
    }

    /// The position of the request with this number.
    pub(crate) fn of(&self, request: u64) -> u64 {
        let slot = match self.seed {
            None => request.checked_rem(self.slots).unwrap_or(0),
            Some(seed) => scale(mix(seed, request), self.slots),
        };
        self.start.saturating_add(slot.saturating_mul(self.size))
    }
}

/// A number that depends on both in no visible way (the finalizer of SplitMix64).
fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Maps a number of the full range to one below `below`, without a division.
fn scale(n: u64, below: u64) -> u64 {
    let wide = u128::from(n).wrapping_mul(u128::from(below)) >> 64;
    u64::try_from(wide).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequential_positions_wrap_at_the_end() {
        let p = Positions::new(512, 512 * 4 + 100, 512, None).unwrap();
        let got: Vec<u64> = (0..5).map(|n| p.of(n)).collect();
        assert_eq!(got, [512, 1024, 1536, 512, 1024]);
    }

    #[test]
    fn random_positions_are_aligned_cover_the_region_and_repeat_with_the_seed() {
        let p = Positions::new(4096, 4096 + 10 * 512 + 511, 512, Some(7)).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..1000 {
            assert_eq!(p.of(n), p.of(n));
            assert_eq!(p.of(n) % 512, 0);
            seen.insert(p.of(n));
        }
        assert_eq!(seen.len(), 10);
        assert_eq!((seen.first(), seen.last()), (Some(&4096), Some(&(4096 + 9 * 512))));
        let other = Positions::new(0, u64::MAX, 4096, Some(8)).unwrap();
        assert!((0..1000).all(|n| other.of(n) <= u64::MAX - 4096));
    }

    #[test]
    fn a_region_without_room_is_refused() {
        for (start, end, size) in [(0, 511, 512), (600, 512, 1), (0, 0, 1), (0, 1, 0)] {
            assert!(Positions::new(start, end, size, None).is_err(), "{start} {end} {size}");
        }
    }
}
