//! The contract between a node and the driver that implements it.
//!
//! # Who checks what
//! The backend checks, once, that a request lies within the node, is aligned to
//! [`Limits::request_alignment`], is not empty, and is no write to a read-only node; that an append
//! names a zone's start and keeps to the device's append limit; that management covers whole zones.
//! A driver may rely on it.
//! What only a driver can know it checks itself: where a write pointer stands, what a device
//! answers. Content read from storage and answers of devices are hostile: a driver never panics on
//! them.
//!
//! # Cancellation
//! Any future may be dropped at any moment, and a dropped request may or may not have happened; a
//! dropped append or write to a sequential zone happens wholly or not at all. What must hold: no memory that an operation still uses is freed, no later request is corrupted,
//! no zone stays stuck, and [`settle`](BlockDriver::settle) waits for whatever still runs. The way
//! there is that buffers, guards and the update of write pointers travel *into* the operation.
//!
//! # Blocking
//! No method may keep the calling thread waiting for a device, for a file system or for another
//! request: a system call that can block is taken off the async threads. What is left is short: a
//! lock; the copying of at most 64 KiB from or to the page cache, where the kernel says that it has
//! no need to wait; and a look-out of some microseconds for an answer that is about to come, where
//! being woken for it would take longer.

use crate::buffer::{IoVec, IoVecMut};
use crate::edge::Child;
use crate::error::Result;
use crate::flags::RequestFlags;
use crate::limits::Limits;
use crate::stats::Counter;
use crate::zone::{Zone, ZoneOp};
use async_trait::async_trait;
use std::fmt::Debug;

/// One kind of node: a protocol (the bottom of the graph), a format or a filter.
///
/// No method has a default, so that a filter that forgets to forward one does not compile. Offsets
/// and lengths are in bytes.
#[async_trait]
pub trait BlockDriver: Debug + Send + Sync {
    /// The name by which options choose this driver, for example `zoned-file`.
    fn driver_name(&self) -> &'static str;

    /// The facts that never change while the node is open.
    fn limits(&self) -> Limits;

    /// The node's length at this moment.
    fn length(&self) -> u64;

    /// The nodes that this one stands on, in a fixed order.
    fn children(&self) -> Vec<&Child>;

    /// What the driver counts beyond the requests themselves, such as the writes that a queue
    /// issued for them. Names are fixed for each driver; values only grow.
    fn counters(&self) -> Vec<Counter>;

    /// The zoned half of the driver, if the node has zones. It is `Some` exactly when
    /// [`Limits::zoned`] is.
    fn zoned(&self) -> Option<&dyn ZonedDriver>;

    /// Fills `bufs` from `offset` on and gives them back. Never a short read.
    async fn read(&self, offset: u64, bufs: IoVecMut) -> Result<IoVecMut>;

    /// Writes all of `bufs` at `offset`. With [`RequestFlags::FUA`] the data is durable on return.
    ///
    /// After an error the range may hold old, new or mixed data; write pointers are right.
    async fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Result<()>;

    /// Makes durable every write, append, write-zeroes, discard and zone operation that returned
    /// before this was called.
    async fn flush(&self) -> Result<()>;

    /// Says that the range's content is no longer needed; what a read then gives is unspecified,
    /// old data or zeroes. Refused as unsupported where [`Limits::discard`] is false.
    async fn discard(&self, offset: u64, len: u64) -> Result<()>;

    /// Makes the range read as zeroes, by the cheapest way that there is. In a sequential zone it
    /// is a write: it starts at the write pointer and moves it.
    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()>;

    /// Changes the node's length, and that of the storage below. New space reads as zeroes.
    async fn resize(&self, length: u64) -> Result<()>;

    /// Looks again at the storage below, whose length others may have changed, and takes a larger one
    /// for the node's. Requests go on meanwhile. What [`length`](BlockDriver::length) then tells is
    /// there: a node that stands on another one has that look first.
    ///
    /// [`Shrunk`](crate::ErrorKind::Shrunk) if there is less than there was: the node keeps its
    /// length, because its users would not learn what they lost. Unsupported where the length is part
    /// of what was read at the opening, as zones are. If the future is dropped, the length is the old
    /// one or the new one.
    async fn refresh(&self) -> Result<()>;

    /// Waits until no operation that started before this call still runs, those included whose
    /// futures were dropped. Children are not waited for: the graph settles them one by one.
    async fn settle(&self) -> Result<()>;

    /// Ends the node's use: what must be written at the end is written and made durable, locks are
    /// released. Called after everything settled, and no request follows. Called
    /// again only if its future was dropped before the end: it then ends what is left to do. A node that is dropped
    /// without a close loses nothing that was flushed. Children are closed after their parents.
    async fn close(&self) -> Result<()>;
}

/// The zoned half of a driver.
#[async_trait]
pub trait ZonedDriver: Send + Sync {
    /// Describes up to `max` zones, from the one that holds `offset` on. An offset at or past the
    /// end, or a `max` of 0, gives no zones.
    async fn report_zones(&self, offset: u64, max: usize) -> Result<Vec<Zone>>;

    /// Changes the condition of the zones in the range.
    ///
    /// The backend checked that the range starts at a zone's start and ends at one, or at the end
    /// of the device. A range over the whole device skips conventional, read-only and offline
    /// zones; in any other range they are errors.
    async fn manage_zones(&self, op: ZoneOp, offset: u64, len: u64) -> Result<()>;

    /// Writes `bufs` at the write pointer of the zone that starts at `zone_start`, and returns the
    /// position where the data landed.
    ///
    /// Appends to one zone land in the order of their first poll, each in one piece.
    async fn append(&self, zone_start: u64, bufs: IoVec, flags: RequestFlags) -> Result<u64>;
}
