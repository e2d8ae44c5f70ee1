//! The queues of all zones of a device, and the way in.

use crate::entry::{Entry, Payload, cut_off};
use crate::queue::{Place, Queue};
use crate::runner;
use crate::stats::QueueStats;
use block_core::{Error, ErrorKind, InFlight, Result};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;

/// What a queue writes to: knows where each zone's pointer stands, and how to write.
///
/// For one zone, the sequencer calls these methods from one party at a time.
pub trait ZoneTarget: Send + Sync + 'static {
    /// Checks a request whose turn has come, with `ahead` bytes of this zone accepted before it
    /// and not yet written, and says where it goes. `at` is where a plain write must land, `None`
    /// for an append. May open the zone implicitly. Positions are on the device, in bytes.
    ///
    /// # Errors
    /// Whatever the zone's state refuses.
    fn admit(&self, zone: u64, at: Option<u64>, len: u64, ahead: u64) -> Result<u64>;

    /// Writes at `position`, which is where the zone's pointer stands.
    fn write(
        &self,
        zone: u64,
        position: u64,
        payload: Payload,
    ) -> impl Future<Output = Result<()>> + Send;

    /// The write that ended last landed wholly: moves the pointer.
    fn landed(&self, zone: u64, position: u64, len: u64);

    /// A write failed: finds out where the zone's pointer stands now.
    ///
    /// # Errors
    /// If that cannot be found out; the zone is then recovered before its next write.
    fn after_error(
        &self,
        zone: u64,
        position: u64,
        len: u64,
        error: &Error,
    ) -> impl Future<Output = Result<Aftermath>> + Send;

    /// Work on this zone was dropped in the middle, with the runtime that carried it. Waits until
    /// nothing of it still runs, and finds out where the pointer stands.
    ///
    /// # Errors
    /// If that fails; it is then tried again before the next write.
    fn recover(&self, zone: u64) -> impl Future<Output = Result<()>> + Send;
}

/// What is left after a failed write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aftermath {
    /// How many of its bytes landed all the same, from its position on. The pointer stands
    /// behind them.
    pub landed: u64,
    /// Whether the pointer was not where it was believed to be, so that an append may be tried
    /// again at the right place.
    pub moved: bool,
}

/// How much a zone's queue merges, and from which length on it is congested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Requests are merged up to this many bytes. A larger request goes alone.
    pub max_batch_bytes: u64,
    /// A queue with more bytes than this is congested: a request that would make it longer is
    /// counted in [`QueueStats::waits`]. A request counts as 4 KiB at least, and the first in line
    /// never counts as too much. The request keeps its place and waits like all others.
    pub congested_above: u64,
}

impl Default for QueueLimits {
    /// Batches of 1 MiB; a queue is congested above 16 MiB.
    fn default() -> Self {
        Self { max_batch_bytes: 1 << 20, congested_above: 16 << 20 }
    }
}

/// One zone's queue. Inline in a table, so small: 100,000 zones are a few megabytes.
#[derive(Debug, Default)]
pub(crate) struct Line {
    queue: Mutex<Queue>,
}

impl Line {
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the zones' tasks share.
pub(crate) struct Shared<T> {
    pub(crate) target: Arc<T>,
    lines: Box<[Line]>,
    pub(crate) limits: QueueLimits,
    pub(crate) stats: QueueStats,
    in_flight: InFlight,
    /// Held for the moment in which places in several lines are taken.
    pub(crate) lining_up: Mutex<()>,
}

impl<T> Shared<T> {
    pub(crate) fn line(&self, zone: u64) -> Option<&Line> {
        self.lines.get(usize::try_from(zone).ok()?)
    }
}

/// The queues of all zones of a device. Cheap to clone; clones share the queues.
pub struct Sequencer<T> {
    pub(crate) shared: Arc<Shared<T>>,
}

impl<T> Clone for Sequencer<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: ZoneTarget> Sequencer<T> {
    /// Queues for `zones` zones, all idle.
    pub fn new(target: Arc<T>, zones: usize, limits: QueueLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                target,
                lines: (0..zones).map(|_| Line::default()).collect(),
                limits,
                stats: QueueStats::default(),
                in_flight: InFlight::default(),
                lining_up: Mutex::default(),
            }),
        }
    }

    /// What the queues write to.
    pub fn target(&self) -> &Arc<T> {
        &self.shared.target
    }

    /// What the queues counted.
    pub fn stats(&self) -> &QueueStats {
        &self.shared.stats
    }

    /// Writes at `at`, which must be the zone's pointer when the request's turn comes, or (with
    /// `None`) appends. Returns the position of the first byte once the data has landed.
    ///
    /// # Errors
    /// What [`ZoneTarget::admit`] refuses and what the write meets.
    ///
    /// # Cancellation
    /// Before its turn the request leaves no trace; from then on it is carried to its end.
    pub async fn submit(&self, zone: u64, at: Option<u64>, payload: Payload) -> Result<u64> {
        let line = self.line(zone)?;
        let under_way = self.shared.in_flight.start();
        let (entry, reply) = Entry::new(at, payload, runtime()?, under_way);
        let (congested, size, place, then) = {
            let mut queue = line.queue();
            let congested = queue.size_before(&entry) > self.shared.limits.congested_above;
            let (place, then) = queue.push(entry);
            (congested, queue.size(), place, then)
        };
        let caller = Caller { line, place };
        self.shared.stats.lined_up(congested, size);
        runner::carry_out(&self.shared, zone, then);
        let result = reply.await;
        std::mem::forget(caller);
        result.unwrap_or_else(|_| Err(cut_off()))
    }

    /// Waits until every request that took its place in line before this call has ended.
    pub async fn settle(&self) {
        self.shared.in_flight.settle().await;
    }

    /// How many stand in line for this zone at this moment: requests, and parties that want the
    /// zone exclusively.
    pub fn waiting(&self, zone: u64) -> usize {
        self.shared.line(zone).map_or(0, |line| line.queue().waiting())
    }

    pub(crate) fn line(&self, zone: u64) -> Result<&Line> {
        self.shared.line(zone).ok_or_else(|| {
            ErrorKind::InvalidDevice(format!("there is no queue for zone number {zone}")).into()
        })
    }
}

/// A caller that waits. If it goes away, so does its request, unless that had its turn.
struct Caller<'a> {
    line: &'a Line,
    place: Place,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let withdrawn = self.line.queue().withdraw(self.place);
        drop(withdrawn);
    }
}

/// The runtime that polls the caller.
fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        ErrorKind::Unsupported(
            "writing to zones outside a tokio runtime; call it from a task of one".to_owned(),
        )
        .into()
    })
}

impl<T> fmt::Debug for Sequencer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequencer")
            .field("zones", &self.shared.lines.len())
            .field("stats", &self.shared.stats)
            .finish_non_exhaustive()
    }
}
