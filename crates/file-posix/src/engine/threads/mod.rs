//! Requests as plain system calls on threads of the runtime's blocking pool.
//!
//! A hand-over to a thread and back costs several times what a write to the page cache takes. So a
//! request is not given a thread: it waits in the queue of its file's [`Crew`], whose workers take
//! one after another and join neighbours into one vectored call.
//!
//! There is a crew for each open file, runtime, and direction. Workers are borrowed from the
//! runtime when there is work, and go home when there is none, or after a few milliseconds, when they
//! call another one: a runtime that ends waits for what was begun, and nothing outlives it.

mod answer;
mod calls;
mod crew;
mod spin;
#[cfg(test)]
mod tests;
mod ticket;
mod work;

pub(super) use calls::{allocate, sync};
pub(super) use work::{First, Write};

use super::job::Durable;
use super::offload::current_runtime;
use super::transfer::Reading;
use crate::open_file::OpenFile;
use block_core::{InFlightGuard, IoVecMut, Result};
use crew::{Crew, Terms};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::runtime::{Handle, Id};

/// So many calls at once are made for one file, each way. As many as QEMU's pool makes.
const MAX_WORKERS: usize = 64;
/// The crews of so many runtimes are remembered; beyond that, those that are idle are forgotten.
const REMEMBERED: usize = 64;

/// The crews of one open file.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    crews: RwLock<Vec<Crews>>,
}

/// Those of one runtime.
#[derive(Clone, Debug)]
struct Crews {
    runtime: Id,
    reads: Arc<Crew<Reading>>,
    writes: Arc<Crew<Write>>,
}

impl Crews {
    fn new(runtime: Id, file: &OpenFile) -> Self {
        // The kernel lets one write at a time into the page cache of a regular file: more workers
        // would only queue up for the file's lock, and wake each other there.
        let one_by_one = !file.is_direct() && !file.is_device();
        let reads = Terms { workers: MAX_WORKERS, joins: file.joins, holds: false };
        let writes = match one_by_one {
            true => Terms { workers: 1, holds: file.is_local, ..reads },
            false => reads,
        };
        Self { runtime, reads: Arc::new(Crew::new(reads)), writes: Arc::new(Crew::new(writes)) }
    }

    fn is_idle(&self) -> bool {
        self.reads.is_idle() && self.writes.is_idle()
    }
}

impl Threads {
    fn crews(&self, runtime: &Handle, file: &OpenFile) -> Crews {
        let id = runtime.id();
        let find = |known: &[Crews]| known.iter().find(|crews| crews.runtime == id).cloned();
        if let Some(found) = find(&self.crews.read().unwrap_or_else(PoisonError::into_inner)) {
            return found;
        }
        let mut known = self.crews.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = find(&known) {
            return found;
        }
        if known.len() >= REMEMBERED {
            known.retain(|crews| !crews.is_idle());
        }
        let crews = Crews::new(id, file);
        known.push(crews.clone());
        crews
    }

    /// Reads what is left to read.
    pub(super) async fn read(
        &self,
        file: Arc<OpenFile>,
        reading: Reading,
        guard: InFlightGuard,
    ) -> Result<IoVecMut> {
        let runtime = current_runtime()?;
        let crew = self.crews(&runtime, &file).reads;
        crew.carry(&runtime, file, reading, guard).await
    }

    /// Writes what is left to write.
    pub(super) async fn write(
        &self,
        file: Arc<OpenFile>,
        write: Write,
        guard: InFlightGuard,
    ) -> Result<Durable> {
        let runtime = current_runtime()?;
        let crew = self.crews(&runtime, &file).writes;
        crew.carry(&runtime, file, write, guard).await
    }
}
