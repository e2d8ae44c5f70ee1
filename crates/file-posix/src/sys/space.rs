//! A file's space and its durability.

use super::{off_t, uninterrupted};
use nix::fcntl::{self, FallocateFlags, PosixFadviseAdvice};
use nix::sys::statvfs::fstatvfs;
use nix::unistd;
use std::io;
use std::os::fd::AsFd;

/// What to do with a range of a file's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocate {
    /// Give it back; reads give zeroes. The file's size stays.
    PunchHole,
    /// Make it read as zeroes and keep it allocated. The file grows to the end of the range.
    ZeroRange,
}

/// Changes a range of a file's space. Both must be at most `i64::MAX`, and `len` not 0.
#[doc(alias = "FALLOC_FL_PUNCH_HOLE")]
#[doc(alias = "FALLOC_FL_ZERO_RANGE")]
pub(crate) fn fallocate(fd: impl AsFd, what: Allocate, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (off_t(offset)?, off_t(len)?);
    let mode = match what {
        Allocate::PunchHole => {
            FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE
        }
        Allocate::ZeroRange => FallocateFlags::FALLOC_FL_ZERO_RANGE,
    };
    let fd = fd.as_fd();
    uninterrupted(|| fcntl::fallocate(fd, mode, offset, len))
}

/// Gives a range of a file space where it has none. What can be read of it stays, and so does the
/// file's size. `len` must not be 0.
#[doc(alias = "FALLOC_FL_KEEP_SIZE")]
pub(crate) fn reserve(fd: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (off_t(offset)?, off_t(len)?);
    let fd = fd.as_fd();
    uninterrupted(|| fcntl::fallocate(fd, FallocateFlags::FALLOC_FL_KEEP_SIZE, offset, len))
}

/// How many bytes the file system of a file has for users without privileges.
#[doc(alias = "fstatvfs")]
pub(crate) fn free_space(fd: impl AsFd) -> io::Result<u64> {
    let found = fstatvfs(fd)?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

/// Has the page cache forget what it holds of a range, but for what is not written back yet.
#[doc(alias = "POSIX_FADV_DONTNEED")]
pub(crate) fn uncache(fd: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (off_t(offset)?, off_t(len)?);
    let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    Ok(fcntl::posix_fadvise(fd, offset, len, advice)?)
}

/// Sets a file's size. Growth is a hole.
pub(crate) fn ftruncate(fd: impl AsFd, size: u64) -> io::Result<()> {
    // A size that no file can have is told like one that this file system cannot have.
    let size = off_t(size).map_err(|_| io::Error::from(nix::errno::Errno::EFBIG))?;
    let fd = fd.as_fd();
    uninterrupted(|| unistd::ftruncate(fd, size))
}

/// Makes a file's data durable, and what is needed to read it back.
pub(crate) fn fdatasync(fd: impl AsFd) -> io::Result<()> {
    // Not repeated when interrupted: whether an interrupted sync may be repeated is not said.
    Ok(unistd::fdatasync(fd)?)
}

/// Makes a directory's entries, or a file with all its attributes, durable.
pub(crate) fn fsync(fd: impl AsFd) -> io::Result<()> {
    Ok(unistd::fsync(fd)?)
}
