//! What the driver is told of a request: its status, and how much of its memory was written.
//!
//! The length in the used ring counts the bytes that were written from the start of the writable part
//! on, without a gap, and a driver believes nothing behind them (virtio 1.3, 2.7.8.2). The status is
//! the last byte. So that a driver may believe it, all that is before it is written too: what a
//! request does not fill is zeroes, and the length is that of the whole. A request that fails leaves
//! nothing of what it has read so far, either.

use crate::chain::{Broken, Segments};
use vm_memory::{GuestAddress, GuestMemory, Permissions};

/// What goes into the used ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The chain that is given back.
    pub head: u16,
    /// How many bytes of its writable part were written from the start on: all of it with the
    /// status, or fewer if more than [`MOST`](Answer::MOST) were left to fill.
    pub written: u32,
    /// The status that the driver was told.
    pub status: u8,
}

/// Zeroes that are written at a time.
const ZEROES: [u8; 4096] = [0; 4096];

impl Answer {
    /// The most bytes that are filled with zeroes. Where a request leaves more, such as a failed
    /// read of more, they stay as they are, and the length does not count them: a driver must not
    /// get more work done by requests that fail than by such that do not.
    pub const MOST: u64 = 1 << 20;

    /// Fills what was not written of `data`, and writes the status behind it.
    pub(super) fn tell<M: GuestMemory>(
        memory: &M,
        head: u16,
        data: &Segments,
        written: u64,
        place: &Segments,
        status: u8,
    ) -> Result<Self, Broken> {
        let filled = fill(memory, data, written);
        place.write(memory, &[status]).ok_or(Broken::NoStatus { head })?;
        let status_counts = u64::from(filled == data.len());
        let written = u32::try_from(filled.saturating_add(status_counts)).unwrap_or(u32::MAX);
        Ok(Self { head, written, status })
    }
}

/// Writes zeroes behind the first `written` bytes; returns how many bytes are written now.
fn fill<M: GuestMemory>(memory: &M, data: &Segments, mut written: u64) -> u64 {
    let left = data.len().saturating_sub(written);
    if left == 0 || left > Answer::MOST {
        return written;
    }
    let mut rest = data.clone();
    // It is written already.
    let _ = rest.split_to(written);
    while !rest.is_empty() {
        let piece = rest.split_to(u64::try_from(ZEROES.len()).unwrap_or(u64::MAX));
        let zeroes = usize::try_from(piece.len()).ok().and_then(|len| ZEROES.get(..len));
        // What does not exist ends it.
        if zeroes.and_then(|zeroes| piece.write(memory, zeroes)).is_none() {
            break;
        }
        written = written.saturating_add(piece.len());
    }
    written
}

/// Whether all of it can be written.
pub(super) fn exists<M: GuestMemory>(memory: &M, place: &Segments) -> bool {
    place.iter().all(|segment| {
        let len = usize::try_from(segment.len).unwrap_or(usize::MAX);
        memory.check_range(GuestAddress(segment.addr), len, Permissions::Write)
    })
}
