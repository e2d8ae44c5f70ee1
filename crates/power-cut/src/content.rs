//! What a disk holds: sparse, and cheap to clone.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are kept, or absent and zero, together.
const CHUNK: u64 = 4096;
const CHUNK_LEN: usize = 4096;

/// The content of a disk. What was never written is zero and takes no memory; clones share what
/// neither of them has changed since.
#[derive(Clone, Default)]
pub struct Content {
    chunks: BTreeMap<u64, Arc<[u8; CHUNK_LEN]>>,
    length: u64,
}

impl Content {
    /// Zeroes, `length` bytes of them.
    pub const fn new(length: u64) -> Self {
        Self { chunks: BTreeMap::new(), length }
    }

    /// Length in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Changes the length. New space is zero.
    pub fn resize(&mut self, length: u64) {
        if length < self.length {
            self.zero(length, self.length.saturating_sub(length));
        }
        self.length = length;
    }

    /// One byte; 0 behind the end.
    pub fn byte(&self, offset: u64) -> u8 {
        let [byte] = self.array(offset);
        byte
    }

    fn array<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes);
        bytes
    }

    /// Fills `bytes` from `offset` on; with zeroes behind the end.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        let mut rest = bytes;
        for (chunk, within) in pieces(offset, as_u64(rest.len())) {
            let (piece, later) = rest.split_at_mut(within.len().min(rest.len()));
            match self.chunks.get(&chunk).and_then(|c| c.get(within)) {
                Some(data) if data.len() == piece.len() => piece.copy_from_slice(data),
                _ => piece.fill(0),
            }
            rest = later;
        }
    }

    /// Writes `bytes` from `offset` on. What would lie behind the end is left out.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let len = as_u64(bytes.len()).min(self.length.saturating_sub(offset));
        let mut rest = bytes;
        for (chunk, within) in pieces(offset, len) {
            let (piece, later) = rest.split_at(within.len().min(rest.len()));
            let kept = self.chunks.entry(chunk).or_insert_with(zeroes);
            if let Some(place) = Arc::make_mut(kept).get_mut(within) {
                place.copy_from_slice(piece);
            }
            rest = later;
        }
    }

    /// Makes a range zero.
    pub fn zero(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        let first = offset / CHUNK;
        let kept = self.chunks.range(first..end.div_ceil(CHUNK).max(first));
        let touched: Vec<u64> = kept.map(|(chunk, _)| *chunk).collect();
        for chunk in touched {
            let start = chunk.saturating_mul(CHUNK);
            let from = offset.saturating_sub(start).min(CHUNK);
            let to = end.saturating_sub(start).min(CHUNK);
            if from == 0 && to == CHUNK {
                self.chunks.remove(&chunk);
            } else if let Some(kept) = self.chunks.get_mut(&chunk)
                && let Some(place) = Arc::make_mut(kept).get_mut(range(from, to))
            {
                place.fill(0);
            }
        }
    }

    /// Bytes of memory that the content takes.
    pub fn allocated(&self) -> u64 {
        as_u64(self.chunks.len()).saturating_mul(CHUNK)
    }
}

fn zeroes() -> Arc<[u8; CHUNK_LEN]> {
    Arc::new([0; CHUNK_LEN])
}

/// The chunks that a range touches, and the part of each.
fn pieces(offset: u64, len: u64) -> impl Iterator<Item = (u64, Range<usize>)> {
    let end = offset.saturating_add(len);
    (offset / CHUNK..end.div_ceil(CHUNK)).filter_map(move |chunk| {
        let start = chunk.saturating_mul(CHUNK);
        let from = offset.saturating_sub(start).min(CHUNK);
        let to = end.saturating_sub(start).min(CHUNK);
        (from < to).then(|| (chunk, range(from, to)))
    })
}

fn range(from: u64, to: u64) -> Range<usize> {
    let place = |n| usize::try_from(n).unwrap_or(CHUNK_LEN);
    place(from)..place(to)
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("length", &self.length)
            .field("allocated", &self.allocated())
            .finish()
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn it_behaves_as_a_plain_array() {
        const LEN: usize = 20_000;
        let mut rng = Rng::new(3);
        let mut plain = vec![0_u8; LEN];
        let mut content = Content::new(LEN as u64);
        for step in 0..2000 {
            let at = rng.below(LEN as u64) as usize;
            let len = rng.below(9000).min((LEN - at) as u64) as usize;
            if rng.chance(1, 3) {
                plain[at..at + len].fill(0);
                content.zero(at as u64, len as u64);
            } else {
                let data = vec![rng.next() as u8; len];
                plain[at..at + len].copy_from_slice(&data);
                content.write(at as u64, &data);
            }
            if step % 50 == 0 {
                let mut all = vec![0xEE; LEN];
                content.read(0, &mut all);
                assert!(all == plain, "step {step}");
            }
        }
        let mut cut = content.clone();
        cut.resize(10_000);
        cut.resize(LEN as u64);
        let mut all = vec![0xEE; LEN];
        cut.read(0, &mut all);
        assert_eq!(all[..10_000], plain[..10_000]);
        assert!(all[10_000..].iter().all(|b| *b == 0));
        content.read(0, &mut all);
        assert!(all == plain, "a clone changed its original");
    }

    #[test]
    fn a_large_disk_costs_what_it_holds() {
        let mut content = Content::new(1 << 50);
        content.write((1 << 50) - 2, &[1, 2, 3, 4]);
        assert_eq!(content.byte((1 << 50) - 1), 2);
        assert_eq!(content.byte(1 << 50), 0);
        content.zero(0, (1 << 50) - 1);
        assert_eq!(content.allocated(), CHUNK);
        content.zero(0, 1 << 50);
        content.zero(0, u64::MAX);
        assert_eq!(content.byte((1 << 50) - 1), 0);
    }
}
