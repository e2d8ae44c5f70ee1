//! An open file: its descriptor with its lock, and what was learned about it.
//!
//! Every operation in flight holds an `Arc` of it. The lock therefore stays until the last
//! operation has ended, even if the node was dropped before.

use crate::ahead::Ahead;
use crate::alignment::Alignment;
use crate::durability::Durability;
use crate::sys;
use block_core::{BufferPool, ErrorKind, Result};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Finds out the size of what is open, in bytes.
pub(crate) type AskSize = fn(BorrowedFd<'_>) -> io::Result<u64>;

/// Remembers, once it was refused, that this file cannot do something.
#[derive(Debug, Default)]
pub(crate) struct Missing(AtomicBool);

impl Missing {
    pub(crate) fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn learn(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    fd: OwnedFd,
    locked: bool,
    pub alignment: Alignment,
    /// Where bounce buffers come from.
    pub pool: BufferPool,
    pub durability: Durability,
    pub no_dsync: Missing,
    pub no_nowait_reads: Missing,
    pub no_nowait_writes: Missing,
    pub no_punch_hole: Missing,
    pub no_zero_range: Missing,
    pub ahead: Ahead,
    /// The file's size in bytes, as far as this node knows it.
    size: Arc<AtomicU64>,
    /// Held while the size is looked at or set, so that what is noted of it is the last of them.
    sizing: Mutex<()>,
    /// It is a device: it ends where it ends.
    fixed_size: bool,
    /// Whether one call may do what neighbouring requests ask for. Not on devices with zones, where a
    /// call must not reach from one zone into the next.
    pub joins: bool,
    /// Whether it lies on a file system of this kernel that waits for no other process.
    pub is_local: bool,
}

impl OpenFile {
    /// Takes over a descriptor, and its lock if `locked`.
    pub(crate) fn new(
        fd: OwnedFd,
        locked: bool,
        alignment: Alignment,
        size: u64,
        pool: BufferPool,
    ) -> Self {
        Self {
            fd,
            locked,
            alignment,
            pool,
            durability: Durability::default(),
            no_dsync: Missing::default(),
            no_nowait_reads: Missing::default(),
            no_nowait_writes: Missing::default(),
            no_punch_hole: Missing::default(),
            no_zero_range: Missing::default(),
            ahead: Ahead::default(),
            size: Arc::new(AtomicU64::new(size)),
            sizing: Mutex::default(),
            fixed_size: false,
            joins: true,
            is_local: false,
        }
    }

    /// As [`new`](Self::new), for a device, whose size is its own.
    pub(crate) fn of_device(
        fd: OwnedFd,
        locked: bool,
        alignment: Alignment,
        size: u64,
        pool: BufferPool,
    ) -> Self {
        let mut file = Self::new(fd, locked, alignment, size, pool);
        file.fixed_size = true;
        file
    }

    /// See [`Judge::transferred`].
    pub(crate) fn transferred(&self, result: io::Result<usize>) -> io::Result<usize> {
        self.judge().transferred(result)
    }

    /// Knows what results mean, also when the file is closed.
    pub(crate) fn judge(&self) -> Judge {
        Judge { fixed_size: self.fixed_size }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The size, shared with whoever must know it after the file is closed.
    pub(crate) fn size(&self) -> &Arc<AtomicU64> {
        &self.size
    }

    /// Whether it is a device.
    pub(crate) fn is_device(&self) -> bool {
        self.fixed_size
    }

    /// Whether the page cache is bypassed.
    pub(crate) fn is_direct(&self) -> bool {
        self.alignment != Alignment::ANY
    }

    /// Whether direct writes are to say if space must be found for them, instead of waiting for it in
    /// threads of the kernel's.
    pub(crate) fn tells_holes(&self) -> bool {
        !self.is_device() && self.is_direct() && !self.ahead.no_telling.is_known()
    }

    /// Takes note of a change that reached up to `end`.
    pub(crate) fn changed_up_to(&self, end: u64) {
        self.size.fetch_max(end, Ordering::AcqRel);
        self.durability.changed();
    }

    /// Sets the size. Blocks.
    pub(crate) fn resize(&self, size: u64) -> io::Result<()> {
        let _alone = self.sizing.lock().unwrap_or_else(PoisonError::into_inner);
        sys::ftruncate(self.fd(), size)?;
        self.size.store(size, Ordering::Release);
        self.ahead.forget(size..u64::MAX);
        self.durability.changed();
        Ok(())
    }

    /// Takes note of the size that others gave it, which `ask` finds out. Blocks.
    ///
    /// # Errors
    /// [`Shrunk`](ErrorKind::Shrunk) if it is smaller than what is known, which then stays.
    pub(crate) fn look_again(&self, ask: AskSize) -> Result<()> {
        let _alone = self.sizing.lock().unwrap_or_else(PoisonError::into_inner);
        // In this order: a write meanwhile may make it larger than what was known before.
        let length = self.size.load(Ordering::Acquire);
        let found = ask(self.fd())?;
        if found < length {
            return Err(ErrorKind::Shrunk { length, found }.into());
        }
        self.size.fetch_max(found, Ordering::AcqRel);
        Ok(())
    }
}

/// Tells what the results of transfers mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge {
    fixed_size: bool,
}

impl Judge {
    /// What a read or write gave. A device that was removed has no bytes any more: a read of it
    /// finds its end, and a write no space.
    pub(crate) fn transferred(self, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            Ok(0) if self.fixed_size => Err(removed()),
            Err(e) if self.fixed_size && e.kind() == io::ErrorKind::StorageFull => Err(removed()),
            result => result,
        }
    }
}

/// The error of a device that is there no more.
pub(crate) fn removed() -> io::Error {
    const ENODEV: i32 = 19;
    io::Error::from_raw_os_error(ENODEV)
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a child process that was forked a moment ago
        // and has not yet replaced its program.
        if self.locked {
            let _ = sys::unlock(&self.fd);
        }
    }
}
