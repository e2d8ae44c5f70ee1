//! The state of an open zoned device that all operations share.

use super::native::Native;
use super::report;
use super::shape::Shape;
use super::track::{Known, Track};
use crate::engine::blocking;
use crate::file::driver::FileDriver;
use crate::open_file::OpenFile;
use block_core::{BlockDriver, Error, ErrorKind, InFlight, Result, Zone, ZonedLimits};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use zone_queue::Payload;

/// An open zoned device. It lives in an `Arc`, because work that outlives its caller holds it too.
#[derive(Debug)]
pub(super) struct Device {
    /// Data goes this way.
    pub io: FileDriver,
    pub shape: Shape,
    pub limits: ZonedLimits,
    pub native: Option<Native>,
    /// Whether others may write to the device, too.
    pub shared: bool,
    tracks: Box<[Track]>,
    /// Held by whoever brings a zone into use.
    pub entering: Mutex<()>,
    /// What the last failed write of a zone was to write, until it is known what landed.
    failed: Mutex<BTreeMap<u64, Payload>>,
    /// Calls that do not go through `io`, also of callers that went away.
    pub calls: InFlight,
    /// Work in tasks of its own.
    pub tasks: InFlight,
}

impl Device {
    pub(super) fn new(
        io: FileDriver,
        shape: Shape,
        limits: ZonedLimits,
        native: Option<Native>,
        shared: bool,
    ) -> Self {
        Self {
            io,
            shape,
            limits,
            native,
            shared,
            tracks: (0..shape.count()).map(|_| Track::default()).collect(),
            entering: Mutex::default(),
            failed: Mutex::default(),
            calls: InFlight::default(),
            tasks: InFlight::default(),
        }
    }

    pub(super) fn track(&self, zone: u64) -> Result<&Track> {
        let found = usize::try_from(zone).ok().and_then(|zone| self.tracks.get(zone));
        found.ok_or_else(|| ErrorKind::OutOfRange { length: self.shape.length }.into())
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<u64, Payload>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep_failed(&self, zone: u64, payload: Payload) {
        self.failed().insert(zone, payload);
    }

    pub(super) fn take_failed(&self, zone: u64) -> Option<Payload> {
        self.failed().remove(&zone)
    }

    /// Makes calls that can block, off the async threads.
    pub(super) async fn call<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&OpenFile) -> Result<T> + Send + 'static,
    {
        let guard = self.calls.start();
        let file = self.io.open_file()?;
        let result = blocking(move || {
            let result = work(&file);
            drop(file);
            drop(guard);
            result
        });
        result.await?
    }

    /// Asks the device how zones stand.
    pub(super) async fn report(&self, zones: Range<u64>) -> Result<Vec<Zone>> {
        let shape = self.shape;
        self.call(move |file| report::read(file, &shape, zones)).await
    }

    /// As [`report`](Self::report), of one zone.
    pub(super) async fn report_one(&self, zone: u64) -> Result<Zone> {
        let zones = self.report(zone..zone.saturating_add(1)).await?;
        zones
            .first()
            .copied()
            .ok_or_else(|| ErrorKind::OutOfRange { length: self.shape.length }.into())
    }

    /// Asks the device how this zone stands and takes note of it; for whoever has the zone to
    /// himself.
    pub(super) async fn look(&self, zone: u64) -> Result<Known> {
        let found = self.report_one(zone).await?;
        Ok(self.track(zone)?.learn(&found))
    }

    /// Waits until no call still runs whose caller went away.
    pub(super) async fn settle_calls(&self) -> Result<()> {
        self.calls.settle().await;
        self.io.settle().await
    }

    /// Runs work to its end even if the caller goes away, and counts it as under way.
    pub(super) async fn unstoppable<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let runtime = Handle::try_current().map_err(|_| {
            Error::from(ErrorKind::Unsupported(
                "zone operations need a tokio runtime, and this one was polled outside of any"
                    .to_owned(),
            ))
        })?;
        let under_way = self.tasks.start();
        let task = runtime.spawn(async move {
            let result = work.await;
            drop(under_way);
            result
        });
        task.await.unwrap_or_else(|gone| {
            let why = format!("the async runtime that carried this operation ended it: {gone}");
            Err(ErrorKind::Io(io::Error::other(why)).into())
        })
    }
}
