//! Data to write: different for each seed and place, and never zero.

use block_core::{IoBuf, IoVec};

/// `len` bytes of the pattern with this seed. No byte is zero, so that written data and zeroes are
/// told apart byte by byte.
pub(crate) fn pattern(seed: u64, len: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = len.div_ceil(8) as usize;
    let mut bytes = Vec::with_capacity(words * 8);
    for _ in 0..words {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&(state | 0x0101_0101_0101_0101).to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes
}

/// The data in one aligned buffer.
pub(crate) fn whole(data: &[u8]) -> IoVec {
    IoBuf::copy_of(data).into()
}

/// The data in segments of these lengths, used in turn until all is in.
pub(crate) fn in_pieces(data: &[u8], lens: &[usize]) -> IoVec {
    let mut rest = data;
    lens.iter()
        .cycle()
        .map_while(|len| {
            let (piece, after) = rest.split_at((*len).min(rest.len()));
            rest = after;
            (!piece.is_empty()).then(|| IoBuf::copy_of(piece))
        })
        .collect()
}

/// Segment lengths that are neither equal nor aligned to anything.
pub(crate) const ODD: [usize; 7] = [1, 511, 4096, 3, 513, 2049, 7];

/// Where two runs of bytes first differ, in words.
pub(crate) fn difference(found: &[u8], expected: &[u8]) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} bytes instead of {}", found.len(), expected.len()));
    }
    let at = found.iter().zip(expected).position(|(a, b)| a != b)?;
    let wrong = found.iter().zip(expected).filter(|(a, b)| a != b).count();
    Some(format!(
        "{wrong} of {} bytes are wrong, the first at {at:#x}: {:#04x} instead of {:#04x}",
        found.len(),
        found[at],
        expected[at]
    ))
}
