//! The calls that need `unsafe`.
#![allow(unsafe_code)]

use io_uring::squeue::{Entry, PushError};
use io_uring::{IoUring, opcode, types};
use libublk::io::UblkDev;
use nix::libc;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// `/dev/ublkcN` of a device, as open as the device is.
pub(crate) fn character_device(device: &UblkDev) -> BorrowedFd<'_> {
    let [fd, ..] = device.tgt.fds;
    // SAFETY: libublk puts the descriptor of the file that `device` owns there, and nothing in this
    // crate changes it, so that it is open for as long as `device` lives.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Queues an entry that completes, once, when a descriptor is readable.
///
/// # Errors
/// If the queue is full.
pub(crate) fn push_poll(ring: &mut IoUring, fd: RawFd, user_data: u64) -> Result<(), PushError> {
    let events = u32::try_from(libc::POLLIN).unwrap_or_default();
    let entry: Entry = opcode::PollAdd::new(types::Fd(fd), events).build().user_data(user_data);
    // SAFETY: the entry points to no memory.
    unsafe { ring.submission().push(&entry) }
}

/// Writes out what is cached of a block device: the file system on it, if one is mounted, and the
/// device's own pages (BLKFLSBUF).
pub(crate) fn flush_block_device(device: &File) -> io::Result<()> {
    // SAFETY: the request passes no memory, and the descriptor is open.
    unsafe { blkflsbuf(device.as_raw_fd()) }?;
    Ok(())
}

nix::ioctl_none!(blkflsbuf, 0x12, 97);
