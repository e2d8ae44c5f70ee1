//! Every raw system call of this crate, one typed function each.
//!
//! The functions take descriptors as [`AsFd`](std::os::fd::AsFd) and report errors as
//! [`io::Error`]; they decide nothing. `nix` is used where it has a fitting function, `libc` where
//! it has none. This is the one module that may contain unsafe code.
#![allow(unsafe_code)]

mod block;
#[cfg(test)]
mod cached;
mod descriptor;
mod iov;
mod lock;
mod nvme;
mod ring;
mod space;
mod statx;
mod transfer;
mod zones;

pub(crate) use block::{
    block_device_size, device_numbers, discard_blocks, is_read_only, logical_block_size,
    open_block_device, physical_block_size, zone_count,
};
#[cfg(test)]
pub(crate) use cached::is_cached;
pub(crate) use descriptor::{Access, FileKind, Stat, clear_nonblock, create_new, open, stat};
pub(crate) use iov::Cursor;
pub(crate) use lock::{LockMode, conflicting_lock, try_lock, unlock};
pub(crate) use nvme::{may_send, namespace_id, zone_append};
pub(crate) use ring::{Ended, Memory, Queues, Ring, Transfer, watch_readable};
#[cfg(test)]
pub(crate) use ring::{Lent, Script, Taken};
pub(crate) use space::{
    Allocate, fallocate, fdatasync, free_space, fsync, ftruncate, reserve, uncache,
};
pub(crate) use statx::dio_alignment;
pub(crate) use transfer::{preadv, preadv_nowait, pwritev, pwritev_dsync, pwritev_nowait};
pub(crate) use zones::{RawReport, RawZone, SECTOR, decode_report, manage_zones, report_zones};

use nix::errno::Errno;
use std::io;

/// Repeats a call for as long as a signal interrupts it.
fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// An offset or length as the kernel takes it.
fn off_t(value: u64) -> io::Result<nix::libc::off_t> {
    nix::libc::off_t::try_from(value).map_err(|_| io::Error::from(Errno::EOVERFLOW))
}
