//! What `O_DIRECT` demands of offsets, lengths and memory, and how it is found out.

use crate::error::{described, invalid};
use crate::sys::{self, Cursor};
use block_core::{BUFFER_ALIGNMENT, IoBuf, IoBufMut, IoVec, IoVecMut, Result};
use std::io;
use std::os::fd::BorrowedFd;

/// The alignments that a probe tries, in this order.
const CANDIDATES: [u32; 4] = [512, 1024, 2048, 4096];
/// What is taken where nothing can be found out: enough for every common device.
const FALLBACK: u32 = 4096;
/// A file system that asks for more is not believed.
const LARGEST: u32 = 1 << 20;

/// Powers of two; both are 1 where anything goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alignment {
    /// Of offsets and of every segment's length, in bytes.
    pub request: u32,
    /// Of every segment's address, in bytes.
    pub memory: u32,
}

impl Alignment {
    /// Buffered files take any byte.
    pub(crate) const ANY: Self = Self { request: 1, memory: 1 };

    const fn both(value: u32) -> Self {
        Self { request: value, memory: value }
    }

    /// The request alignment as a length in memory.
    pub(crate) fn unit(self) -> usize {
        usize::try_from(self.request).unwrap_or(usize::MAX)
    }

    fn takes_segment(self, address: usize, len: usize) -> bool {
        let memory = usize::try_from(self.memory).unwrap_or(usize::MAX);
        address & memory.wrapping_sub(1) == 0 && len & self.unit().wrapping_sub(1) == 0
    }

    /// Whether the kernel reads into this memory as it is.
    pub(crate) fn takes_read(self, bufs: &IoVecMut) -> bool {
        let mut segments = bufs.segments().iter();
        segments.all(|s: &IoBufMut| self.takes_segment(s.as_ptr().addr(), s.len()))
    }

    /// Whether the kernel writes from this memory as it is.
    pub(crate) fn takes_write(self, bufs: &IoVec) -> bool {
        let mut segments = bufs.segments().iter();
        segments.all(|s: &IoBuf| self.takes_segment(s.as_ptr().addr(), s.len()))
    }
}

/// Finds out what direct access to this file demands. Blocks: a probe reads.
pub(crate) fn of_direct(fd: BorrowedFd<'_>, name: &str) -> Result<Alignment> {
    let told = sys::dio_alignment(fd)
        .map_err(|e| described(&format!("cannot ask for the alignment of '{name}'"), e))?;
    let Some((memory, request)) = told else {
        return Ok(probe(|len| read_at_start(fd, len)));
    };
    if request == 0 {
        return Err(refused(name));
    }
    checked(memory, request).ok_or_else(|| {
        invalid(format!(
            "'{name}' demands an alignment of {memory} bytes in memory and {request} in the file, \
             which is more than is supported; open it without cache.direct=on"
        ))
    })
}

/// The answer to `cache.direct=on` where the file system cannot do it.
pub(crate) fn refused(name: &str) -> block_core::Error {
    invalid(format!(
        "the file system of '{name}' does not support direct access (O_DIRECT) to it; open it \
         without cache.direct=on"
    ))
}

fn checked(memory: u32, request: u32) -> Option<Alignment> {
    let memory = memory.max(1);
    let memory_fits = usize::try_from(memory).is_ok_and(|m| m <= BUFFER_ALIGNMENT);
    (memory.is_power_of_two() && request.is_power_of_two() && memory_fits && request <= LARGEST)
        .then_some(Alignment { request, memory })
}

/// The smallest alignment at which a read succeeds. A read that finds the file empty proves
/// nothing, because file systems may look at the file's size first.
fn probe(read: impl Fn(u32) -> io::Result<usize>) -> Alignment {
    let found = CANDIDATES
        .into_iter()
        .find_map(|len| match read(len) {
            Ok(0) => Some(FALLBACK),
            Ok(_) => Some(len),
            Err(_) => None,
        })
        .unwrap_or(FALLBACK);
    Alignment::both(found)
}

/// Reads `len` bytes into memory that is aligned to `len` and to nothing larger.
fn read_at_start(fd: BorrowedFd<'_>, len: u32) -> io::Result<usize> {
    let len = usize::try_from(len).unwrap_or(BUFFER_ALIGNMENT);
    let mut memory = IoBufMut::zeroed(len.saturating_mul(2));
    let skipped = if len < BUFFER_ALIGNMENT { len } else { 0 };
    let _front = memory.split_to(skipped);
    let mut target = IoVecMut::from(memory.split_to(len));
    sys::preadv(fd, &mut target, Cursor::default(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_takes_the_smallest_that_works() {
        let device = |smallest: u32| {
            move |len: u32| match len >= smallest {
                true => Ok(usize::try_from(len).unwrap()),
                false => Err(io::ErrorKind::InvalidInput.into()),
            }
        };
        assert_eq!(probe(device(512)), Alignment::both(512));
        assert_eq!(probe(device(2048)), Alignment::both(2048));
        assert_eq!(probe(device(8192)), Alignment::both(4096));
        assert_eq!(probe(|_| Ok(0)), Alignment::both(4096));
        assert_eq!(probe(|_| Ok(17)), Alignment::both(512), "a short file");
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_not_believed() {
        assert_eq!(checked(4, 512), Some(Alignment { request: 512, memory: 4 }));
        for (memory, request) in [(3, 512), (512, 513), (8192, 512), (4, 1 << 21), (4, 0)] {
            assert_eq!(checked(memory, request), None, "{memory} {request}");
        }
    }

    #[test]
    fn addresses_and_lengths_have_their_own_alignment() {
        let alignment = Alignment { request: 512, memory: 4 };
        let mut memory = IoBuf::zeroed(8192);
        let _ = memory.split_to(4);
        assert!(alignment.takes_write(&memory.split_to(1024).into()));
        assert!(!alignment.takes_write(&memory.split_to(516).into()));
        let _ = memory.split_to(1);
        assert!(!alignment.takes_write(&memory.split_to(512).into()));
        assert!(Alignment::ANY.takes_write(&memory.into()));
    }
}
