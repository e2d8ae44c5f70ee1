//! The block device past the page cache, and what sysfs and blkzone say of it.

use crate::shape::Shape;
use lab_suite::witness;
use nix::libc::O_DIRECT;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// One zone as blkzone tells it, in bytes; the write pointer from the zone's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneState {
    pub start: u64,
    pub length: u64,
    pub capacity: u64,
    pub written: u64,
    pub condition: u64,
}

pub const NOT_WP: u64 = 0;
pub const EMPTY: u64 = 1;
pub const IMPLICIT: u64 = 2;
pub const EXPLICIT: u64 = 3;
pub const CLOSED: u64 = 4;
pub const FULL: u64 = 14;

/// An open device or file.
pub struct Disk {
    file: File,
}

impl Disk {
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, true)
    }

    pub fn open_read_only(path: &Path) -> io::Result<Self> {
        Self::open_with(path, false)
    }

    fn open_with(path: &Path, write: bool) -> io::Result<Self> {
        let mut how = OpenOptions::new();
        let file = how.read(true).write(write).custom_flags(O_DIRECT).open(path)?;
        Ok(Self { file })
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let buffer = Aligned::of(bytes);
        self.file.write_all_at(buffer.bytes(), offset)
    }

    pub fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buffer = Aligned::new(len);
        self.file.read_exact_at(buffer.bytes_mut(), offset)?;
        Ok(buffer.bytes().to_vec())
    }

    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Memory as O_DIRECT wants it.
struct Aligned {
    memory: Vec<u8>,
    skip: usize,
    len: usize,
}

impl Aligned {
    const TO: usize = 4096;

    fn new(len: usize) -> Self {
        let memory = vec![0; len + Self::TO];
        let skip = memory.as_ptr().align_offset(Self::TO);
        Self { memory, skip, len }
    }

    fn of(bytes: &[u8]) -> Self {
        let mut aligned = Self::new(bytes.len());
        aligned.bytes_mut().copy_from_slice(bytes);
        aligned
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.skip..self.skip + self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.skip..self.skip + self.len]
    }
}

/// All zones.
pub fn zones(device: &Path) -> Vec<ZoneState> {
    let report = witness::blkzone_report(device.to_str().unwrap());
    let state = |[start, length, capacity, pointer, condition]: [u64; 5]| ZoneState {
        start: start * 512,
        length: length * 512,
        capacity: capacity * 512,
        written: pointer * 512,
        condition,
    };
    report.into_iter().map(state).collect()
}

/// `blkzone OPERATION` on `count` zones from `zone` on; the error's text if it is refused.
pub fn manage(
    operation: &str,
    device: &Path,
    shape: &Shape,
    zone: u64,
    count: u64,
) -> Result<(), String> {
    let sectors = |bytes: u64| (bytes / 512).to_string();
    let [offset, length] = [sectors(shape.start(zone)), sectors(count * shape.zone_size)];
    let args = [operation, "-o", &offset, "-l", &length, device.to_str().unwrap()];
    crate::tools::try_run("blkzone", &args).map(drop)
}

/// Empties all zones.
pub fn reset_all(device: &Path) {
    witness::reset_all(device.to_str().unwrap());
}

/// An attribute of the disk, such as `queue/nr_zones`, without the end of the line.
pub fn attribute(device: &Path, name: &str) -> String {
    let path = Path::new("/sys/class/block").join(device.file_name().unwrap()).join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim_end().to_owned()
}

/// A number in sysfs.
pub fn number(device: &Path, name: &str) -> u64 {
    let text = attribute(device, name);
    text.parse().unwrap_or_else(|e| panic!("{name} is '{text}': {e}"))
}
