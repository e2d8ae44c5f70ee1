//! Bytes that say where they belong.

/// `len` bytes of the endless stream `seed`, from `offset` on; both are multiples of 8.
pub fn bytes(seed: u64, offset: u64, len: usize) -> Vec<u8> {
    assert!(offset.is_multiple_of(8) && len.is_multiple_of(8));
    let mut all = Vec::with_capacity(len);
    for word in offset / 8..offset / 8 + len as u64 / 8 {
        all.extend_from_slice(&mix(seed, word).to_le_bytes());
    }
    all
}

/// Fails with the first byte that is not the stream's.
pub fn check(what: &str, seed: u64, offset: u64, found: &[u8]) {
    let expected = bytes(seed, offset, found.len());
    if let Some(at) = expected.iter().zip(found).position(|(e, f)| e != f) {
        let (e, f) = (expected[at], found[at]);
        let at = offset + at as u64;
        panic!("{what}: byte {at:#x} is {f:#04x} and was written as {e:#04x}");
    }
}

/// A few random numbers, the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0, limit) % limit
    }
}

/// splitmix64's finalizer over both numbers.
fn mix(seed: u64, word: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word.wrapping_mul(0xd1b5_4a32_d192_ed03);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
