//! A guest and its VMM: a front end of vhost-user with virtqueues, and no machine behind it.

use crate::{Driver, Outcome, Placed};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserInflight};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{Error, VhostBackend, VhostUserMemoryRegionInfo};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Where the guest's memory lies for the front end: another place than for the guest.
pub const USER: u64 = 0x7000_0000_0000;

/// The bit by which front ends and back ends know protocol features.
pub const PROTOCOL_FEATURES: u64 = 1 << 30;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// One queue of a guest.
#[derive(Debug)]
pub struct GuestQueue {
    /// The driver's side.
    pub driver: Driver,
    /// By which the driver tells the device.
    pub kick: EventFd,
    /// By which the device tells the driver.
    pub call: EventFd,
    /// By which the device says that the queue is dead.
    pub error: EventFd,
}

/// A guest, and the front end that connects it.
pub struct Guest {
    /// The connection, to say anything else.
    pub frontend: Frontend,
    /// The queues.
    pub queues: Vec<GuestQueue>,
    /// What the device offered.
    pub offered: u64,
    file: File,
    bytes: u64,
    /// The record of requests under way.
    pub record: Option<(VhostUserInflight, File)>,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest").field("queues", &self.queues.len()).finish_non_exhaustive()
    }
}

fn event() -> EventFd {
    EventFd::new(EFD_NONBLOCK).unwrap()
}

/// A guest's memory of this many bytes, and the file in which it is: others map it.
pub(crate) fn memory(bytes: u64) -> (Arc<GuestMemoryMmap<()>>, File) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes).unwrap();
    let range =
        (GuestAddress(0), bytes as usize, Some(FileOffset::new(file.try_clone().unwrap(), 0)));
    let memory = GuestMemoryMmap::from_ranges_with_files([range]).unwrap();
    (Arc::new(memory), file)
}

impl Guest {
    /// Connects, and asks what the device offers. Each queue has `size` descriptors and an arena of
    /// `arena` bytes.
    pub fn connect(path: &Path, queues: u16, size: u16, arena: u64) -> Result<Self, Error> {
        let bytes = arena * u64::from(queues);
        let (memory, file) = memory(bytes);
        let queues = GuestQueue::several(&memory, queues, size, arena);
        let frontend = greet(path)?;
        let mut guest = Self { frontend, queues, offered: 0, file, bytes, record: None };
        guest.offered = guest.frontend.get_features()?;
        Ok(guest)
    }

    /// Connects anew, as a front end does whose back end is gone: the guest does not notice.
    pub fn reconnect(&mut self, path: &Path) -> Result<(), Error> {
        self.frontend = greet(path)?;
        self.offered = self.frontend.get_features()?;
        Ok(())
    }

    /// Accepts these of the features offered.
    pub fn accept(&mut self, bits: u64) -> Result<(), Error> {
        self.frontend.set_features((self.offered & bits) | PROTOCOL_FEATURES)?;
        let protocol = self.frontend.get_protocol_features()?;
        self.frontend.set_protocol_features(protocol)?;
        // From now on every message is answered.
        self.frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        self.frontend.set_features((self.offered & bits) | PROTOCOL_FEATURES)
    }

    /// Asks for a record of requests under way, or gives back the one from before.
    pub fn keep_record(&mut self) -> Result<(), Error> {
        let size = self.queues[0].driver.size();
        if self.record.is_none() {
            let asked = VhostUserInflight::new(0, 0, self.queues.len() as u16, size);
            self.record = Some(self.frontend.get_inflight_fd(&asked)?);
        }
        let (told, file) = self.record.as_ref().unwrap();
        self.frontend.set_inflight_fd(told, file.as_raw_fd())
    }

    /// Shares the guest's memory.
    pub fn share(&mut self) -> Result<(), Error> {
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: self.bytes,
            userspace_addr: USER,
            mmap_offset: 0,
            mmap_handle: self.file.as_raw_fd(),
        };
        self.frontend.set_mem_table(&[region]).map(drop)
    }

    /// Starts a queue at this position of the available ring.
    pub fn start_at(&mut self, number: usize, base: u16) -> Result<(), Error> {
        let GuestQueue { driver, kick, call, error } = &self.queues[number];
        let frontend = &mut self.frontend;
        frontend.set_vring_num(number, driver.size())?;
        frontend.set_vring_base(number, base)?;
        frontend.set_vring_addr(number, &driver.rings(USER))?;
        frontend.set_vring_call(number, call)?;
        frontend.set_vring_err(number, error)?;
        frontend.set_vring_kick(number, kick)?;
        frontend.set_vring_enable(number, true)
    }

    /// Starts a queue where the device left it.
    pub fn start(&mut self, number: usize) -> Result<(), Error> {
        let base = self.queues[number].driver.used_index();
        self.start_at(number, base)
    }

    /// All at once: accepts everything, shares the memory, starts all queues.
    pub fn boot(&mut self) -> Result<(), Error> {
        self.accept(!0)?;
        self.share()?;
        (0..self.queues.len()).try_for_each(|number| self.start(number))
    }

    /// The same with a record of requests under way, new or from before.
    pub fn boot_with_record(&mut self) -> Result<(), Error> {
        self.accept(!0)?;
        self.share()?;
        self.keep_record()?;
        (0..self.queues.len()).try_for_each(|number| self.start(number))
    }

    /// Stops a queue; returns the position up to which requests were taken.
    pub fn stop(&mut self, number: usize) -> Result<u32, Error> {
        self.frontend.get_vring_base(number)
    }

    /// Bytes of the configuration space.
    pub fn config(&mut self, offset: u32, size: u32) -> Result<Vec<u8>, Error> {
        let flags = VhostUserConfigFlags::WRITABLE;
        let room = vec![0; size as usize];
        self.frontend.get_config(offset, size, flags, &room).map(|(_, bytes)| bytes)
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
}

fn greet(path: &Path) -> Result<Frontend, Error> {
    let frontend = Frontend::connect(path, 256)?;
    frontend.set_owner()?;
    Ok(frontend)
}

impl GuestQueue {
    /// As many as this, side by side in the guest's memory, each with `arena` bytes of it.
    pub(crate) fn several(
        memory: &Arc<GuestMemoryMmap<()>>,
        count: u16,
        size: u16,
        arena: u64,
    ) -> Vec<Self> {
        (0..u64::from(count))
            .map(|i| Self {
                driver: Driver::new(Arc::clone(memory), i * arena, (i + 1) * arena, size),
                kick: event(),
                call: event(),
                error: event(),
            })
            .collect()
    }

    /// One request, to its end.
    pub fn ask(&mut self, kind: u32, sector: u64, data: &[u8], answer: u32) -> Outcome {
        self.driver.rewind();
        let placed = self.driver.request(kind, sector, data, answer);
        self.outcome(&placed)
    }

    /// Tells the device that there is something.
    pub fn kick(&self) {
        self.kick.write(1).unwrap();
    }

    /// Waits for the next chain that comes back.
    pub fn used(&mut self) -> (u16, u32) {
        wait_for("nothing came back", || self.driver.take_used())
    }

    /// Kicks, waits for this request alone, and says what came of it.
    pub fn outcome(&mut self, placed: &Placed) -> Outcome {
        self.kick();
        let (head, written) = self.used();
        assert_eq!(head, placed.head);
        self.driver.outcome(placed, written)
    }

    /// Waits until the device says that the queue is dead.
    pub fn dies(&self) {
        wait_for("the queue lives", || self.error.read().ok());
    }
}

/// Looks until there is something. Time in which the machine is stopped does not count.
fn wait_for<T>(failure: &str, mut look: impl FnMut() -> Option<T>) -> T {
    const LOOK: Duration = Duration::from_micros(200);
    let mut waited = Duration::ZERO;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(waited < PATIENCE, "{failure}");
        std::thread::sleep(LOOK);
        waited += LOOK;
    }
}
