//! The device's memory: what the driver has mapped, at the driver's addresses.
//!
//! The kernel tells a part of it when it is asked for an address, as a file to map. Not all parts
//! are there when the driver starts: the kernel makes the one for data with the first request. So a
//! part is looked for when an address in it is first used, and kept from then on. What changes
//! parts that are known makes a new [`Memory`].

use crate::sys::{Access, Mapping};
use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::sync::{Mutex, OnceLock, PoisonError};
use vm_memory::bitmap::BS;
use vm_memory::guest_memory::{Error, GuestMemorySliceIterator, Result};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemory, GuestMemoryMmap, MmapRegion, Permissions,
    VolatileMemory, VolatileSlice,
};

/// Who tells which part has an address, or nothing if none has it.
pub(crate) type Source = Box<dyn Fn(u64) -> io::Result<Option<Mapping>> + Send + Sync>;

/// Memory by the driver's addresses.
///
/// Parts are only ever added, and stay mapped and where they are for as long as this lives.
pub(crate) struct Memory {
    first: OnceLock<Box<Part>>,
    source: Source,
    /// Held while a part is looked for.
    adding: Mutex<()>,
}

struct Part {
    start: u64,
    last: u64,
    access: Access,
    mapped: MmapRegion,
    next: OnceLock<Box<Part>>,
}

impl Memory {
    pub(crate) fn new(source: Source) -> Self {
        Self { first: OnceLock::new(), source, adding: Mutex::new(()) }
    }

    fn known(&self, address: u64) -> Option<&Part> {
        let mut slot = &self.first;
        while let Some(part) = slot.get() {
            if (part.start..=part.last).contains(&address) {
                return Some(part);
            }
            slot = &part.next;
        }
        None
    }

    fn part(&self, address: u64) -> Option<&Part> {
        self.known(address).or_else(|| self.look_for(address))
    }

    #[cold]
    fn look_for(&self, address: u64) -> Option<&Part> {
        let _alone = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = self.known(address) {
            return Some(part);
        }
        let part = match (self.source)(address) {
            Ok(found) => Part::map(found?),
            Err(error) => Err(error),
        };
        let part = match part {
            Ok(part) => part,
            Err(error) => {
                tracing::warn!(target: "block", %error, "memory of a VDUSE device cannot be mapped");
                return None;
            }
        };
        let mut slot = &self.first;
        while let Some(known) = slot.get() {
            slot = &known.next;
        }
        // Nobody else adds one now, so that the slot is free.
        let part = slot.get_or_init(|| Box::new(part));
        Some(part)
    }
}

impl Part {
    fn map(found: Mapping) -> io::Result<Self> {
        use nix::libc::{MAP_NORESERVE, MAP_SHARED, PROT_READ, PROT_WRITE};
        let Mapping { start, last, access, file, offset } = found;
        let len = last.checked_sub(start).and_then(|len| usize::try_from(len).ok()?.checked_add(1));
        let len = len.ok_or_else(|| {
            let why = format!("the kernel gives memory from {start:#x} to {last:#x}");
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        let protection = match access {
            Access::Read => PROT_READ,
            Access::Write => PROT_WRITE,
            Access::Both => PROT_READ | PROT_WRITE,
        };
        let mapped = MmapRegionBuilder::new(len)
            .with_file_offset(FileOffset::new(file, offset))
            .with_mmap_prot(protection)
            .with_mmap_flags(MAP_SHARED | MAP_NORESERVE)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { start, last, access, mapped, next: OnceLock::new() })
    }

    /// Memory from an address in it on, at most `len` bytes of it.
    fn slice(&self, address: u64, len: usize) -> Option<VolatileSlice<'_, BS<'_, ()>>> {
        let from = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let room = self.mapped.size().checked_sub(from)?;
        self.mapped.get_slice(from, len.min(room)).ok()
    }
}

impl Access {
    fn allows(self, wanted: Permissions) -> bool {
        match self {
            Self::Both => true,
            Self::Read => matches!(wanted, Permissions::Read | Permissions::No),
            Self::Write => matches!(wanted, Permissions::Write | Permissions::No),
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        let mut slot = &self.first;
        while let Some(part) = slot.get() {
            list.entry(&(part.start..=part.last));
            slot = &part.next;
        }
        list.finish()
    }
}

impl GuestMemory for Memory {
    type PhysicalMemory = GuestMemoryMmap<()>;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        self.get_slices(addr, count, access).is_ok_and(|mut slices| slices.all(|s| s.is_ok()))
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, BS<'a, ()>>> {
        Ok(Slices { memory: self, next: Some(addr.0), left: count, access })
    }
}

/// The pieces of a range, one for each part that it lies in.
struct Slices<'a> {
    memory: &'a Memory,
    /// `None` behind the last address that there is.
    next: Option<u64>,
    left: usize,
    access: Permissions,
}

impl<'a> Slices<'a> {
    fn piece(&mut self) -> Option<VolatileSlice<'a, BS<'a, ()>>> {
        let address = self.next?;
        let part = self.memory.part(address).filter(|part| part.access.allows(self.access))?;
        let slice = part.slice(address, self.left).filter(|slice| !slice.is_empty())?;
        let len = slice.len();
        self.next = u64::try_from(len).ok().and_then(|len| address.checked_add(len));
        self.left = self.left.saturating_sub(len);
        Some(slice)
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = Result<VolatileSlice<'a, BS<'a, ()>>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let address = GuestAddress(self.next.unwrap_or(u64::MAX));
        let piece = self.piece();
        if piece.is_none() {
            self.left = 0;
        }
        Some(piece.ok_or(Error::InvalidGuestAddress(address)))
    }
}

impl FusedIterator for Slices<'_> {}
impl<'a> GuestMemorySliceIterator<'a, BS<'a, ()>> for Slices<'a> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use vm_memory::Bytes;

    /// Parts of one file: first address, bytes, access. Counts how often it is asked.
    fn memory(parts: &'static [(u64, u64, Access)]) -> (Memory, Arc<AtomicUsize>) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let source = move |address: u64| {
            count.fetch_add(1, Ordering::SeqCst);
            let at = parts
                .iter()
                .position(|(start, len, _)| address >= *start && address - *start < *len);
            Ok(at.map(|at| {
                let (start, len, access) = parts[at];
                let offset = 0x1_0000 * u64::try_from(at).unwrap();
                let file = file.try_clone().unwrap();
                Mapping { start, last: start + (len - 1), access, file, offset }
            }))
        };
        (Memory::new(Box::new(source)), asked)
    }

    const TOP: u64 = u64::MAX - 0xfff;
    const PARTS: &[(u64, u64, Access)] = &[
        (0x1000, 0x1000, Access::Both),
        (0x2000, 0x2000, Access::Both),
        (0x8000, 0x1000, Access::Read),
        (0xa000, 0x1000, Access::Write),
        (TOP, 0x1000, Access::Both),
    ];

    #[test]
    fn what_is_written_across_parts_is_read() {
        let (memory, _) = memory(PARTS);
        let data: Vec<u8> = (0..=255).collect();
        memory.write_slice(&data, GuestAddress(0x1f80)).unwrap();
        let mut found = vec![0; 256];
        memory.read_slice(&mut found, GuestAddress(0x1f80)).unwrap();
        assert_eq!(found, data);
        // Each part is another place of the file.
        let sizes: Vec<_> = memory
            .get_slices(GuestAddress(0x1f80), 256, Permissions::Read)
            .unwrap()
            .map(|slice| slice.unwrap().len())
            .collect();
        assert_eq!(sizes, [0x80, 0x80]);
    }

    #[test]
    fn a_part_is_asked_for_once_and_only_when_it_is_used() {
        let (memory, asked) = memory(PARTS);
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        for _ in 0..3 {
            assert!(memory.check_range(GuestAddress(0x2800), 0x800, Permissions::Write));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(memory.check_range(GuestAddress(0x1800), 0x1000, Permissions::Write));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_part_that_comes_later_is_found() {
        let there = Arc::new(OnceLock::new());
        let (seen, file) = (there.clone(), tempfile::tempfile().unwrap());
        file.set_len(0x1000).unwrap();
        let memory = Memory::new(Box::new(move |_| {
            Ok(seen.get().map(|()| {
                let file = file.try_clone().unwrap();
                Mapping { start: 0, last: 0xfff, access: Access::Both, file, offset: 0 }
            }))
        }));
        assert!(!memory.check_range(GuestAddress(16), 4, Permissions::Read));
        there.set(()).unwrap();
        assert!(memory.check_range(GuestAddress(16), 4, Permissions::Read));
    }

    #[test]
    fn what_is_not_there_or_not_allowed_is_refused() {
        let (memory, _) = memory(PARTS);
        use Permissions::{Read, ReadWrite, Write};
        for (address, len, access, right) in [
            (0x1000, 0x3000, ReadWrite, true),
            (0x1000, 0x3001, Read, false),
            (0xfff, 2, Read, false),
            (0, 1, Read, false),
            (0x8000, 0x1000, Read, true),
            (0x8000, 1, Write, false),
            (0x8000, 1, ReadWrite, false),
            (0xa000, 0x1000, Write, true),
            (0xa000, 1, Read, false),
            (TOP, 0x1000, ReadWrite, true),
            (TOP, 0x1001, Read, false),
            (u64::MAX, 1, Read, true),
            (u64::MAX, usize::MAX, Read, false),
            (0x4000, 0, Read, true),
        ] {
            let found = memory.check_range(GuestAddress(address), len, access);
            assert_eq!(found, right, "{len:#x} bytes at {address:#x}, {access:?}");
        }
    }

    #[test]
    fn a_failed_range_ends_with_its_error() {
        let (memory, _) = memory(PARTS);
        let mut slices = memory.get_slices(GuestAddress(0x3ff0), 0x20, Permissions::Read).unwrap();
        assert_eq!(slices.next().unwrap().unwrap().len(), 0x10);
        assert!(slices.next().unwrap().is_err());
        assert!(slices.next().is_none());
    }

    #[test]
    fn a_source_that_fails_or_lies_is_no_memory() {
        let failing = Memory::new(Box::new(|_| Err(io::Error::from(nix::errno::Errno::EPERM))));
        assert!(!failing.check_range(GuestAddress(0), 1, Permissions::Read));
        let lying = Memory::new(Box::new(|_| {
            let file = tempfile::tempfile().unwrap();
            Ok(Some(Mapping { start: 9, last: 3, access: Access::Both, file, offset: 0 }))
        }));
        assert!(!lying.check_range(GuestAddress(5), 1, Permissions::Read));
        // A part that does not hold the address it was asked for.
        let elsewhere = Memory::new(Box::new(|_| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(0x1000).unwrap();
            Ok(Some(Mapping { start: 0, last: 0xfff, access: Access::Both, file, offset: 0 }))
        }));
        assert!(!elsewhere.check_range(GuestAddress(0x5000), 1, Permissions::Read));
    }
}
