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
//! - never keeps the thread that polls it waiting for the file. What it does there is short: a lock,
//!   the copying of at most 64 KiB from or to the page cache (`inline.rs`), at most 20 µs of looking
//!   out for an answer that is about to come (`threads/spin.rs`).
//!
//! What each request takes:
//!
//! | request | `threads` | `io_uring` |
//! |---|---|---|
//! | short read, in the page cache | at once | at once |
//! | short write into the page cache, where the file system takes it without waiting | at once | at once |
//! | other reads | threads | ring |
//! | direct writes | threads | ring |
//! | direct writes that wait for space, or for the page cache to forget what it holds | threads | threads |
//! | other writes into the page cache, durable writes, syncs, allocation | threads | threads |
//!
//! In the last two rows the kernel would use threads of its own for `io_uring`, which are no faster.
//! Writes that fill holes one after another get space ahead of them (`ahead.rs`), so that few need it
//! found.
//! Whatever is rare (open, resize, ioctls) goes through [`blocking`] on any engine.

mod inline;
mod job;
mod offload;
mod threads;
mod transfer;
mod uring;

pub(crate) use job::{AllocateJob, Durable, ReadJob, SyncJob, WriteJob};
pub(crate) use offload::blocking;

use crate::open_file::OpenFile;
use block_core::{InFlight, InFlightGuard, IoVecMut, Result};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use threads::{First, Threads, Write};
use transfer::{Reading, Writing};
use uring::{Carried, Held, Uring};

/// A way of making system calls without blocking the caller, for one open file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Engine {
    /// Makes any call.
    threads: Arc<Threads>,
    /// Makes those that the kernel can make without threads.
    uring: Option<Arc<Uring>>,
}

impl Engine {
    /// The engine `threads`.
    pub(crate) fn threads() -> Self {
        Self::default()
    }

    /// The engine `io_uring`.
    ///
    /// # Errors
    /// What the kernel says: `ENOSYS` if it has none, `EPERM` where it is forbidden.
    pub(crate) fn uring() -> io::Result<Self> {
        uring::probe()?;
        Ok(Self { uring: Some(Arc::default()), ..Self::default() })
    }

    /// Fills the job's buffers. Past the end of the file it gives zeroes.
    pub(crate) async fn read(&self, job: ReadJob) -> Result<IoVecMut> {
        // Dropped in the reverse order.
        let ReadJob { guard, file, offset, bufs } = job;
        let mut reading = Reading::new(&file.pool, file.alignment, offset, bufs);
        if inline::read(&file, &mut reading).await? {
            return Ok(reading.finish());
        }
        // In a box, so that what the page cache answers does not pay for the size of what lies ahead.
        Box::pin(self.read_elsewhere(guard, file, reading)).await
    }

    /// As [`read`](Self::read), past the page cache.
    pub(crate) fn read_direct(
        &self,
        job: ReadJob,
    ) -> impl Future<Output = Result<IoVecMut>> + Send + '_ {
        let ReadJob { guard, file, offset, bufs } = job;
        let reading = Reading::new(&file.pool, file.alignment, offset, bufs);
        self.read_elsewhere(guard, file, reading)
    }

    async fn read_elsewhere(
        &self,
        guard: InFlightGuard,
        file: Arc<OpenFile>,
        reading: Reading,
    ) -> Result<IoVecMut> {
        let Some(uring) = &self.uring else {
            return self.threads.read(file, reading, guard).await;
        };
        match uring.carry(reading, Held { file, guard }).await {
            Carried::Done(result, reading) => Ok(result.map(|()| reading.finish())?),
            Carried::WouldWait(reading, held) | Carried::Left(reading, held) => {
                let Held { guard, file } = held;
                Box::pin(self.threads.read(file, reading, guard)).await
            }
        }
    }

    /// Writes the job's buffers, and says whether they are durable already.
    pub(crate) async fn write(&self, job: WriteJob) -> Result<Durable> {
        let WriteJob { guard, file, offset, bufs, durable } = job;
        let mut writing = Writing::new(&file.pool, file.alignment, offset, bufs);
        if !durable && inline::write(&file, &mut writing).await? {
            return Ok(Durable(false));
        }
        self.threads.write(file, Write { writing, durable, first: First::Nothing }, guard).await
    }

    /// As [`write`](Self::write), past the page cache.
    pub(crate) async fn write_direct(&self, job: WriteJob) -> Result<Durable> {
        let WriteJob { guard, file, offset, bufs, durable } = job;
        let writing = Writing::new(&file.pool, file.alignment, offset, bufs);
        let Some(uring) = self.uring.as_ref().filter(|_| !durable) else {
            let write = Write { writing, durable, first: First::Nothing };
            return self.threads.write(file, write, guard).await;
        };
        let (first, writing, held) = match uring.carry(writing, Held { file, guard }).await {
            Carried::Done(result, _) => return Ok(result.map(|()| Durable(false))?),
            Carried::WouldWait(writing, held) => {
                let size = held.file.size().load(Acquire);
                match held.file.ahead.due(writing.rest(), size) {
                    Some(space) => (First::FindSpace(space), writing, held),
                    None => (First::Uncache(around(writing.rest())), writing, held),
                }
            }
            Carried::Left(writing, held) => (First::Nothing, writing, held),
        };
        let (write, Held { file, guard }) = (Write { writing, durable, first }, held);
        Box::pin(self.threads.write(file, write, guard)).await
    }

    /// Makes durable what was written.
    pub(crate) async fn sync(&self, job: SyncJob) -> Result<()> {
        blocking(|| threads::sync(job)).await?
    }

    /// Changes a range of the file's space; false if this file cannot do that.
    pub(crate) async fn allocate(&self, job: AllocateJob) -> Result<bool> {
        blocking(|| threads::allocate(job)).await?
    }

    /// Waits until every operation that started before this call has ended.
    pub(crate) async fn settle(&self, in_flight: &InFlight) {
        match &self.uring {
            None => in_flight.settle().await,
            Some(uring) => uring.settle(in_flight).await,
        }
    }
}

/// The part of a file that the page cache forgets with a direct write for which it would have to
/// forget something: pages in it make every such write wait, and where there is one there are others.
fn around(write: Range<u64>) -> Range<u64> {
    const AROUND: u64 = 2 << 20;
    let end = write.end.checked_next_multiple_of(AROUND).unwrap_or(write.end);
    write.start.saturating_sub(write.start % AROUND)..end
}
