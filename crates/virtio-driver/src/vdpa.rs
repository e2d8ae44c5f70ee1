//! A guest and its VMM on a vDPA device: a front end of the kernel's `/dev/vhost-vdpa-N` with
//! virtqueues, and no machine behind it.

use crate::guest::GuestQueue;
use crate::{Outcome, Placed};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use vhost::vdpa::VhostVdpa;
use vhost::vhost_kern::VhostKernFeatures;
use vhost::vhost_kern::vdpa::VhostKernVdpa;
use vhost::{Error, VhostBackend};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// The bits of a device's status (virtio 1.3, 2.1).
pub mod status {
    /// The driver knows that the device is there.
    pub const ACKNOWLEDGE: u8 = 1;
    /// It knows how to drive it.
    pub const DRIVER: u8 = 2;
    /// It is ready.
    pub const DRIVER_OK: u8 = 4;
    /// Features are chosen.
    pub const FEATURES_OK: u8 = 8;
}

/// A guest, and the VMM that has the device open.
pub struct Vdpa {
    kernel: VhostKernVdpa<Arc<GuestMemoryMmap<()>>>,
    /// The queues.
    pub queues: Vec<GuestQueue>,
    /// What the device offered.
    pub offered: u64,
}

impl std::fmt::Debug for Vdpa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vdpa").field("queues", &self.queues.len()).finish_non_exhaustive()
    }
}

impl Vdpa {
    /// Opens the node, which one user at a time may have, and asks what the device offers. Each
    /// queue has `size` descriptors and an arena of `arena` bytes, a multiple of the page size.
    pub fn open(path: &Path, queues: u16, size: u16, arena: u64) -> Result<Self, Error> {
        let (memory, _) = crate::guest::memory(arena * u64::from(queues));
        let queues = GuestQueue::several(&memory, queues, size, arena);
        let mut kernel = VhostKernVdpa::new(path.to_str().unwrap(), memory)?;
        kernel.set_owner()?;
        let known = kernel.get_backend_features()?;
        kernel.set_backend_features(known)?;
        let offered = kernel.get_features()?;
        Ok(Self { kernel, queues, offered })
    }

    /// Resets the device, and accepts these of the features offered. Says whether the device agrees.
    pub fn accept(&self, bits: u64) -> Result<bool, Error> {
        self.kernel.set_status(0)?;
        self.add_status(status::ACKNOWLEDGE | status::DRIVER)?;
        self.kernel.set_features(self.offered & bits)?;
        self.add_status(status::FEATURES_OK)
    }

    /// Sets bits of the device's status; says whether the device has taken them.
    pub fn add_status(&self, bits: u8) -> Result<bool, Error> {
        let known = self.kernel.get_status()?;
        self.kernel.set_status(known | bits)?;
        Ok(self.kernel.get_status()? == known | bits)
    }

    /// Lets the device see this part of the guest's memory, in bytes and whole pages.
    pub fn share(&self, part: &Range<u64>) -> Result<(), Error> {
        let address = self.queues[0].driver.memory().get_host_address(GuestAddress(part.start));
        self.kernel.dma_map(part.start, part.end - part.start, address.unwrap(), false)
    }

    /// Takes a part away that was shared.
    pub fn unshare(&self, part: &Range<u64>) -> Result<(), Error> {
        self.kernel.dma_unmap(part.start, part.end - part.start)
    }

    /// All of the guest's memory.
    pub fn all(&self) -> Range<u64> {
        0..self.queues.last().unwrap().driver.arena_end
    }

    /// Starts a queue where the device left it.
    pub fn start(&self, number: usize) -> Result<(), Error> {
        let GuestQueue { driver, kick, call, .. } = &self.queues[number];
        self.kernel.set_vring_num(number, driver.size())?;
        self.kernel.set_vring_base(number, driver.used_index())?;
        // The method of this type, not of the trait: the device sees the guest's addresses.
        self.kernel.set_vring_addr(number, &driver.rings(0))?;
        self.kernel.set_vring_call(number, call)?;
        self.kernel.set_vring_kick(number, kick)?;
        self.kernel.set_vring_enable(number, true)
    }

    /// All at once: accepts everything, shares the memory, starts all queues.
    pub fn boot(&self) -> Result<(), Error> {
        let refused = |what| Error::IOError(io::Error::other(what));
        if !self.accept(!0)? {
            return Err(refused("the device does not agree to the features"));
        }
        self.share(&self.all())?;
        (0..self.queues.len()).try_for_each(|number| self.start(number))?;
        match self.add_status(status::DRIVER_OK)? {
            true => Ok(()),
            false => Err(refused("the device does not start")),
        }
    }

    /// What kind of virtio device it is: 2 for a disk.
    pub fn device_id(&self) -> Result<u32, Error> {
        self.kernel.get_device_id()
    }

    /// Bytes of the configuration space.
    pub fn config(&self, offset: u32, size: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; size];
        self.kernel.get_config(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// One request, to its end.
    pub fn ask(
        &mut self,
        number: usize,
        kind: u32,
        sector: u64,
        data: &[u8],
        answer: u32,
    ) -> Outcome {
        self.queues[number].ask(kind, sector, data, answer)
    }

    /// Makes a request available, and tells the device.
    pub fn send(&mut self, number: usize, kind: u32, sector: u64, data: &[u8]) -> Placed {
        let queue = &mut self.queues[number];
        let placed = queue.driver.request(kind, sector, data, 0);
        queue.kick();
        placed
    }
}
