//! From a path to an open device whose sizes and zones are known. Blocks.

use crate::alignment::{self, Alignment};
use crate::error::{described, invalid};
use crate::file::kind;
use crate::file::open::{busy, lock, stat};
use crate::open_file::OpenFile;
use crate::sys::{self, Access, FileKind, LockMode};
use crate::sysfs::{self, Queue, ZonedQueue};
use block_core::{BufferPool, Error, ErrorKind, Limits, Result};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The ways to open a device that options decide about.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub read_only: bool,
    pub direct: bool,
    pub locking: bool,
}

/// An open device and what is known about it.
#[derive(Debug)]
pub(super) struct Opened {
    pub name: String,
    pub file: OpenFile,
    pub how: How,
    /// In bytes.
    pub size: u64,
    pub block_size: u32,
    pub max_transfer: u32,
    /// The largest single command in bytes; 0 if it is not known.
    pub max_command: u64,
    pub discards: bool,
    pub zoned: Option<ZonedQueue>,
}

pub(super) fn open(path: &Path, how: How, pool: BufferPool) -> Result<Opened> {
    let name = path.display().to_string();
    let fd = open_device(path, &name, how)?;
    let ask = |what: &str, e| described(&format!("cannot ask for the {what} of '{name}'"), e);
    if how.locking {
        let mode = match how.read_only {
            true => LockMode::Shared,
            false => LockMode::Exclusive,
        };
        lock(fd.as_fd(), &name, mode, "if nobody else uses it, open it with locking=off")?;
    }
    let numbers = sys::device_numbers(&fd).map_err(|e| ask("numbers", e))?;
    let queue = Queue::of(Path::new(sysfs::ROOT), numbers.0, numbers.1);
    let size = sys::block_device_size(&fd).map_err(|e| ask("size", e))?;
    let block_size = sys::logical_block_size(&fd).map_err(|e| ask("block size", e))?;
    let block_size = checked_block_size(&name, block_size, sys::physical_block_size(&fd).ok())?;
    let zoned = zones(&fd, &name, &queue)?;
    if let Some(zoned) = &zoned {
        demand_direct(&name, how)?;
        check_count(&name, zoned, size, queue.is_partition())?;
    }
    let alignment = match how.direct {
        true => direct_alignment(&fd, &name, block_size)?,
        false => Alignment::ANY,
    };
    let max_transfer = u32::try_from(queue.max_transfer()).unwrap_or(u32::MAX);
    let max_transfer =
        max_transfer.saturating_sub(max_transfer.checked_rem(block_size).unwrap_or(0));
    let mut file = OpenFile::of_device(fd, how.locking, alignment, size, pool);
    file.joins = zoned.is_none();
    Ok(Opened {
        file,
        name,
        how,
        size,
        block_size,
        max_transfer,
        max_command: queue.max_command(),
        discards: queue.discards(),
        zoned,
    })
}

/// Opens what is a block device, and nothing else.
fn open_device(path: &Path, name: &str, how: How) -> Result<OwnedFd> {
    let found =
        std::fs::metadata(path).map_err(|e| described(&format!("cannot open '{name}'"), e))?;
    must_be_block_device(kind::of_type(found.file_type()), name)?;
    let access = Access { write: !how.read_only, direct: how.direct };
    let exclusive = how.locking && !how.read_only;
    let fd = sys::open_block_device(path, access, exclusive)
        .map_err(|e| explain_open(path, name, how, e))?;
    // It may be something else by now.
    must_be_block_device(stat(fd.as_fd(), name)?.kind, name)?;
    if !how.read_only && sys::is_read_only(&fd).unwrap_or(false) {
        return Err(write_protected(name));
    }
    sys::clear_nonblock(&fd).map_err(|e| described(&format!("cannot set up '{name}'"), e))?;
    Ok(fd)
}

fn must_be_block_device(kind: FileKind, name: &str) -> Result<()> {
    let what = match kind {
        FileKind::BlockDevice => return Ok(()),
        FileKind::Regular => {
            return Err(invalid(format!("'{name}' is a regular file; use driver=file for it")));
        }
        FileKind::Directory => "a directory",
        FileKind::CharacterDevice => "a character device",
        FileKind::Fifo => "a FIFO",
        FileKind::Socket => "a socket",
        FileKind::Other => "no block device",
    };
    Err(invalid(format!("'{name}' is {what}; give the path of a block device")))
}

fn explain_open(path: &Path, name: &str, how: How, error: io::Error) -> Error {
    let cannot = format!("cannot open '{name}'");
    match error.kind() {
        io::ErrorKind::ResourceBusy => busy(
            name,
            "it is mounted, or another device or program holds it; look with `lsblk`, or open it \
             with read-only=on",
        ),
        io::ErrorKind::InvalidInput if how.direct => alignment::refused(name),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !how.read_only => {
            let access = Access { write: false, direct: false };
            match sys::open_block_device(path, access, false) {
                Ok(fd) if sys::is_read_only(&fd).unwrap_or(false) => write_protected(name),
                Ok(_) => {
                    let advice = "for writing (read-only=on opens it for reading)";
                    described(&format!("{cannot} {advice}"), error)
                }
                Err(_) => not_permitted(&cannot, error),
            }
        }
        io::ErrorKind::PermissionDenied => not_permitted(&cannot, error),
        _ => described(&cannot, error),
    }
}

fn not_permitted(cannot: &str, error: io::Error) -> Error {
    let advice = "`ls -l` shows which user and group may, often root and disk";
    described(&format!("{cannot} ({advice})"), error)
}

fn write_protected(name: &str) -> Error {
    const EROFS: i32 = 30;
    let message =
        format!("the device '{name}' takes no writes (read-only=on opens it for reading)");
    described(&message, io::Error::from_raw_os_error(EROFS))
}

fn checked_block_size(name: &str, logical: u32, physical: Option<u32>) -> Result<u32> {
    if logical.is_power_of_two() && (512..=1 << 20).contains(&logical) {
        return Ok(logical);
    }
    let physical = physical.map_or_else(String::new, |p| format!(" (physical: {p})"));
    Err(ErrorKind::InvalidDevice(format!(
        "'{name}' says that its blocks have {logical} bytes{physical}; a power of two from 512 on \
         was expected"
    ))
    .into())
}

/// A direct transfer is at least a block, whatever else is said.
fn direct_alignment(fd: &OwnedFd, name: &str, block_size: u32) -> Result<Alignment> {
    let found = alignment::of_direct(fd.as_fd(), name)?;
    Ok(Alignment { request: found.request.max(block_size), ..found })
}

/// The zones' facts. Where sysfs says nothing the kernel is asked directly, because a zoned device
/// must not be taken for a regular one.
fn zones(fd: &OwnedFd, name: &str, queue: &Queue) -> Result<Option<ZonedQueue>> {
    let zoned = sysfs::zoned(queue)?;
    if zoned.is_none() && sys::zone_count(fd).is_ok_and(|count| count > 0) {
        return Err(ErrorKind::InvalidDevice(format!(
            "'{name}' has zones, but {} does not say so; is sysfs mounted there?",
            sysfs::ROOT
        ))
        .into());
    }
    Ok(zoned)
}

fn demand_direct(name: &str, how: How) -> Result<()> {
    if how.direct {
        return Ok(());
    }
    Err(invalid(format!(
        "'{name}' is a zoned device, whose zones must be written in order; the page cache does not \
         keep that order: add cache.direct=on"
    )))
}

fn check_count(name: &str, zoned: &ZonedQueue, size: u64, partition: bool) -> Result<()> {
    let expected = size.div_ceil(zoned.zone_size);
    if partition || expected == zoned.nr_zones {
        return Ok(());
    }
    Err(ErrorKind::InvalidDevice(format!(
        "'{name}' says that it has {} zones, but its {size} bytes are {expected} zones of {} bytes",
        zoned.nr_zones, zoned.zone_size
    ))
    .into())
}

impl Opened {
    /// What the node is to say about itself, zones aside.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            block_size: self.block_size,
            request_alignment: self.file.alignment.request.max(self.block_size),
            memory_alignment: self.file.alignment.memory,
            max_transfer: self.max_transfer,
            discard: self.discards && !self.how.read_only,
            read_only: self.how.read_only,
            zoned: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_core::ZonedModel;

    const HOW: How = How { read_only: false, direct: true, locking: true };

    fn told<T>(result: Result<T>) -> (&'static str, String) {
        let error = result.err().expect("this must fail");
        (error.kind().name(), error.to_string())
    }

    #[test]
    fn what_is_no_block_device_is_refused_with_advice() {
        let open = |path: &str| told(open(Path::new(path), HOW, BufferPool::default()));
        assert_eq!(open("/dev/null").0, "invalid-option");
        assert!(open("/dev/null").1.contains("a character device"));
        assert!(open("/").1.contains("a directory"));
        assert_eq!(open("/nonexistent/device").0, "io");
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(open(file.path().to_str().unwrap()).1.contains("use driver=file"));
    }

    #[test]
    fn a_write_protected_device_says_so_with_its_number() {
        let error = write_protected("/dev/x");
        assert_eq!((error.kind().name(), error.errno()), ("io", 30));
        assert!(error.to_string().contains("/dev/x"), "{error}");
        assert!(error.to_string().contains("read-only=on"), "{error}");
    }

    #[test]
    fn a_zone_count_that_lies_is_refused() {
        let zoned = |nr_zones| ZonedQueue {
            model: ZonedModel::HostManaged,
            zone_size: 4096,
            nr_zones,
            max_open: 0,
            max_active: 0,
            max_append: 0,
            write_granularity: 512,
        };
        check_count("x", &zoned(3), 10_000, false).unwrap();
        check_count("x", &zoned(7), 10_000, true).unwrap();
        for lie in [0, 2, 4, u64::MAX] {
            let (kind, message) = told(check_count("x", &zoned(lie), 10_000, false));
            assert_eq!(kind, "invalid-device");
            assert!(message.contains("3 zones of 4096 bytes"), "{message}");
        }
    }

    #[test]
    fn a_zoned_device_through_the_page_cache_is_refused_with_what_to_add() {
        demand_direct("x", HOW).unwrap();
        let (kind, message) = told(demand_direct("x", How { direct: false, ..HOW }));
        assert_eq!(kind, "invalid-option");
        assert!(message.ends_with("add cache.direct=on"), "{message}");
    }

    #[test]
    fn block_sizes_that_make_no_sense_are_refused() {
        assert_eq!(checked_block_size("x", 4096, None).unwrap(), 4096);
        for size in [0, 1, 256, 513, 1 << 21] {
            assert_eq!(told(checked_block_size("x", size, Some(7))).0, "invalid-device");
        }
    }
}
