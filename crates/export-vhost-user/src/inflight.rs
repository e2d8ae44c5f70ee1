//! The record of requests under way, in memory that outlives this process: the front end keeps it,
//! and gives it to the next back end (vhost-user, "Inflight I/O tracking").
//!
//! The record of a queue is a header and an entry for each descriptor. Every field is written alone
//! and in such an order that a process which is killed between any two writes leaves a record that
//! tells the truth.

use crate::guest::map;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use vhost::vhost_user::message::VhostUserInflight;
use vhost::vhost_user::{Error, Result};
use virtio_blk::queue::InFlightLog;
use vm_memory::{AtomicAccess, Bytes, MmapRegion, VolatileMemory};

/// Bytes of a queue's header: features (8), version, number of descriptors, the chain that was
/// given back last, used index (2 each).
const HEADER: usize = 16;
const VERSION: usize = 8;
const DESCRIPTORS: usize = 10;
const LAST: usize = 12;
const USED: usize = 14;
/// Bytes of an entry: in flight (1), padding, next (2), counter (8).
const ENTRY: usize = 16;
const IN_FLIGHT: usize = 0;
const NEXT: usize = 6;
const COUNTER: usize = 8;
/// Records of queues begin at multiples of this.
const ALIGNMENT: usize = 64;

const CURRENT: u16 = 1;

/// The records of all queues.
#[derive(Debug)]
pub(crate) struct Records {
    map: Arc<MmapRegion<()>>,
    queues: u16,
    descriptors: u16,
}

/// The record of one queue.
#[derive(Debug)]
pub(crate) struct Record {
    map: Arc<MmapRegion<()>>,
    start: usize,
    descriptors: u16,
    counter: u64,
}

fn stride(descriptors: u16) -> usize {
    usize::from(descriptors)
        .saturating_mul(ENTRY)
        .saturating_add(HEADER)
        .next_multiple_of(ALIGNMENT)
}

impl Records {
    /// Makes the memory for a new front end: what it keeps, and the file of it.
    pub(crate) fn create(asked: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        let size = stride(asked.queue_size).saturating_mul(asked.num_queues.into());
        let size = u64::try_from(size).map_err(|_| Error::InvalidParam)?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd: OwnedFd =
            memfd_create("requests under way", flags).map_err(|_| Error::MemFdCreateError)?;
        let file = File::from(fd);
        file.set_len(size).map_err(|_| Error::FileTruncateError)?;
        // Whoever shrank it would end the next back end.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(|_| Error::MemFdSealError)?;
        let told = VhostUserInflight::new(size, 0, asked.num_queues, asked.queue_size);
        Ok((told, file))
    }

    /// Maps what a front end kept.
    pub(crate) fn open(told: &VhostUserInflight, file: File) -> Result<Self> {
        let (queues, descriptors) = (told.num_queues, told.queue_size);
        let size = stride(descriptors).saturating_mul(queues.into());
        let size = u64::try_from(size).map_err(|_| Error::InvalidParam)?;
        if told.mmap_size < size {
            return Err(Error::InvalidOperation("the record of requests is too small"));
        }
        let map = map(file, told.mmap_offset, size)?;
        Ok(Self { map: Arc::new(map), queues, descriptors })
    }

    /// The record of a queue of this size.
    pub(crate) fn of(&self, queue: u16, size: u16) -> Result<Record> {
        if queue >= self.queues || size > self.descriptors {
            return Err(Error::InvalidOperation(
                "the record of requests has no room for the queue",
            ));
        }
        let start = stride(self.descriptors).saturating_mul(queue.into());
        Ok(Record { map: Arc::clone(&self.map), start, descriptors: size, counter: 0 })
    }
}

impl Record {
    /// What the record says, now that the used ring's index is this: the chains that were taken and
    /// not given back, in the order in which they were taken.
    pub(crate) fn unfinished(&mut self, used: u16) -> Vec<u16> {
        if self.get::<u16>(VERSION) != CURRENT {
            self.put(DESCRIPTORS, self.descriptors);
            self.put(USED, used);
            self.put(VERSION, CURRENT);
            return Vec::new();
        }
        if self.get::<u16>(USED) != used {
            // Killed after the chain was given back, and before that was recorded.
            let last = self.get::<u16>(LAST);
            if last < self.descriptors {
                self.put_entry(last, IN_FLIGHT, 0_u8);
            }
            self.put(USED, used);
        }
        let mut found: Vec<(u64, u16)> = (0..self.descriptors)
            .filter(|head| self.get_entry::<u8>(*head, IN_FLIGHT) != 0)
            .map(|head| (self.get_entry(head, COUNTER), head))
            .collect();
        found.sort_unstable();
        self.counter = found.last().map_or(0, |(counter, _)| *counter);
        found.into_iter().map(|(_, head)| head).collect()
    }

    fn get<T: AtomicAccess + Default>(&self, at: usize) -> T {
        let at = self.start.saturating_add(at);
        // Within the map, whose size was computed from the same numbers.
        self.map.as_volatile_slice().load(at, Acquire).unwrap_or_default()
    }

    fn put<T: AtomicAccess>(&self, at: usize, value: T) {
        self.put_as(at, value, Release);
    }

    fn put_as<T: AtomicAccess>(&self, at: usize, value: T, order: std::sync::atomic::Ordering) {
        let at = self.start.saturating_add(at);
        // As above.
        let _ = self.map.as_volatile_slice().store(value, at, order);
    }

    fn entry(head: u16, field: usize) -> usize {
        usize::from(head).saturating_mul(ENTRY).saturating_add(HEADER).saturating_add(field)
    }

    fn get_entry<T: AtomicAccess + Default>(&self, head: u16, field: usize) -> T {
        self.get(Self::entry(head, field))
    }

    fn put_entry<T: AtomicAccess>(&self, head: u16, field: usize, value: T) {
        self.put(Self::entry(head, field), value);
    }
}

impl InFlightLog for Record {
    fn taken(&mut self, head: u16) {
        self.counter = self.counter.wrapping_add(1);
        self.put_as(Self::entry(head, COUNTER), self.counter, Relaxed);
        self.put_entry(head, IN_FLIGHT, 1_u8);
    }

    fn giving_back(&mut self, head: u16) {
        self.put_entry(head, NEXT, self.get::<u16>(LAST));
        self.put(LAST, head);
    }

    fn given_back(&mut self, head: u16, used: u16) {
        self.put_entry(head, IN_FLIGHT, 0_u8);
        self.put(USED, used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(told: &VhostUserInflight, file: &File, queue: u16) -> Record {
        Records::open(told, file.try_clone().unwrap()).unwrap().of(queue, 8).unwrap()
    }

    #[test]
    fn what_was_taken_and_not_given_back_is_found_in_order() {
        let (told, file) = Records::create(&VhostUserInflight::new(0, 0, 2, 8)).unwrap();
        let mut first = record(&told, &file, 1);
        assert!(first.unfinished(40).is_empty());
        for head in [5, 2, 7, 0] {
            first.taken(head);
        }
        first.giving_back(2);
        first.given_back(2, 41);
        drop(first);
        assert!(record(&told, &file, 0).unfinished(0).is_empty(), "another queue's");
        let mut next = record(&told, &file, 1);
        assert_eq!(next.unfinished(41), [5, 7, 0]);
        // Taken up again and with new ones behind, it is killed once more.
        next.taken(5);
        next.taken(7);
        next.taken(0);
        next.taken(3);
        assert_eq!(record(&told, &file, 1).unfinished(41), [5, 7, 0, 3]);
    }

    #[test]
    fn killed_at_any_step_of_giving_back_the_record_tells_the_truth() {
        // Before the used ring is written, the chain is unfinished; after, it is not.
        for (steps, used, expected) in
            [(0, 0, vec![4, 6]), (1, 0, vec![4, 6]), (1, 1, vec![6]), (2, 1, vec![6])]
        {
            let (told, file) = Records::create(&VhostUserInflight::new(0, 0, 1, 8)).unwrap();
            let mut record = record(&told, &file, 0);
            record.unfinished(0);
            record.taken(4);
            record.taken(6);
            if steps > 0 {
                record.giving_back(4);
            }
            if steps > 1 {
                record.given_back(4, 1);
            }
            drop(record);
            let mut next = super::tests::record(&told, &file, 0);
            assert_eq!(next.unfinished(used), expected, "{steps} {used}");
            assert_eq!(next.unfinished(used), expected, "a second look says the same");
        }
    }

    #[test]
    fn a_record_that_does_not_fit_is_refused() {
        let (told, file) = Records::create(&VhostUserInflight::new(0, 0, 1, 8)).unwrap();
        let again = || file.try_clone().unwrap();
        let small = VhostUserInflight { mmap_size: 8, ..told };
        assert!(Records::open(&small, again()).is_err());
        let large = VhostUserInflight { num_queues: 100, mmap_size: 1 << 20, ..told };
        assert!(Records::open(&large, again()).is_err(), "larger than its file");
        let shifted = VhostUserInflight { mmap_offset: u64::MAX - 4095, ..told };
        assert!(Records::open(&shifted, again()).is_err());
        let records = Records::open(&told, again()).unwrap();
        assert!(records.of(1, 8).is_err() && records.of(0, 16).is_err());
        assert!(file.set_len(0).is_err(), "nobody can shrink it");
    }
}
