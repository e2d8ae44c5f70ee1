//! The state of an open image that all operations share.

use crate::commit::Table;
use crate::format::Header;
use block_core::{Child, Error, ErrorKind, InFlight, Result};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use zone_model::{Geometry, ZoneModel};

/// Marks an offline zone in the table of readable bytes.
const OFFLINE: u64 = u64::MAX;

/// An open image. It lives in an `Arc`, because work that outlives its caller holds it too.
pub(crate) struct Device {
    pub(crate) child: Child,
    pub(crate) header: Header,
    /// The zones' state. The lock is held for the moment of a decision, never across I/O.
    model: Mutex<ZoneModel>,
    /// For each zone, how many bytes from its start can be read from the file: what has landed.
    /// Kept beside the model so that reads take no lock.
    readable: Box<[AtomicU64]>,
    /// Pages of the zone table with pointers that moved since they were last committed.
    pub(crate) dirty: Box<[AtomicBool]>,
    /// What the medium holds; whoever commits has it locked.
    pub(crate) table: Arc<tokio::sync::Mutex<Table>>,
    /// Flushes asked for so far, so that one commit can serve all that wait.
    pub(crate) flushes: AtomicU64,
    /// Commits and management under way, also for callers that went away.
    pub(crate) in_flight: InFlight,
}

impl Device {
    pub(crate) fn new(child: Child, header: Header, model: ZoneModel, table: Table) -> Arc<Self> {
        let zones = header.geometry.nr_zones();
        let device = Self {
            child,
            header,
            readable: (0..zones).map(|_| AtomicU64::new(0)).collect(),
            dirty: (0..header.layout.pages).map(|_| AtomicBool::new(false)).collect(),
            model: Mutex::new(model),
            table: Arc::new(tokio::sync::Mutex::new(table)),
            flushes: AtomicU64::new(0),
            in_flight: InFlight::default(),
        };
        (0..zones).for_each(|zone| device.publish(zone));
        Arc::new(device)
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.header.geometry
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, ZoneModel> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets reads see where a zone's data ends now.
    pub(crate) fn publish(&self, zone: u64) {
        let readable = {
            let model = self.model();
            match model.saved(zone).map(|s| s.condition) {
                Some(zone_model::SavedCondition::Offline) => OFFLINE,
                _ => model.written(zone).unwrap_or(0),
            }
        };
        if let Some(place) = self.readable_of(zone) {
            place.store(readable, Ordering::Release);
        }
    }

    /// Bytes that can be read of a sequential zone, from its start; `None` for an offline zone.
    pub(crate) fn readable(&self, zone: u64) -> Option<u64> {
        let bytes = self.readable_of(zone)?.load(Ordering::Acquire);
        (bytes != OFFLINE).then_some(bytes)
    }

    fn readable_of(&self, zone: u64) -> Option<&AtomicU64> {
        self.readable.get(usize::try_from(zone).ok()?)
    }

    /// Notes that a zone's pointer moved, for the next flush.
    pub(crate) fn mark_dirty(&self, zone: u64) {
        let page = zone.checked_div(crate::format::ENTRIES_PER_PAGE);
        let place = page.and_then(|p| self.dirty.get(usize::try_from(p).ok()?));
        if let Some(dirty) = place
            && !dirty.load(Ordering::Relaxed)
        {
            dirty.store(true, Ordering::Release);
        }
    }

    /// Runs work to its end even if the caller goes away, and counts it as under way.
    pub(crate) async fn unstoppable<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let runtime = Handle::try_current().map_err(|_| {
            Error::from(ErrorKind::Unsupported(
                "zoned-file outside a tokio runtime; call it from a task of one".to_owned(),
            ))
        })?;
        let under_way = self.in_flight.start();
        let task = runtime.spawn(async move {
            let result = work.await;
            drop(under_way);
            result
        });
        task.await.unwrap_or_else(|gone| {
            Err(ErrorKind::Io(std::io::Error::other(format!(
                "the async runtime that carried this operation ended it: {gone}"
            )))
            .into())
        })
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("child", &self.child)
            .field("geometry", &self.header.geometry)
            .finish_non_exhaustive()
    }
}
