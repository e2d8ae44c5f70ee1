//! Guest memory as the owned buffers of the block layer: a driver's system calls work on the
//! guest's pages themselves.
#![allow(unsafe_code)]

use crate::chain::Segments;
use block_core::{IoBuf, IoBufMut, IoVec, IoVecMut};
use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryMmap, Permissions};

/// Guest memory that stays where it is.
///
/// # Safety
/// For as long as an `Arc` of the implementor lives, every slice that its
/// [`get_slices`](GuestMemory::get_slices) ever gave must stay mapped, valid for reads (and writes,
/// if asked for with write permission) from any thread, and no Rust reference to its bytes may
/// exist. A guest may change the bytes at any time. Mappings that change make a new value.
pub unsafe trait StableMemory: GuestMemory + Send + Sync + 'static {}

// SAFETY: the regions of a `GuestMemoryMmap` are mapped for as long as it lives, no method takes
// one out of a shared value, and access is by raw volatile pointers only.
unsafe impl StableMemory for GuestMemoryMmap<()> {}

/// The memory as something to read into; `None` if any byte of it does not exist.
pub fn writable<M: StableMemory>(memory: &Arc<M>, segments: &Segments) -> Option<IoVecMut> {
    let mut list = IoVecMut::new();
    let owner: Arc<dyn Any + Send + Sync> = memory.clone();
    for_each_slice(&**memory, segments, Permissions::Write, |ptr, len| {
        // SAFETY: `StableMemory` promises that the slice is valid for as long as the owner lives,
        // and that there is no reference to it.
        list.push(unsafe { IoBufMut::from_foreign(ptr, len, Arc::clone(&owner)) });
    })?;
    Some(list)
}

/// The memory as something to write from; `None` if any byte of it does not exist.
pub fn readable<M: StableMemory>(memory: &Arc<M>, segments: &Segments) -> Option<IoVec> {
    let mut list = IoVec::new();
    let owner: Arc<dyn Any + Send + Sync> = memory.clone();
    for_each_slice(&**memory, segments, Permissions::Read, |ptr, len| {
        // SAFETY: as above.
        list.push(unsafe { IoBuf::from_foreign(ptr, len, Arc::clone(&owner)) });
    })?;
    Some(list)
}

fn for_each_slice<M: GuestMemory>(
    memory: &M,
    segments: &Segments,
    access: Permissions,
    mut each: impl FnMut(NonNull<u8>, usize),
) -> Option<()> {
    for segment in segments.iter() {
        let len = usize::try_from(segment.len).ok()?;
        for slice in memory.get_slices(GuestAddress(segment.addr), len, access).ok()? {
            let slice = slice.ok()?;
            each(NonNull::new(slice.ptr_guard_mut().as_ptr())?, slice.len());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Segment;
    use vm_memory::Bytes;

    fn segments(list: &[(u64, u32)]) -> Segments {
        let mut segments = Segments::default();
        list.iter().for_each(|&(addr, len)| segments.push(Segment { addr, len }));
        segments
    }

    fn memory() -> Arc<GuestMemoryMmap<()>> {
        // Two regions that touch, and one apart.
        let ranges = [
            (GuestAddress(0), 0x1000),
            (GuestAddress(0x1000), 0x1000),
            (GuestAddress(0x10000), 0x1000),
        ];
        Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
    }

    #[test]
    fn a_buffer_is_the_guests_memory_itself() {
        let memory = memory();
        let mut bufs = writable(&memory, &segments(&[(0xff0, 0x20), (0x10000, 4)])).unwrap();
        assert_eq!((bufs.len(), bufs.segments().len()), (0x24, 3));
        bufs.fill(7);
        let mut bytes = [0; 0x20];
        memory.read_slice(&mut bytes, GuestAddress(0xff0)).unwrap();
        assert_eq!(bytes, [7; 0x20]);
        memory.write_slice(&[9; 4], GuestAddress(0x10000)).unwrap();
        let bufs = readable(&memory, &segments(&[(0x10000, 4)])).unwrap();
        assert_eq!(bufs.to_vec(), [9; 4]);
    }

    #[test]
    fn a_buffer_keeps_the_mapping_alive() {
        let memory = memory();
        memory.write_slice(&[5; 8], GuestAddress(0x1ff8)).unwrap();
        let bufs = readable(&memory, &segments(&[(0x1ff8, 8)])).unwrap();
        drop(memory);
        assert_eq!(bufs.to_vec(), [5; 8]);
    }

    #[test]
    fn what_does_not_exist_is_no_buffer() {
        let memory = memory();
        for (addr, len) in [
            (0x1fff, 2),
            (0x2000, 1),
            (u64::MAX, 1),
            (u64::MAX, u32::MAX),
            (0, 0x2001),
            (0xffff, 2),
        ] {
            assert!(writable(&memory, &segments(&[(addr, len)])).is_none(), "{addr:#x} {len:#x}");
            assert!(readable(&memory, &segments(&[(0, 1), (addr, len)])).is_none());
        }
    }
}
