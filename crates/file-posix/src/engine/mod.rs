//! The seam: how requests leave the async threads.
//!
//! An [`Engine`] is given a job and returns when it has ended. A job owns all that its system calls
//! use: the open file, the buffers and the in-flight guard. An engine
//!
//! - drops a job's file before its guard, and both only when no system call uses them any more,
//!   whether or not its future was dropped meanwhile;
//! - makes the calls that [`Reading`](transfer::Reading) and [`Writing`](transfer::Writing) ask
//!   for, one after another, and tells them the results: short transfers, the end of the file,
//!   interruptions and bounce buffers are handled there, the same way for every engine;
//! - never blocks the thread that polls it.
//!
//! Whatever is rare (open, resize, ioctls) goes through [`blocking`] on any engine.

mod job;
mod offload;
mod threads;
mod transfer;

pub(crate) use job::{AllocateJob, Durable, ReadJob, SyncJob, WriteJob};
pub(crate) use offload::blocking;

use block_core::{IoVecMut, Result};

/// A way of making system calls without blocking the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    /// Each request on a thread of the runtime's blocking pool.
    Threads,
}

impl Engine {
    /// Fills the job's buffers. Past the end of the file it gives zeroes.
    pub(crate) async fn read(self, job: ReadJob) -> Result<IoVecMut> {
        match self {
            Self::Threads => blocking(|| threads::read(job)).await?,
        }
    }

    /// Writes the job's buffers, and says whether they are durable already.
    pub(crate) async fn write(self, job: WriteJob) -> Result<Durable> {
        match self {
            Self::Threads => blocking(|| threads::write(job)).await?,
        }
    }

    /// Makes durable what was written.
    pub(crate) async fn sync(self, job: SyncJob) -> Result<()> {
        match self {
            Self::Threads => blocking(|| threads::sync(job)).await?,
        }
    }

    /// Changes a range of the file's space; false if this file cannot do that.
    pub(crate) async fn allocate(self, job: AllocateJob) -> Result<bool> {
        match self {
            Self::Threads => blocking(|| threads::allocate(job)).await?,
        }
    }
}
