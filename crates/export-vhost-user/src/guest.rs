//! The memory that a front end shares.

use std::fs::File;
use std::sync::Arc;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vhost::vhost_user::{Error, Result};
use vm_memory::{
    Address, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap, MmapRegion,
};

/// The guest's memory at one moment. A change makes a new one; requests keep theirs.
pub(crate) type Memory = GuestMemoryMmap<()>;

/// The most regions that a front end may share.
pub(crate) const MAX_REGIONS: usize = 256;

/// Where a region lies in the front end's own address space, by which it names the rings.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    user: u64,
    guest: u64,
    size: u64,
}

/// What a front end has shared so far.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    memory: Arc<Memory>,
    mappings: Vec<Mapping>,
}

impl Guest {
    /// Maps regions, instead of all that were.
    pub(crate) fn from_regions(
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
    ) -> Result<Self> {
        let mut guest = Self::default();
        for (region, file) in regions.iter().zip(files) {
            guest.add(region, file)?;
        }
        Ok(guest)
    }

    /// The memory as it is now.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Whether nothing is shared.
    pub(crate) fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// Maps one more region.
    pub(crate) fn add(&mut self, region: &VhostUserMemoryRegion, file: File) -> Result<()> {
        let VhostUserMemoryRegion { guest_phys_addr, memory_size, user_addr, mmap_offset, .. } =
            *region;
        if self.mappings.len() >= MAX_REGIONS {
            return Err(Error::InvalidOperation("more memory regions than there are slots"));
        }
        let mapped = map(file, mmap_offset, memory_size)?;
        let mapped = GuestRegionMmap::new(mapped, GuestAddress(guest_phys_addr))
            .ok_or(Error::InvalidParam)?;
        let memory = self
            .memory
            .insert_region(Arc::new(mapped))
            .map_err(|_| Error::InvalidOperation("memory regions overlap"))?;
        self.memory = Arc::new(memory);
        let mapping = Mapping { user: user_addr, guest: guest_phys_addr, size: memory_size };
        self.mappings.push(mapping);
        Ok(())
    }

    /// Forgets a region; requests under way keep it mapped until they end.
    pub(crate) fn remove(&mut self, guest: u64, size: u64) -> Result<()> {
        let (memory, _) = self
            .memory
            .remove_region(GuestAddress(guest), size)
            .map_err(|_| Error::InvalidOperation("no such memory region"))?;
        self.memory = Arc::new(memory);
        self.mappings.retain(|mapping| mapping.guest != guest);
        Ok(())
    }

    /// The guest's address of an address of the front end.
    pub(crate) fn translate(&self, user: u64) -> Option<GuestAddress> {
        self.mappings.iter().find_map(|mapping| {
            let offset = user.checked_sub(mapping.user).filter(|offset| *offset < mapping.size)?;
            Some(GuestAddress(mapping.guest.checked_add(offset)?))
        })
    }

    /// Bytes shared.
    pub(crate) fn len(&self) -> u64 {
        self.memory.iter().map(GuestMemoryRegion::len).sum()
    }

    /// The highest address, to show.
    pub(crate) fn last(&self) -> u64 {
        if self.is_empty() { 0 } else { self.memory.last_addr().raw_value() }
    }
}

/// Maps a part of a front end's file, shared with it. A part that reaches past the file's end is
/// refused: an access to what is not there would end the process.
pub(crate) fn map(file: File, offset: u64, size: u64) -> Result<MmapRegion<()>> {
    let meta = file.metadata().map_err(Error::ReqHandlerError)?;
    let end = offset.checked_add(size).ok_or(Error::InvalidParam)?;
    // What is no file of its own, such as a device's memory, has no length to compare.
    if meta.is_file() && end > meta.len() {
        return Err(Error::InvalidOperation("memory that reaches past its file's end"));
    }
    let size = usize::try_from(size).map_err(|_| Error::InvalidParam)?;
    MmapRegion::from_file(FileOffset::new(file, offset), size)
        .map_err(|error| Error::ReqHandlerError(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    fn file(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn regions_come_and_go_and_requests_keep_what_they_have() {
        let region = |guest, user| VhostUserMemoryRegion::new(guest, 0x2000, user, 0x1000);
        let mut guest = Guest::from_regions(&[region(0, 0x7000_0000)], vec![file(0x3000)]).unwrap();
        assert_eq!(guest.translate(0x7000_1fff), Some(GuestAddress(0x1fff)));
        assert_eq!(guest.translate(0x7000_2000), None);
        assert_eq!(guest.translate(0x6fff_ffff), None);
        guest.add(&region(0x10000, 0x9000_0000), file(0x3000)).unwrap();
        assert_eq!(guest.translate(0x9000_0010), Some(GuestAddress(0x10010)));
        let before = Arc::clone(guest.memory());
        guest.remove(0, 0x2000).unwrap();
        assert_eq!(guest.translate(0x7000_0000), None);
        assert!(guest.memory().read_obj::<u8>(GuestAddress(0)).is_err());
        before.write_obj(1_u8, GuestAddress(0)).unwrap();
        assert!(guest.remove(0, 0x2000).is_err());
        assert_eq!((guest.len(), guest.last()), (0x2000, 0x11fff));
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        let region = VhostUserMemoryRegion::new(0, 0x2000, 0, 0);
        assert!(Guest::from_regions(&[region], vec![file(0x1000)]).is_err(), "a short file");
        let beyond = VhostUserMemoryRegion::new(0, 0x1000, 0, u64::MAX - 0xfff);
        assert!(Guest::from_regions(&[beyond], vec![file(0x1000)]).is_err());
        let both = [region, region];
        assert!(Guest::from_regions(&both, vec![file(0x2000), file(0x2000)]).is_err(), "overlap");
        let high = VhostUserMemoryRegion::new(u64::MAX - 0x1000, 0x2000, 0, 0);
        assert!(Guest::from_regions(&[high], vec![file(0x2000)]).is_err());
        let mut guest = Guest::default();
        for i in 0..256 {
            let region = VhostUserMemoryRegion::new(i * 0x1000, 0x1000, i * 0x1000, 0);
            guest.add(&region, file(0x1000)).unwrap();
        }
        let one_more = VhostUserMemoryRegion::new(256 * 0x1000, 0x1000, 0, 0);
        assert!(guest.add(&one_more, file(0x1000)).is_err());
    }
}
