//! Descriptor chains, taken apart and checked.
//!
//! How a driver cuts a request into descriptors is its own business (virtio 1.3, 2.7.4), so a chain
//! is two streams of bytes: what the device reads, then what it writes.

use smallvec::SmallVec;
use std::fmt;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemory};

/// A piece of guest memory, not yet checked to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte, in the guest's addresses.
    pub addr: u64,
    /// Number of bytes.
    pub len: u32,
}

/// One direction's bytes, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    list: SmallVec<[Segment; 4]>,
    len: u64,
}

/// A request as the driver laid it out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The number by which the chain is given back.
    pub head: u16,
    /// What the device reads.
    pub readable: Segments,
    /// What the device writes.
    pub writable: Segments,
}

/// Why nothing that a ring says can be believed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// A chain does not end: a loop, a descriptor or an indirect table out of reach, or tables in
    /// tables.
    Endless {
        /// The chain's first descriptor.
        head: u16,
    },
    /// A chain has more descriptors than the queue allows.
    TooLong {
        /// The chain's first descriptor.
        head: u16,
    },
    /// Something to read comes after something to write.
    Order {
        /// The chain's first descriptor.
        head: u16,
    },
    /// There is no writable byte in the guest's memory for a status.
    NoStatus {
        /// The chain's first descriptor.
        head: u16,
    },
    /// The driver made a chain available again that it had not got back.
    Twice {
        /// The chain's first descriptor.
        head: u16,
    },
    /// The available ring is out of reach, or its index jumps by more than the queue's size.
    Available,
    /// The used ring is out of reach.
    Used,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endless { head } => write!(f, "the descriptor chain at {head} has no end"),
            Self::TooLong { head } => write!(f, "the descriptor chain at {head} is too long"),
            Self::Order { head } => {
                write!(f, "the descriptor chain at {head} reads after it writes")
            }
            Self::NoStatus { head } => {
                write!(f, "the descriptor chain at {head} has no room for a status")
            }
            Self::Twice { head } => {
                write!(f, "the descriptor chain at {head} is available twice")
            }
            Self::Available => f.write_str("the available ring makes no sense"),
            Self::Used => f.write_str("the used ring is out of reach"),
        }
    }
}

impl std::error::Error for Broken {}

impl Segments {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces, in order; none is empty.
    pub fn iter(&self) -> impl Iterator<Item = Segment> + '_ {
        self.list.iter().copied()
    }

    /// Adds a piece at the end. An empty one is left out.
    pub fn push(&mut self, segment: Segment) {
        if segment.len > 0 {
            self.len = self.len.saturating_add(segment.len.into());
            self.list.push(segment);
        }
    }

    /// Takes the first `n` bytes out; fewer if there are fewer.
    #[must_use]
    pub fn split_to(&mut self, n: u64) -> Self {
        let mut front = Self::default();
        let mut whole = 0_usize;
        for segment in &mut self.list {
            let room = n.saturating_sub(front.len);
            if u64::from(segment.len) <= room {
                front.push(*segment);
                whole = whole.saturating_add(1);
                continue;
            }
            // `room` is less than a u32's worth here.
            let taken = u32::try_from(room).unwrap_or(u32::MAX);
            front.push(Segment { addr: segment.addr, len: taken });
            segment.addr = segment.addr.saturating_add(taken.into());
            segment.len = segment.len.saturating_sub(taken);
            break;
        }
        self.list.drain(..whole);
        self.len = self.len.saturating_sub(front.len);
        front
    }

    /// Copies the first bytes out of the guest's memory; `None` if there are too few, or a piece of
    /// it does not exist.
    pub fn read<const N: usize, M: GuestMemory + ?Sized>(&self, memory: &M) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let mut done = 0;
        for segment in &self.list {
            let rest = bytes.get_mut(done..)?;
            if rest.is_empty() {
                break;
            }
            let n = rest.len().min(usize::try_from(segment.len).ok()?);
            memory.read_slice(rest.get_mut(..n)?, GuestAddress(segment.addr)).ok()?;
            done = done.saturating_add(n);
        }
        (done == N).then_some(bytes)
    }

    /// Copies bytes to the start; `None` if there is too little room, or a piece of it does not
    /// exist.
    pub fn write<M: GuestMemory + ?Sized>(&self, memory: &M, mut bytes: &[u8]) -> Option<()> {
        for segment in &self.list {
            if bytes.is_empty() {
                break;
            }
            let n = bytes.len().min(usize::try_from(segment.len).ok()?);
            let (now, later) = bytes.split_at_checked(n)?;
            memory.write_slice(now, GuestAddress(segment.addr)).ok()?;
            bytes = later;
        }
        bytes.is_empty().then_some(())
    }
}

impl Chain {
    /// The most descriptors of a chain in a queue that is smaller than this: drivers put chains
    /// into indirect tables that are longer than the queue.
    pub const MAX_SEGMENTS: usize = 1024;

    /// Walks the chain that starts with the descriptor `head` of a table of `size` descriptors.
    ///
    /// # Errors
    /// See [`Broken`]. That the segments exist is not checked yet.
    pub fn walk<M>(memory: &M, table: u64, size: u16, head: u16) -> Result<Self, Broken>
    where
        M: GuestMemory + ?Sized,
    {
        let endless = Broken::Endless { head };
        let limit = Self::MAX_SEGMENTS.max(size.into());
        let mut chain = Self { head, ..Self::default() };
        let mut table = Table { at: table, size: size.into(), indirect: false };
        let mut index = u32::from(head);
        // A chain that visits more descriptors than there are goes in circles.
        let mut left = table.size;
        let mut number = 0_usize;
        loop {
            left = left.checked_sub(1).ok_or(endless)?;
            let descriptor = table.get(memory, index).ok_or(endless)?;
            if descriptor.refers_to_indirect_table() {
                table = table.inner(&descriptor).ok_or(endless)?;
                (index, left) = (0, table.size);
                continue;
            }
            number = number.saturating_add(1);
            if number > limit {
                return Err(Broken::TooLong { head });
            }
            chain.push(&descriptor)?;
            if !descriptor.has_next() {
                return Ok(chain);
            }
            index = descriptor.next().into();
        }
    }

    fn push(&mut self, descriptor: &Descriptor) -> Result<(), Broken> {
        let segment = Segment { addr: descriptor.addr().raw_value(), len: descriptor.len() };
        if descriptor.is_write_only() {
            self.writable.push(segment);
        } else if self.writable.is_empty() {
            self.readable.push(segment);
        } else {
            return Err(Broken::Order { head: self.head });
        }
        Ok(())
    }
}

/// A table of descriptors: the queue's, or one that a descriptor refers to.
struct Table {
    at: u64,
    size: u32,
    indirect: bool,
}

/// Bytes of a descriptor.
const DESCRIPTOR: u32 = 16;

impl Table {
    fn get<M: GuestMemory + ?Sized>(&self, memory: &M, index: u32) -> Option<Descriptor> {
        if index >= self.size {
            return None;
        }
        let at = self.at.checked_add(u64::from(index).checked_mul(DESCRIPTOR.into())?)?;
        memory.read_obj(GuestAddress(at)).ok()
    }

    /// The table that a descriptor refers to, which must be the last of its chain and not in such a
    /// table itself (virtio 1.3, 2.7.5.3).
    fn inner(&self, descriptor: &Descriptor) -> Option<Self> {
        let len = descriptor.len();
        let whole = len > 0 && len.checked_rem(DESCRIPTOR) == Some(0);
        if self.indirect || descriptor.has_next() || !whole {
            return None;
        }
        let size = len.checked_div(DESCRIPTOR)?;
        Some(Self { at: descriptor.addr().raw_value(), size, indirect: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestMemoryMmap;

    fn segments(list: &[(u64, u32)]) -> Segments {
        let mut segments = Segments::default();
        list.iter().for_each(|&(addr, len)| segments.push(Segment { addr, len }));
        segments
    }

    #[test]
    fn splitting_cuts_within_and_between_descriptors() {
        let whole = segments(&[(100, 16), (0, 0), (200, 4), (300, 1)]);
        assert_eq!(whole.len(), 21);
        let cut = |n| {
            let mut rest = whole.clone();
            (rest.split_to(n), rest)
        };
        assert_eq!(cut(0), (segments(&[]), whole.clone()));
        assert_eq!(cut(16), (segments(&[(100, 16)]), segments(&[(200, 4), (300, 1)])));
        let front = segments(&[(100, 16), (200, 3)]);
        assert_eq!(cut(19), (front, segments(&[(203, 1), (300, 1)])));
        assert_eq!(cut(99), (whole.clone(), segments(&[])));
    }

    #[test]
    fn bytes_are_gathered_and_scattered_or_nothing_is_believed() {
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        let place = segments(&[(0x10, 3), (0xffe, 2)]);
        place.write(&memory, &[1, 2, 3, 4]).unwrap();
        assert_eq!(place.read(&memory), Some([1, 2, 3, 4]));
        assert_eq!(place.read::<6, _>(&memory), None);
        assert_eq!(place.write(&memory, &[0; 6]), None);
        let outside = segments(&[(0xfff, 2)]);
        assert_eq!(outside.read::<2, _>(&memory), None);
        assert_eq!(outside.write(&memory, &[1, 1]), None);
        let overflowing = segments(&[(u64::MAX, 2)]);
        assert_eq!(overflowing.read::<2, _>(&memory), None);
    }

    const NEXT: u16 = 1;
    const WRITE: u16 = 2;
    const INDIRECT: u16 = 4;

    /// Walks chain 0 of a queue of 4, with these descriptors in the table at 0, and some at 0x100.
    fn walk(
        table: &[(u64, u32, u16, u16)],
        inner: &[(u64, u32, u16, u16)],
    ) -> Result<Chain, Broken> {
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        for (at, list) in [(0, table), (0x100, inner)] {
            for (i, &(addr, len, flags, next)) in (0_u64..).zip(list) {
                let descriptor = Descriptor::new(addr, len, flags, next);
                memory.write_obj(descriptor, GuestAddress(at + 16 * i)).unwrap();
            }
        }
        Chain::walk(&memory, 0, 4, 0)
    }

    #[test]
    fn a_chain_is_read_in_order_wherever_it_lies() {
        let direct =
            walk(&[(0x1000, 16, NEXT, 2), (0, 0, 0, 0), (0x2000, 5, WRITE, 9)], &[]).unwrap();
        assert_eq!(direct.readable, segments(&[(0x1000, 16)]));
        assert_eq!(direct.writable, segments(&[(0x2000, 5)]));
        let inner = [(0x1000, 16, NEXT, 1), (0x2000, 5, WRITE, 0)];
        assert_eq!(walk(&[(0x100, 32, INDIRECT, 0)], &inner).unwrap(), direct);
        let mixed = [(0x1000, 16, NEXT, 3), (0, 0, 0, 0), (0, 0, 0, 0), (0x100, 16, INDIRECT, 0)];
        assert_eq!(walk(&mixed, &[(0x2000, 5, WRITE, 0)]).unwrap(), direct);
    }

    #[test]
    fn a_chain_without_an_end_breaks_the_queue() {
        let endless = Err(Broken::Endless { head: 0 });
        assert_eq!(walk(&[(0, 1, NEXT, 0)], &[]), endless, "a loop of one");
        assert_eq!(walk(&[(0, 1, NEXT, 1), (0, 1, NEXT, 0)], &[]), endless, "a loop of two");
        assert_eq!(walk(&[(0, 1, NEXT, 4)], &[]), endless, "an index past the table");
        assert_eq!(walk(&[(0x100, 0, INDIRECT, 0)], &[]), endless, "an empty table");
        assert_eq!(walk(&[(0x100, 24, INDIRECT, 0)], &[]), endless, "half a descriptor");
        let table = [(0x100, 16, INDIRECT, 0)];
        assert_eq!(walk(&table, &[(0x100, 16, INDIRECT, 0)]), endless, "a table in a table");
        assert_eq!(walk(&table, &[(0, 1, NEXT, 0)]), endless, "a loop in a table");
        assert_eq!(walk(&table, &[(0, 1, NEXT, 1)]), endless, "an index past that table");
        assert_eq!(walk(&[(0x20000, 16, INDIRECT, 0)], &[]), endless, "a table out of memory");
        assert_eq!(walk(&[(u64::MAX - 7, 32, INDIRECT, 0)], &[]), endless, "an address overflow");
        assert_eq!(walk(&[(0x100, 16, INDIRECT | NEXT, 0)], &[(0, 1, 0, 0)]), endless);
    }

    #[test]
    fn a_chain_is_bounded_and_ordered() {
        let long: Vec<_> = (1..=1025_u16).map(|i| (0, 1, NEXT, i)).collect();
        let table = [(0x100, 1025 * 16, INDIRECT, 0)];
        assert_eq!(walk(&table, &long), Err(Broken::TooLong { head: 0 }));
        let mut just = long[..1024].to_vec();
        just[1023].2 = WRITE;
        assert_eq!(walk(&table, &just).unwrap().readable.len(), 1023);
        let swapped = [(0, 1, WRITE | NEXT, 1), (0, 1, 0, 0)];
        assert_eq!(walk(&swapped, &[]), Err(Broken::Order { head: 0 }));
    }
}
