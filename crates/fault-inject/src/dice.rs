//! Chance that can be replayed.

/// Numbers that follow from a seed (SplitMix64). Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The dice of one request: the `turn`-th that matched the rule of this name and seed.
    pub(crate) fn of(seed: u64, name: &str, turn: u64) -> Self {
        // FNV-1a, so that rules with the same seed do not all fire at once.
        let name = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3)
        });
        let mut seeded = Self(seed ^ name);
        let start = seeded.roll();
        Self(start ^ turn.wrapping_mul(0xD605_1A2B_94D1_36A5))
    }

    /// Any 64 bits.
    pub(crate) const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub(crate) const fn below(&mut self, n: u64) -> u64 {
        match self.roll().checked_rem(n) {
            Some(number) => number,
            None => 0,
        }
    }

    /// Whether something of this probability, 0 to 1, happens.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        // The upper 32 bits are as fine as anybody needs, and exact in an f64.
        let [high, ..] = split(self.roll());
        f64::from(high) < probability * (f64::from(u32::MAX) + 1.0)
    }
}

fn split(n: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = n.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(seed: u64, name: &str, probability: f64) -> Vec<bool> {
        (0..10_000).map(|turn| Dice::of(seed, name, turn).happens(probability)).collect()
    }

    #[test]
    fn chance_repeats_and_differs_by_seed_and_name() {
        assert_eq!(hits(1, "a", 0.5), hits(1, "a", 0.5));
        assert_ne!(hits(1, "a", 0.5), hits(2, "a", 0.5));
        assert_ne!(hits(1, "a", 0.5), hits(1, "b", 0.5));
    }

    #[test]
    fn a_probability_is_kept() {
        for (probability, least, most) in [(0.0, 0, 0), (0.01, 60, 140), (0.5, 4_800, 5_200)] {
            let count = hits(7, "rule", probability).into_iter().filter(|hit| *hit).count();
            assert!((least..=most).contains(&count), "{probability}: {count}");
        }
        assert!(hits(7, "rule", 1.0).into_iter().all(|hit| hit));
    }
}
