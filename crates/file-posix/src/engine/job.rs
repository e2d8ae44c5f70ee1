//! Requests on their way to the kernel, with all that must live until they end.

use crate::durability::Turn;
use crate::open_file::OpenFile;
use crate::sys::Allocate;
use block_core::{InFlightGuard, IoVec, IoVecMut};
use std::sync::Arc;

/// Fill `bufs` from `offset` on.
#[derive(Debug)]
pub(crate) struct ReadJob {
    pub file: Arc<OpenFile>,
    pub offset: u64,
    pub bufs: IoVecMut,
    pub guard: InFlightGuard,
}

/// Write `bufs` at `offset`.
#[derive(Debug)]
pub(crate) struct WriteJob {
    pub file: Arc<OpenFile>,
    pub offset: u64,
    pub bufs: IoVec,
    /// Make it durable on the way, if that can be done without a sync of the whole file.
    pub durable: bool,
    pub guard: InFlightGuard,
}

/// Whether a write is durable already; if not, a sync makes it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Durable(pub bool);

/// Make durable what was written before.
#[derive(Debug)]
pub(crate) struct SyncJob {
    pub file: Arc<OpenFile>,
    pub turn: Turn,
    pub guard: InFlightGuard,
}

/// Change `len` bytes of the file's space at `offset`; `len` is not 0.
#[derive(Debug)]
pub(crate) struct AllocateJob {
    pub file: Arc<OpenFile>,
    pub what: Allocate,
    pub offset: u64,
    pub len: u64,
    pub guard: InFlightGuard,
}
