//! Lists of buffers for vectored requests. One segment, the common case, needs no allocation.

use super::{IoBuf, IoBufMut};
use bytes::Bytes;
use smallvec::SmallVec;

macro_rules! segment_list {
    ($(#[$doc:meta])* $list:ident of $segment:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $list {
            segments: SmallVec<[$segment; 1]>,
            len: usize,
        }

        impl $list {
            /// A list without segments.
            pub fn new() -> Self {
                Self { segments: SmallVec::new(), len: 0 }
            }

            /// A list without segments that takes so many without an allocation in between.
            pub fn with_capacity(segments: usize) -> Self {
                Self { segments: SmallVec::with_capacity(segments), len: 0 }
            }

            /// Sum of the segments' lengths, in bytes.
            pub fn len(&self) -> usize {
                self.len
            }

            /// Whether it holds no bytes.
            pub fn is_empty(&self) -> bool {
                self.len == 0
            }

            /// The segments in order; none of them is empty.
            pub fn segments(&self) -> &[$segment] {
                &self.segments
            }

            /// Adds a segment at the end. Empty ones are left out.
            pub fn push(&mut self, segment: $segment) {
                if !segment.is_empty() {
                    self.len = self.len.saturating_add(segment.len());
                    self.segments.push(segment);
                }
            }

            /// Takes the first `at` bytes (or all, if there are fewer) out of the list. No copy.
            #[must_use]
            pub fn split_to(&mut self, at: usize) -> Self {
                if at >= self.len {
                    return std::mem::take(self);
                }
                let mut front = Self::new();
                let mut whole = 0;
                while let Some(segment) = self.segments.get_mut(whole) {
                    let rest = at.saturating_sub(front.len);
                    if segment.len() > rest {
                        front.push(segment.split_to(rest));
                        break;
                    }
                    front.len = front.len.saturating_add(segment.len());
                    whole = whole.saturating_add(1);
                }
                if whole > 0 {
                    let partial = (front.segments.len() == 1).then(|| front.segments.pop()).flatten();
                    front.segments.extend(self.segments.drain(..whole));
                    front.segments.extend(partial);
                }
                self.len = self.len.saturating_sub(front.len);
                front
            }

            /// Whether every segment's address and length are multiples of `alignment`.
            pub fn is_aligned(&self, alignment: usize) -> bool {
                let mask = alignment.max(1).saturating_sub(1);
                self.segments.iter().all(|s| (s.as_ptr().addr() | s.len()) & mask == 0)
            }

            /// Copies the bytes, in order, to `dst`; returns how many.
            pub fn copy_to_slice(&self, dst: &mut [u8]) -> usize {
                let mut rest = dst;
                let mut done = 0_usize;
                for segment in &self.segments {
                    let n = segment.copy_to_slice(rest);
                    done = done.saturating_add(n);
                    rest = rest.get_mut(n..).unwrap_or_default();
                }
                done
            }

            /// A copy of the bytes.
            pub fn to_vec(&self) -> Vec<u8> {
                let mut vec = vec![0; self.len];
                self.copy_to_slice(&mut vec);
                vec
            }

            /// The bytes as [`Bytes`]: no copy if there is one segment of our own memory.
            pub fn into_bytes(mut self) -> Bytes {
                match self.segments.len() {
                    1 => self.segments.pop().map($segment::into_bytes).unwrap_or_default(),
                    _ => Bytes::from(self.to_vec()),
                }
            }
        }

        impl Default for $list {
            fn default() -> Self {
                Self::new()
            }
        }

        impl From<$segment> for $list {
            #[inline]
            fn from(segment: $segment) -> Self {
                match segment.len() {
                    0 => Self::new(),
                    len => Self { segments: SmallVec::from_buf([segment]), len },
                }
            }
        }

        impl From<Vec<u8>> for $list {
            fn from(vec: Vec<u8>) -> Self {
                $segment::from(vec).into()
            }
        }

        impl FromIterator<$segment> for $list {
            fn from_iter<I: IntoIterator<Item = $segment>>(segments: I) -> Self {
                let mut list = Self::new();
                segments.into_iter().for_each(|s| list.push(s));
                list
            }
        }

        impl IntoIterator for $list {
            type Item = $segment;
            type IntoIter = smallvec::IntoIter<[$segment; 1]>;
            fn into_iter(self) -> Self::IntoIter {
                self.segments.into_iter()
            }
        }
    };
}

segment_list! {
    /// Memory to write from, in order: what a write request carries. Clones share the memory.
    #[derive(Clone)]
    IoVec of IoBuf
}

segment_list! {
    /// Memory to read into, in order: what a read request carries and gives back.
    IoVecMut of IoBufMut
}

impl IoVec {
    /// Adds the segments of `other` at the end.
    pub fn append(&mut self, other: Self) {
        other.into_iter().for_each(|s| self.push(s));
    }
}

impl IoVecMut {
    /// The segments, to fill.
    pub fn segments_mut(&mut self) -> &mut [IoBufMut] {
        &mut self.segments
    }

    /// Adds the segments of `other` at the end. Pieces that [`split_to`](Self::split_to) cut from
    /// one buffer become one segment again.
    pub fn append(&mut self, other: Self) {
        for segment in other {
            let n = segment.len();
            match self.segments.last_mut() {
                Some(last) => match last.unsplit(segment) {
                    Ok(()) => self.len = self.len.saturating_add(n),
                    Err(segment) => self.push(segment),
                },
                None => self.push(segment),
            }
        }
    }

    /// Copies from `src` to the start of the list; returns how many bytes fitted.
    pub fn copy_from_slice(&mut self, src: &[u8]) -> usize {
        let mut done = 0_usize;
        for segment in &mut self.segments {
            done =
                done.saturating_add(segment.copy_from_slice(src.get(done..).unwrap_or_default()));
        }
        done
    }

    /// Sets every byte.
    pub fn fill(&mut self, byte: u8) {
        self.segments.iter_mut().for_each(|s| s.fill(byte));
    }

    /// Makes it a list to write from. No copy.
    pub fn freeze(self) -> IoVec {
        self.into_iter().map(IoBufMut::freeze).collect()
    }
}

impl From<IoBufMut> for IoVec {
    fn from(buf: IoBufMut) -> Self {
        buf.freeze().into()
    }
}

impl From<Bytes> for IoVec {
    fn from(bytes: Bytes) -> Self {
        IoBuf::from(bytes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(lens: &[usize]) -> (IoVec, Vec<u8>) {
        let mut next = 0_u8;
        let mut all = Vec::new();
        let vec = lens
            .iter()
            .map(|&len| {
                let data: Vec<u8> = (0..len)
                    .map(|_| {
                        next = next.wrapping_add(1);
                        next
                    })
                    .collect();
                all.extend_from_slice(&data);
                IoBuf::from(data)
            })
            .collect();
        (vec, all)
    }

    proptest! {
        #[test]
        fn splitting_keeps_every_byte_in_order(lens in prop::collection::vec(0_usize..20, 0..6), at in 0_usize..140) {
            let (mut back, all) = list(&lens);
            let front = back.split_to(at);
            let cut = at.min(all.len());
            prop_assert_eq!(front.to_vec(), &all[..cut]);
            prop_assert_eq!(back.to_vec(), &all[cut..]);
            prop_assert_eq!((front.len(), back.len()), (cut, all.len() - cut));
        }

        #[test]
        fn a_split_buffer_is_whole_again_after_append(len in 1_usize..100, at in 0_usize..120) {
            let mut back = IoVecMut::from(IoBufMut::zeroed(len));
            let mut front = back.split_to(at);
            front.fill(1);
            back.fill(2);
            front.append(back);
            prop_assert_eq!(front.segments().len(), 1);
            let cut = at.min(len);
            prop_assert_eq!(front.to_vec(), [vec![1; cut], vec![2; len - cut]].concat());
        }
    }

    #[test]
    fn alignment_looks_at_addresses_and_lengths() {
        let mut buf = IoBufMut::zeroed(8192);
        assert!(IoVecMut::from(buf.split_to(4096)).is_aligned(4096));
        assert!(!IoVecMut::from(buf.split_to(100)).is_aligned(4096));
        assert!(!IoVecMut::from(buf).is_aligned(4096));
    }
}
