//! Vectored reads and writes at an offset: one call each, short transfers and all.
//!
//! `nix` takes Rust slices here. Buffers may stand for memory that others change at any time, of
//! which no slice may exist, so these calls pass addresses.

use super::iov::{self, Cursor, Iovecs};
use super::off_t;
use block_core::{IoVec, IoVecMut};
use nix::libc::{self, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

fn count(iovecs: &Iovecs) -> c_int {
    c_int::try_from(iovecs.len()).unwrap_or(c_int::MAX)
}

fn transferred(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Fills `bufs` from the cursor on with what the file holds at `offset`; returns how many bytes
/// came, 0 at the end of the file.
pub(crate) fn preadv(
    fd: impl AsFd,
    bufs: &mut IoVecMut,
    at: Cursor,
    offset: u64,
) -> io::Result<usize> {
    let offset = off_t(offset)?;
    let iovecs = iov::to_fill(bufs, at);
    // SAFETY: the entries lie within segments that `bufs` owns and that only it may write, and
    // `bufs` is borrowed exclusively until the call has ended.
    transferred(unsafe {
        libc::preadv(fd.as_fd().as_raw_fd(), iovecs.as_ptr(), count(&iovecs), offset)
    })
}

/// As [`preadv`], if that needs no waiting for the disk: `EAGAIN` if it does, and `EOPNOTSUPP` or
/// `ENOSYS` where the file system cannot say.
#[doc(alias = "preadv2")]
#[doc(alias = "RWF_NOWAIT")]
pub(crate) fn preadv_nowait(
    fd: impl AsFd,
    bufs: &mut IoVecMut,
    at: Cursor,
    offset: u64,
) -> io::Result<usize> {
    let offset = off_t(offset)?;
    let iovecs = iov::to_fill(bufs, at);
    // SAFETY: as in `preadv`.
    transferred(unsafe {
        libc::preadv2(
            fd.as_fd().as_raw_fd(),
            iovecs.as_ptr(),
            count(&iovecs),
            offset,
            libc::RWF_NOWAIT,
        )
    })
}

/// Writes `bufs` from the cursor on at `offset`; returns how many bytes were taken.
pub(crate) fn pwritev(fd: impl AsFd, bufs: &IoVec, at: Cursor, offset: u64) -> io::Result<usize> {
    let offset = off_t(offset)?;
    let iovecs = iov::to_write(bufs, at);
    // SAFETY: the entries lie within segments that `bufs` keeps alive, and the call only reads
    // them.
    transferred(unsafe {
        libc::pwritev(fd.as_fd().as_raw_fd(), iovecs.as_ptr(), count(&iovecs), offset)
    })
}

/// As [`pwritev`], if that needs no waiting: `EAGAIN` if it does, and `EOPNOTSUPP` or `ENOSYS` where
/// the file system cannot say.
#[doc(alias = "pwritev2")]
#[doc(alias = "RWF_NOWAIT")]
pub(crate) fn pwritev_nowait(
    fd: impl AsFd,
    bufs: &IoVec,
    at: Cursor,
    offset: u64,
) -> io::Result<usize> {
    pwritev_with(libc::RWF_NOWAIT, fd, bufs, at, offset)
}

/// As [`pwritev`], and what was taken is durable on return. `EOPNOTSUPP` or `ENOSYS` where the
/// kernel cannot (before Linux 4.7).
#[doc(alias = "pwritev2")]
#[doc(alias = "RWF_DSYNC")]
pub(crate) fn pwritev_dsync(
    fd: impl AsFd,
    bufs: &IoVec,
    at: Cursor,
    offset: u64,
) -> io::Result<usize> {
    pwritev_with(libc::RWF_DSYNC, fd, bufs, at, offset)
}

fn pwritev_with(
    flags: libc::c_int,
    fd: impl AsFd,
    bufs: &IoVec,
    at: Cursor,
    offset: u64,
) -> io::Result<usize> {
    let offset = off_t(offset)?;
    let iovecs = iov::to_write(bufs, at);
    // SAFETY: as in `pwritev`.
    transferred(unsafe {
        libc::pwritev2(fd.as_fd().as_raw_fd(), iovecs.as_ptr(), count(&iovecs), offset, flags)
    })
}
