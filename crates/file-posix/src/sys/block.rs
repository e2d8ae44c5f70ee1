//! Block devices: opening, sizes, discards (`<linux/fs.h>`).

use super::{Access, uninterrupted};
use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::libc::{c_int, c_uint};
use nix::sys::stat::{self, Mode};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

mod raw {
    use nix::libc::{c_int, c_uint, size_t};

    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), c_int);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), c_int);
    nix::ioctl_read_bad!(blkpbszget, nix::request_code_none!(0x12, 123), c_uint);
    nix::ioctl_read_bad!(
        blkgetsize64,
        nix::request_code_read!(0x12, 114, size_of::<size_t>()),
        u64
    );
    nix::ioctl_read!(blkgetnrzones, 0x12, 133, u32);
    nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);
}

/// Opens a block device; with `exclusive` so that nobody else may open it so, mount it or build on
/// it meanwhile: `ResourceBusy` if somebody does.
#[doc(alias = "O_EXCL")]
pub(crate) fn open_block_device(
    path: &Path,
    access: Access,
    exclusive: bool,
) -> io::Result<OwnedFd> {
    let mut flags = OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    flags |= if access.write { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    if access.direct {
        flags |= OFlag::O_DIRECT;
    }
    if exclusive {
        flags |= OFlag::O_EXCL;
    }
    uninterrupted(|| fcntl::open(path, flags, Mode::empty()))
}

/// Asks for one number.
fn ask<T: Default + Copy>(
    fd: impl AsFd,
    ioctl: unsafe fn(c_int, *mut T) -> nix::Result<c_int>,
) -> io::Result<T> {
    let fd = fd.as_fd().as_raw_fd();
    let mut value = T::default();
    // SAFETY: each of the calls below is given the type that its ioctl fills, and `value` is such
    // a place for as long as the call lasts.
    uninterrupted(|| unsafe { ioctl(fd, &raw mut value) })?;
    Ok(value)
}

/// A block device's size in bytes.
#[doc(alias = "BLKGETSIZE64")]
pub(crate) fn block_device_size(fd: impl AsFd) -> io::Result<u64> {
    ask::<u64>(fd, raw::blkgetsize64)
}

/// The unit in which a block device is addressed, in bytes.
#[doc(alias = "BLKSSZGET")]
pub(crate) fn logical_block_size(fd: impl AsFd) -> io::Result<u32> {
    positive(ask::<c_int>(fd, raw::blksszget)?)
}

/// The unit in which a block device stores, in bytes.
#[doc(alias = "BLKPBSZGET")]
pub(crate) fn physical_block_size(fd: impl AsFd) -> io::Result<u32> {
    ask::<c_uint>(fd, raw::blkpbszget)
}

/// Whether the device takes no writes at all.
#[doc(alias = "BLKROGET")]
pub(crate) fn is_read_only(fd: impl AsFd) -> io::Result<bool> {
    Ok(ask::<c_int>(fd, raw::blkroget)? != 0)
}

/// How many zones the device has; 0 for a regular one.
#[doc(alias = "BLKGETNRZONES")]
pub(crate) fn zone_count(fd: impl AsFd) -> io::Result<u32> {
    ask::<u32>(fd, raw::blkgetnrzones)
}

/// A device's numbers, major and minor.
#[doc(alias = "fstat")]
pub(crate) fn device_numbers(fd: impl AsFd) -> io::Result<(u64, u64)> {
    let fd = fd.as_fd();
    let found = uninterrupted(|| stat::fstat(fd))?;
    Ok((stat::major(found.st_rdev), stat::minor(found.st_rdev)))
}

fn positive(value: c_int) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| Errno::ERANGE.into())
}

/// Tells the device that a range, in bytes, is no longer needed.
#[doc(alias = "BLKDISCARD")]
pub(crate) fn discard_blocks(fd: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    let range = [offset, len];
    // SAFETY: the ioctl reads two 64-bit numbers, which `range` is for as long as the call lasts.
    uninterrupted(|| unsafe { raw::blkdiscard(fd, &raw const range) }).map(drop)
}
