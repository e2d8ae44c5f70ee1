//! For tests: the driver's side of a virtio-blk queue, which does as it is told, right or wrong.
//! And two front ends with such queues, VMMs without a machine: a [`Guest`] of vhost-user, and a
//! [`Vdpa`] of the kernel's `vhost_vdpa`.
//!
//! A [`Driver`] owns one split virtqueue and an arena in a guest's memory. [`Driver::request`] lays
//! a well-formed request out; [`Driver::publish`] and the raw parts make any other.
#![forbid(unsafe_code)]
// Only tests use it, and a panic there is the failure report.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod guest;
mod request;
mod vdpa;

pub use guest::{Guest, GuestQueue, PROTOCOL_FEATURES, USER};
pub use request::{kind, told};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
pub use vdpa::{Vdpa, status};
use vhost::VringConfigData;
pub use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// The flags of a descriptor.
pub mod flags {
    /// Another descriptor follows.
    pub const NEXT: u16 = 1;
    /// The device writes it.
    pub const WRITE: u16 = 2;
    /// It refers to a table of descriptors.
    pub const INDIRECT: u16 = 4;
}

/// What a request was given for its data.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The chain's first descriptor.
    pub head: u16,
    /// Where the device puts its data.
    pub answer: u64,
    /// Bytes of it.
    pub answer_len: u32,
    /// Where the device puts the status.
    pub status: u64,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The status byte.
    pub status: u8,
    /// The device's data.
    pub data: Vec<u8>,
    /// The length in the used ring.
    pub written: u32,
}

/// The driver's side of one queue.
#[derive(Debug)]
pub struct Driver {
    memory: Arc<GuestMemoryMmap<()>>,
    base: u64,
    size: u16,
    next_desc: u16,
    arena: u64,
    arena_end: u64,
    arena_next: u64,
    available: u16,
    seen: u16,
}

/// No status was written: tests put it there before.
pub const UNTOUCHED: u8 = 0xee;

impl Driver {
    /// A queue of `size` descriptors with its rings at `base`, and an arena for data from there to
    /// `end`. The memory there must be zero.
    pub fn new(memory: Arc<GuestMemoryMmap<()>>, base: u64, end: u64, size: u16) -> Self {
        let mut driver = Self {
            memory,
            base,
            size,
            next_desc: 0,
            arena: 0,
            arena_end: end,
            arena_next: 0,
            available: 0,
            seen: 0,
        };
        driver.arena = (driver.used() + 8 + 8 * u64::from(size)).next_multiple_of(4096);
        driver.arena_next = driver.arena;
        driver
    }

    /// Address of the descriptor table.
    pub fn table(&self) -> u64 {
        self.base
    }

    /// Address of the available ring.
    pub fn available(&self) -> u64 {
        self.base + 16 * u64::from(self.size)
    }

    /// Address of the used ring.
    pub fn used(&self) -> u64 {
        (self.available() + 6 + 2 * u64::from(self.size)).next_multiple_of(4)
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where the rings are for whoever sees the guest's memory from `base` on.
    pub fn rings(&self, base: u64) -> VringConfigData {
        VringConfigData {
            queue_max_size: self.size,
            queue_size: self.size,
            flags: 0,
            desc_table_addr: base + self.table(),
            used_ring_addr: base + self.used(),
            avail_ring_addr: base + self.available(),
            log_addr: None,
        }
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemoryMmap<()> {
        &self.memory
    }

    /// The used index as the device left it.
    pub fn used_index(&self) -> u16 {
        self.memory.load(GuestAddress(self.used() + 2), Ordering::Acquire).unwrap()
    }

    /// The available index.
    pub fn available_index(&self) -> u16 {
        self.available
    }

    /// Forgets all data, and begins with descriptor 0 again. Nothing may be under way.
    pub fn rewind(&mut self) {
        self.arena_next = self.arena;
        self.next_desc = 0;
    }

    /// Room for `len` bytes, aligned to `align`.
    pub fn place(&mut self, len: u64, align: u64) -> u64 {
        let at = self.arena_next.next_multiple_of(align);
        self.arena_next = at + len;
        assert!(self.arena_next <= self.arena_end, "the arena is full");
        at
    }

    /// Writes one descriptor of the table.
    pub fn set(&self, index: u16, descriptor: Descriptor) {
        self.memory.write_obj(descriptor, GuestAddress(self.base + 16 * u64::from(index))).unwrap();
    }

    /// Chains pieces (address, length, flags without NEXT) in the table; returns the head. Pieces
    /// are not checked in any way.
    pub fn chain(&mut self, pieces: &[(u64, u32, u16)]) -> u16 {
        let head = self.next_desc;
        for (i, &(addr, len, flags)) in pieces.iter().enumerate() {
            let index = self.next_desc;
            assert!(index < self.size, "no descriptor is left");
            self.next_desc += 1;
            let more = if i + 1 < pieces.len() { flags::NEXT } else { 0 };
            self.set(index, Descriptor::new(addr, len, flags | more, index + 1));
        }
        head
    }

    /// The same in an indirect table: one descriptor of the queue's table.
    pub fn indirect(&mut self, pieces: &[(u64, u32, u16)]) -> u16 {
        let table = self.place(16 * pieces.len() as u64, 16);
        for (i, &(addr, len, flags)) in pieces.iter().enumerate() {
            let more = if i + 1 < pieces.len() { flags::NEXT } else { 0 };
            let descriptor = Descriptor::new(addr, len, flags | more, i as u16 + 1);
            self.memory.write_obj(descriptor, GuestAddress(table + 16 * i as u64)).unwrap();
        }
        self.chain(&[(table, 16 * pieces.len() as u32, flags::INDIRECT)])
    }

    /// Makes a chain available.
    pub fn publish(&mut self, head: u16) {
        let slot = u64::from(self.available % self.size);
        self.memory
            .store(head, GuestAddress(self.available() + 4 + 2 * slot), Ordering::Relaxed)
            .unwrap();
        self.available = self.available.wrapping_add(1);
        self.set_available(self.available);
    }

    /// Sets the available index, whatever it means.
    pub fn set_available(&mut self, index: u16) {
        self.available = index;
        self.memory.store(index, GuestAddress(self.available() + 2), Ordering::Release).unwrap();
        fence(Ordering::SeqCst);
    }

    /// The header of a request.
    pub fn header(&mut self, kind: u32, sector: u64) -> u64 {
        let at = self.place(16, 16);
        self.write(at, &kind.to_le_bytes());
        self.write(at + 4, &[0; 4]);
        self.write(at + 8, &sector.to_le_bytes());
        at
    }

    /// Lays a request out as the standard says: header and `data` to read, room for `answer` bytes
    /// and the status to write. It is not available yet.
    pub fn lay_out(&mut self, kind: u32, sector: u64, data: &[u8], answer: u32) -> Placed {
        self.lay_out_with(kind, sector, data, answer, Self::chain)
    }

    /// The same, with the descriptors laid by `lay`: [`chain`](Self::chain) or
    /// [`indirect`](Self::indirect).
    pub fn lay_out_with(
        &mut self,
        kind: u32,
        sector: u64,
        data: &[u8],
        answer: u32,
        lay: impl FnOnce(&mut Self, &[(u64, u32, u16)]) -> u16,
    ) -> Placed {
        let header = self.header(kind, sector);
        let mut pieces = vec![(header, 16, 0)];
        if !data.is_empty() {
            let at = self.place(data.len() as u64, 512);
            self.write(at, data);
            pieces.push((at, data.len() as u32, 0));
        }
        let room = self.place(answer.into(), 512);
        if answer > 0 {
            pieces.push((room, answer, flags::WRITE));
        }
        let status = self.place(1, 1);
        self.write(status, &[UNTOUCHED]);
        pieces.push((status, 1, flags::WRITE));
        let head = lay(self, &pieces);
        Placed { head, answer: room, answer_len: answer, status }
    }

    /// Lays a request out and makes it available.
    pub fn request(&mut self, kind: u32, sector: u64, data: &[u8], answer: u32) -> Placed {
        let placed = self.lay_out(kind, sector, data, answer);
        self.publish(placed.head);
        placed
    }

    /// The next chain that came back: its head and the length told.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        if self.seen == self.used_index() {
            return None;
        }
        let at = self.used() + 4 + 8 * u64::from(self.seen % self.size);
        let element: [u32; 2] = [
            self.memory.read_obj(GuestAddress(at)).unwrap(),
            self.memory.read_obj(GuestAddress(at + 4)).unwrap(),
        ];
        self.seen = self.seen.wrapping_add(1);
        Some((element[0] as u16, element[1]))
    }

    /// What a request that came back says.
    pub fn outcome(&self, placed: &Placed, written: u32) -> Outcome {
        Outcome {
            status: self.read(placed.status, 1)[0],
            data: self.read(placed.answer, placed.answer_len as usize),
            written,
        }
    }

    /// Says from which used index on the device shall notify (event indices).
    pub fn set_used_event(&self, index: u16) {
        let at = self.available() + 4 + 2 * u64::from(self.size);
        self.memory.store(index, GuestAddress(at), Ordering::Release).unwrap();
    }

    /// Bytes of the guest's memory.
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// Changes the guest's memory.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }
}
