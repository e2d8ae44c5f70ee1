//! Which requests are under way, remembered where the death of this process does not reach.
//!
//! A driver waits for every request that it made, for ever. A process that comes after one that was
//! killed must therefore know which ones those are. The rings do not tell: the place of a request in
//! the available ring may be in use again while it is still under way. So a file in memory, mapped
//! and shared, has a byte for each chain that was taken and not given back.
//!
//! To give a chain back and to note it are two steps, and a kill may come in between. The used ring's
//! index is noted last: where the ring's own has gone on, the chain that was about to be given back
//! was given back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use virtio_blk::queue::InFlightLog;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

/// Where the files are: gone after a boot, as the devices are.
const FOLDER: &str = "/run/zblk";
const MAGIC: u64 = u64::from_le_bytes(*b"zblkvdu1");
/// Bytes before the first queue: the magic number, the number of queues and their size.
const HEADER: usize = 16;
/// Bytes of a queue before its chains: the used index, and the chain about to be given back.
const QUEUE: usize = 4;

/// The file, mapped.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    mapped: Arc<MmapRegion>,
    queues: u16,
    size: u16,
}

/// The part of one queue.
#[derive(Debug)]
pub(crate) struct QueueLog {
    mapped: Arc<MmapRegion>,
    at: usize,
    size: u16,
}

/// The file of a device.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("vduse-{name}"))
}

impl Log {
    /// A new file, in which nothing is under way.
    pub(crate) fn create(path: &Path, queues: u16, size: u16) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut how = OpenOptions::new();
        let file = how.read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(length(queues, size))?;
        let log = Self::map(file, queues, size)?;
        let header = u32::from(queues) | u32::from(size) << 16;
        log.mapped.write(8, header.to_le_bytes())?;
        // Last: a file without it is none.
        log.mapped.write(0, MAGIC.to_le_bytes())?;
        Ok(log)
    }

    /// The file of a process that was killed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let odd = || io::Error::new(io::ErrorKind::InvalidData, "it is no file of ours");
        let bytes = fs::read(path)?;
        let head: [u8; HEADER] = *bytes.first_chunk().ok_or_else(odd)?;
        let [m0, m1, m2, m3, m4, m5, m6, m7, q0, q1, s0, s1, ..] = head;
        let magic = u64::from_le_bytes([m0, m1, m2, m3, m4, m5, m6, m7]);
        let (queues, size) = (u16::from_le_bytes([q0, q1]), u16::from_le_bytes([s0, s1]));
        let whole = u64::try_from(bytes.len()).is_ok_and(|len| len == length(queues, size));
        if magic != MAGIC || !whole {
            return Err(odd());
        }
        Self::map(file, queues, size)
    }

    fn map(file: File, queues: u16, size: u16) -> io::Result<Self> {
        use nix::libc::{MAP_SHARED, PROT_READ, PROT_WRITE};
        let len = usize::try_from(length(queues, size)).map_err(io::Error::other)?;
        let mapped = MmapRegionBuilder::new(len)
            .with_file_offset(FileOffset::new(file, 0))
            .with_mmap_prot(PROT_READ | PROT_WRITE)
            .with_mmap_flags(MAP_SHARED)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { mapped: Arc::new(mapped), queues, size })
    }

    /// The part of a queue, if there is such a queue.
    pub(crate) fn queue(&self, index: u16) -> Option<QueueLog> {
        let each = QUEUE.checked_add(self.size.into())?;
        let at = each.checked_mul(index.into())?.checked_add(HEADER)?;
        let (mapped, size) = (Arc::clone(&self.mapped), self.size);
        (index < self.queues).then_some(QueueLog { mapped, at, size })
    }
}

fn length(queues: u16, size: u16) -> u64 {
    let each = u64::from(size).saturating_add(4);
    u64::from(queues).saturating_mul(each).saturating_add(16)
}

/// Bytes in and out of a mapping, at places that are all within it.
trait Cells {
    fn write<const N: usize>(&self, at: usize, bytes: [u8; N]) -> io::Result<()>;
    fn read<const N: usize>(&self, at: usize) -> [u8; N];
}

impl Cells for MmapRegion {
    fn write<const N: usize>(&self, at: usize, bytes: [u8; N]) -> io::Result<()> {
        self.as_volatile_slice().write_slice(&bytes, at).map_err(io::Error::other)
    }

    fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        // Outside of it there is nothing.
        let _ = self.as_volatile_slice().read_slice(&mut bytes, at);
        bytes
    }
}

impl QueueLog {
    /// Forgets everything: the driver starts the queue, and this is the used ring's index.
    pub(crate) fn begin(&self, used: u16) {
        for head in 0..self.size {
            self.mark(head, false);
        }
        self.put(0, used);
    }

    /// The chains that were taken and not given back, where the used ring's index is this.
    pub(crate) fn unfinished(&self, used: u16) -> Vec<u16> {
        let (noted, last) = (self.get(0), self.get(2));
        if noted != used {
            self.mark(last, false);
            self.put(0, used);
        }
        (0..self.size).filter(|&head| self.mapped.read(self.cell(head)) != [0]).collect()
    }

    fn cell(&self, head: u16) -> usize {
        self.at.saturating_add(QUEUE).saturating_add(head.into())
    }

    fn mark(&self, head: u16, under_way: bool) {
        if head < self.size {
            // It is within the mapping.
            let _ = self.mapped.write(self.cell(head), [u8::from(under_way)]);
        }
    }

    fn put(&self, field: usize, value: u16) {
        let _ = self.mapped.write(self.at.saturating_add(field), value.to_le_bytes());
    }

    fn get(&self, field: usize) -> u16 {
        u16::from_le_bytes(self.mapped.read(self.at.saturating_add(field)))
    }
}

impl InFlightLog for QueueLog {
    fn taken(&mut self, head: u16) {
        self.mark(head, true);
    }

    fn giving_back(&mut self, head: u16) {
        self.put(2, head);
    }

    fn given_back(&mut self, head: u16, used: u16) {
        self.mark(head, false);
        self.put(0, used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, PathBuf, Log) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/log");
        let log = Log::create(&path, 2, 8).unwrap();
        (folder, path, log)
    }

    #[test]
    fn what_was_taken_and_not_given_back_is_known_to_the_next_process() {
        let (_folder, path, log) = log();
        let mut queue = log.queue(1).unwrap();
        queue.begin(65534);
        for head in [3, 0, 7] {
            queue.taken(head);
        }
        queue.giving_back(0);
        queue.given_back(0, 65535);
        drop((queue, log));
        let log = Log::open(&path).unwrap();
        assert_eq!(log.queue(1).unwrap().unfinished(65535), [3, 7]);
        assert_eq!(log.queue(0).unwrap().unfinished(0), [0_u16; 0]);
        assert!(log.queue(2).is_none());
    }

    #[test]
    fn a_kill_within_giving_back_is_no_doubt() {
        for step in 0..4 {
            let (_folder, path, log) = log();
            let mut queue = log.queue(0).unwrap();
            queue.begin(10);
            queue.taken(2);
            queue.taken(5);
            // The ring's own index moves between the two calls.
            let mut ring = 10;
            if step > 0 {
                queue.giving_back(5);
            }
            if step > 1 {
                ring = 11;
            }
            if step > 2 {
                queue.given_back(5, 11);
            }
            let found = Log::open(&path).unwrap().queue(0).unwrap().unfinished(ring);
            assert_eq!(found, if step > 1 { vec![2] } else { vec![2, 5] }, "step {step}");
            // Asked again, it says the same.
            assert_eq!(log.queue(0).unwrap().unfinished(ring), found);
        }
    }

    #[test]
    fn a_started_queue_has_nothing_under_way() {
        let (_folder, _, log) = log();
        let mut queue = log.queue(0).unwrap();
        queue.taken(1);
        queue.begin(4);
        assert_eq!(queue.unfinished(4), [0_u16; 0]);
        // Numbers that a broken ring may have are nowhere.
        queue.taken(8);
        queue.taken(u16::MAX);
        queue.giving_back(u16::MAX);
        assert_eq!(queue.unfinished(5), [0_u16; 0]);
        assert_eq!(log.queue(1).unwrap().unfinished(0), [0_u16; 0]);
    }

    #[test]
    fn another_file_is_refused() {
        let (_folder, path, _log) = log();
        for bytes in [&b"short"[..], &[0; 40], b"zblkvdu1\x01\0\x08\0"] {
            fs::write(&path, bytes).unwrap();
            assert!(Log::open(&path).is_err());
        }
        assert!(Log::open(Path::new("/nonexistent/log")).is_err());
    }
}
