//! Lists of buffers as the kernel takes them.

use block_core::{IoVec, IoVecMut};
use nix::libc::iovec;
use smallvec::SmallVec;

/// The kernel takes at most this many segments in one call (`UIO_MAXIOV`).
const MAX_SEGMENTS: usize = 1024;
/// At most this many bytes are asked for in one call. The kernel's own limit, 0x7ffff000, is no
/// multiple of every alignment; this is.
const MAX_BYTES: usize = 1 << 30;

pub(super) type Iovecs = SmallVec<[iovec; 16]>;

/// A position in a list of buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    segment: usize,
    within: usize,
    /// Bytes before the position.
    done: usize,
}

impl Cursor {
    /// Bytes between the start of the list and the position.
    pub(crate) fn done(self) -> usize {
        self.done
    }

    /// Moves on by `n` bytes in a list whose segments have these lengths.
    pub(crate) fn advance(&mut self, n: usize, lens: impl Fn(usize) -> Option<usize>) {
        self.done = self.done.saturating_add(n);
        self.within = self.within.saturating_add(n);
        while let Some(len) = lens(self.segment).filter(|len| self.within >= *len) {
            self.within = self.within.saturating_sub(len);
            self.segment = self.segment.saturating_add(1);
        }
    }
}

/// The memory from `at` on, as much as one call takes, for a call that reads it.
pub(super) fn to_write(list: &IoVec, at: Cursor) -> Iovecs {
    let segments = list.segments().get(at.segment..).unwrap_or_default();
    collect(at, segments.iter().map(|s| (s.as_ptr().cast_mut(), s.len())))
}

/// The memory from `at` on, as much as one call takes, for a call that fills it.
pub(super) fn to_fill(list: &mut IoVecMut, at: Cursor) -> Iovecs {
    let segments = list.segments_mut().get_mut(at.segment..).unwrap_or_default();
    collect(at, segments.iter_mut().map(|s| (s.as_mut_ptr(), s.len())))
}

fn collect(at: Cursor, segments: impl Iterator<Item = (*mut u8, usize)>) -> Iovecs {
    let mut out = Iovecs::new();
    let mut room = MAX_BYTES;
    let mut skip = at.within;
    for (base, len) in segments.take(MAX_SEGMENTS) {
        let len = len.saturating_sub(skip).min(room);
        if len == 0 {
            break;
        }
        out.push(iovec { iov_base: base.wrapping_add(skip).cast(), iov_len: len });
        room = room.saturating_sub(len);
        skip = 0;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_core::IoBuf;
    use proptest::prelude::*;

    fn lens(list: &IoVec) -> impl Fn(usize) -> Option<usize> {
        |i| list.segments().get(i).map(IoBuf::len)
    }

    proptest! {
        #[test]
        fn every_byte_is_met_once_and_in_order(
            sizes in prop::collection::vec(1_usize..9, 0..6),
            steps in prop::collection::vec(1_usize..9, 0..60),
        ) {
            let list: IoVec = sizes.iter().map(|n| IoBuf::zeroed(*n)).collect();
            let addresses: Vec<usize> = list
                .segments()
                .iter()
                .flat_map(|s| (0..s.len()).map(|i| s.as_ptr().addr() + i))
                .collect();
            let mut at = Cursor::default();
            for step in steps {
                let found: Vec<usize> = to_write(&list, at)
                    .iter()
                    .flat_map(|v| (0..v.iov_len).map(|i| v.iov_base.addr() + i))
                    .collect();
                prop_assert_eq!(&found, &addresses[at.done()..]);
                at.advance(step.min(found.len()), lens(&list));
            }
        }
    }

    #[test]
    fn one_call_is_bounded() {
        let one = IoBuf::zeroed(1 << 20);
        let list: IoVec = (0..3000).map(|_| one.clone()).collect();
        let call = to_write(&list, Cursor::default());
        let bytes: usize = call.iter().map(|v| v.iov_len).sum();
        assert_eq!((call.len(), bytes), (1024, 1 << 30));

        let small = IoBuf::zeroed(1);
        let list: IoVec = (0..3000).map(|_| small.clone()).collect();
        assert_eq!(to_write(&list, Cursor::default()).len(), 1024);
    }
}
