//! The queues of all zones of a device, and the way in.

use crate::entry::{Entry, Payload, runtime_gone};
use crate::queue::{Queue, Then};
use crate::runner;
use crate::stats::{QueueStats, add};
use block_core::{Error, ErrorKind, InFlight, Result};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

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

/// How much a zone's queue merges and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Requests are merged up to this many bytes. A larger request goes alone.
    pub max_batch_bytes: u64,
    /// Bytes that may be in one zone's queue. A request counts as 4 KiB at least, which also
    /// bounds the number of requests. A larger request has the queue to itself.
    pub max_queued_bytes: u64,
}

impl Default for QueueLimits {
    /// Batches of 1 MiB, queues of 16 MiB.
    fn default() -> Self {
        Self {
            max_batch_bytes: 1 << 20,
            max_queued_bytes: 16 << 20,
        }
    }
}

/// A request counts in these units against its zone's budget.
const UNIT: u64 = 4096;

/// One zone's queue. Inline in a table, so small: 100,000 zones are a few megabytes.
#[derive(Debug, Default)]
pub(crate) struct Line {
    queue: Mutex<Queue>,
    budget: OnceLock<Arc<Semaphore>>,
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
    budget_units: u32,
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
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: ZoneTarget> Sequencer<T> {
    /// Queues for `zones` zones, all idle.
    pub fn new(target: Arc<T>, zones: usize, limits: QueueLimits) -> Self {
        let budget = limits.max_queued_bytes.div_ceil(UNIT);
        let budget_units = u32::try_from(budget).unwrap_or(u32::MAX).clamp(1, 1 << 28);
        Self {
            shared: Arc::new(Shared {
                target,
                lines: (0..zones).map(|_| Line::default()).collect(),
                limits,
                stats: QueueStats::default(),
                in_flight: InFlight::default(),
                budget_units,
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
        let runtime = runtime()?;
        let budget = self.budget(line);
        let units = u32::try_from(payload.len().div_ceil(UNIT)).unwrap_or(u32::MAX);
        let units = units.clamp(1, self.shared.budget_units);
        if budget.available_permits() < usize::try_from(units).unwrap_or(usize::MAX) {
            add(&self.shared.stats.waits, 1);
        }
        let share = budget
            .acquire_many_owned(units)
            .await
            .map_err(|_| runtime_gone())?;
        let under_way = self.shared.in_flight.start();
        let (entry, reply) = Entry::new(at, payload, share, under_way);
        let then = line.queue().push(entry);
        self.carry_out(zone, &runtime, then);
        reply.await.unwrap_or_else(|_| Err(runtime_gone()))
    }

    /// Waits until every request that was taken into a queue before this call has ended.
    pub async fn settle(&self) {
        self.shared.in_flight.settle().await;
    }

    /// Requests that wait in this zone's queue at this moment.
    pub fn waiting(&self, zone: u64) -> usize {
        self.shared
            .line(zone)
            .map_or(0, |line| line.queue().waiting())
    }

    pub(crate) fn line(&self, zone: u64) -> Result<&Line> {
        self.shared.line(zone).ok_or_else(|| {
            ErrorKind::InvalidDevice(format!("there is no queue for zone number {zone}")).into()
        })
    }

    pub(crate) fn carry_out(&self, zone: u64, runtime: &Handle, then: Then) {
        match then {
            Then::StartRunner => drop(runtime.spawn(runner::run(Arc::clone(&self.shared), zone))),
            Then::Nothing => {}
        }
    }

    fn budget(&self, line: &Line) -> Arc<Semaphore> {
        let units = usize::try_from(self.shared.budget_units).unwrap_or(usize::MAX);
        Arc::clone(line.budget.get_or_init(|| Arc::new(Semaphore::new(units))))
    }
}

/// The runtime that polls the caller.
pub(crate) fn runtime() -> Result<Handle> {
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
