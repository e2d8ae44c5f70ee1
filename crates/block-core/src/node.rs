//! A node: a driver with a name, counters, spans and users.

use crate::buffer::{IoVec, IoVecMut};
use crate::driver::{BlockDriver, ZonedDriver};
use crate::edge::{Child, Users};
use crate::error::{Error, ErrorKind, Result};
use crate::flags::RequestFlags;
use crate::limits::Limits;
use crate::observe::Request;
use crate::stats::{NodeStats, OpKind};
use crate::zone::{Zone, ZoneOp};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// A node of the graph. Parents hold it through a [`Child`]; it lives as long as one of them.
///
/// Its request methods are those of [`BlockDriver`] and [`ZonedDriver`], with the same contract;
/// they add counting, a tracing span at level `TRACE` (target `block`, fields node, op, offset,
/// len and outcome), and the names that an error needs.
pub struct Node {
    name: Arc<str>,
    driver: Box<dyn BlockDriver>,
    limits: Limits,
    stats: NodeStats,
    users: Mutex<Users>,
    closed: AtomicBool,
    /// What the driver's closing came to.
    driver_closed: OnceCell<Result<()>>,
}

impl Node {
    /// A node outside any graph, for building in code. The name appears in messages.
    pub fn new(name: impl Into<Arc<str>>, driver: Box<dyn BlockDriver>) -> Arc<Self> {
        let limits = driver.limits();
        Arc::new(Self {
            name: name.into(),
            driver,
            limits,
            stats: NodeStats::default(),
            users: Mutex::default(),
            closed: AtomicBool::new(false),
            driver_closed: OnceCell::new(),
        })
    }

    /// The node's name, unique in its graph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's name, shared.
    pub fn name_arc(&self) -> &Arc<str> {
        &self.name
    }

    /// The name of the node's driver.
    pub fn driver_name(&self) -> &'static str {
        self.driver.driver_name()
    }

    /// The driver itself, for what goes beyond the common contract.
    pub fn driver(&self) -> &dyn BlockDriver {
        &*self.driver
    }

    /// The facts that never change while the node is open.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The node's length at this moment, in bytes.
    pub fn length(&self) -> u64 {
        self.driver.length()
    }

    /// The nodes below.
    pub fn children(&self) -> Vec<&Child> {
        self.driver.children()
    }

    /// What the node counted since it was opened.
    pub fn stats(&self) -> &NodeStats {
        &self.stats
    }

    pub(crate) fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn zoned(&self) -> Result<&dyn ZonedDriver> {
        self.driver.zoned().ok_or_else(|| Error::from(ErrorKind::NotZoned))
    }

    /// See [`BlockDriver::read`].
    pub fn read(&self, offset: u64, bufs: IoVecMut) -> Request<'_, IoVecMut> {
        let range = (offset, as_u64(bufs.len()));
        Request::new(self, OpKind::Read, range, self.driver.read(offset, bufs))
    }

    /// See [`BlockDriver::write`].
    pub fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Request<'_, ()> {
        let range = (offset, as_u64(bufs.len()));
        Request::new(self, OpKind::Write, range, self.driver.write(offset, bufs, flags))
    }

    /// See [`BlockDriver::flush`].
    pub fn flush(&self) -> Request<'_, ()> {
        Request::new(self, OpKind::Flush, (0, 0), self.driver.flush())
    }

    /// See [`BlockDriver::discard`].
    pub fn discard(&self, offset: u64, len: u64) -> Request<'_, ()> {
        Request::new(self, OpKind::Discard, (offset, len), self.driver.discard(offset, len))
    }

    /// See [`BlockDriver::write_zeroes`].
    pub fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Request<'_, ()> {
        let call = self.driver.write_zeroes(offset, len, flags);
        Request::new(self, OpKind::WriteZeroes, (offset, len), call)
    }

    /// See [`BlockDriver::resize`].
    pub async fn resize(&self, length: u64) -> Result<()> {
        let result = self.driver.resize(length).await;
        result.map_err(|e| self.explain(e, "resize", Some((0, length))))
    }

    /// See [`BlockDriver::refresh`].
    pub async fn refresh(&self) -> Result<()> {
        self.driver.refresh().await.map_err(|e| self.explain(e, "look at the length", None))
    }

    /// See [`ZonedDriver::report_zones`]. [`NotZoned`](ErrorKind::NotZoned) without zones.
    pub fn report_zones(&self, offset: u64, max: usize) -> Request<'_, Vec<Zone>> {
        let call = Box::pin(async move { self.zoned()?.report_zones(offset, max).await });
        Request::new(self, OpKind::Report, (offset, 0), call)
    }

    /// See [`ZonedDriver::manage_zones`]. [`NotZoned`](ErrorKind::NotZoned) without zones.
    pub fn manage_zones(&self, op: ZoneOp, offset: u64, len: u64) -> Request<'_, ()> {
        let call = Box::pin(async move {
            let result = self.zoned()?.manage_zones(op, offset, len).await;
            result.map_err(|e| e.with_request(manage_name(op), Some((offset, len))))
        });
        Request::new(self, OpKind::Manage, (offset, len), call)
    }

    /// See [`ZonedDriver::append`]. [`NotZoned`](ErrorKind::NotZoned) without zones.
    pub fn append(&self, zone_start: u64, bufs: IoVec, flags: RequestFlags) -> Request<'_, u64> {
        let range = (zone_start, as_u64(bufs.len()));
        let call = match self.driver.zoned() {
            Some(zoned) => zoned.append(zone_start, bufs, flags),
            None => Box::pin(async { Err(ErrorKind::NotZoned.into()) }),
        };
        Request::new(self, OpKind::Append, range, call)
    }

    /// Waits, on this node and then on all below it, for operations whose futures were dropped.
    /// See [`BlockDriver::settle`].
    pub async fn settle(&self) -> Result<()> {
        self.driver.settle().await.map_err(|e| self.explain(e, "settle", None))?;
        for child in self.driver.children() {
            Box::pin(child.settle()).await?;
        }
        Ok(())
    }

    /// Closes this node and then all below it that have no other parent; nobody can attach to it
    /// from then on. An error does not stop the rest from being closed; the first one is returned.
    /// See [`BlockDriver::close`]. A parent closes its edge instead, with [`Child::close`]. A second
    /// call waits for the first one and returns the same; if the future is dropped, another call
    /// ends the work.
    pub async fn close(&self) -> Result<()> {
        self.refuse_users();
        let driver =
            || async { self.driver.close().await.map_err(|e| self.explain(e, "close", None)) };
        let mut result = self.driver_closed.get_or_init(driver).await.clone();
        for child in self.driver.children() {
            result = result.and(child.close().await);
        }
        result
    }

    /// Nobody can attach from now on.
    pub(crate) fn refuse_users(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the node was closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn explain(
        &self,
        error: Error,
        op: &'static str,
        range: Option<(u64, u64)>,
    ) -> Error {
        error.with_request(op, range).with_node(&self.name)
    }
}

/// The name of a management operation in error messages, for example `zone reset`.
pub const fn manage_name(op: ZoneOp) -> &'static str {
    match op {
        ZoneOp::Open => "zone open",
        ZoneOp::Close => "zone close",
        ZoneOp::Finish => "zone finish",
        ZoneOp::Reset => "zone reset",
    }
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.name).field("driver", &self.driver).finish()
    }
}
