//! The zoned half of the public API.

use crate::backend::{BlockBackend, as_u64};
use crate::request::Asked;
use block_core::{IoVec, RequestFlags, Result, Zone, ZoneOp, ZonedLimits};

impl BlockBackend {
    /// The zones' facts; `None` for a node without zones.
    pub fn zoned(&self) -> Option<&ZonedLimits> {
        self.limits().zoned.as_ref()
    }

    /// Describes up to `max` zones, from the one that holds `offset` on. An offset at or past the
    /// end gives none. The report is a snapshot: other requests may change zones at any time.
    ///
    /// # Errors
    /// `NotZoned`, `InvalidDevice`, `Io`, `Closed`.
    pub async fn report_zones(&self, offset: u64, max: usize) -> Result<Vec<Zone>> {
        let asked = Asked::apart("zone report", Some((offset, 0)));
        self.request(asked, move |node| node.report_zones(offset, max)).await
    }

    /// Opens, closes, finishes or resets every zone in a range of whole zones. A range over the
    /// whole device skips conventional, read-only and offline zones; in any other they are errors.
    ///
    /// # Errors
    /// `NotZoned`, `ReadOnly`, `OutOfRange`, `Misaligned`, `ConventionalZone`, `TooManyOpen`,
    /// `TooManyActive`, `ZoneFull` (open), `ZoneReadOnly`, `ZoneOffline`, `Io`, `Closed`.
    pub async fn manage_zones(&self, op: ZoneOp, offset: u64, len: u64) -> Result<()> {
        let name = block_core::node::manage_name(op);
        self.explain(self.bounds().check_manage(offset, len), name, (offset, len))?;
        let asked = Asked::range(name, offset, len);
        self.request(asked, move |node| node.manage_zones(op, offset, len)).await
    }

    /// Opens zones explicitly. See [`manage_zones`](Self::manage_zones).
    pub async fn open_zones(&self, offset: u64, len: u64) -> Result<()> {
        self.manage_zones(ZoneOp::Open, offset, len).await
    }

    /// Closes zones. See [`manage_zones`](Self::manage_zones).
    pub async fn close_zones(&self, offset: u64, len: u64) -> Result<()> {
        self.manage_zones(ZoneOp::Close, offset, len).await
    }

    /// Makes zones full. See [`manage_zones`](Self::manage_zones).
    pub async fn finish_zones(&self, offset: u64, len: u64) -> Result<()> {
        self.manage_zones(ZoneOp::Finish, offset, len).await
    }

    /// Makes zones empty; their data is gone. See [`manage_zones`](Self::manage_zones).
    pub async fn reset_zones(&self, offset: u64, len: u64) -> Result<()> {
        self.manage_zones(ZoneOp::Reset, offset, len).await
    }

    /// Resets every zone of the device that can be reset. See
    /// [`manage_zones`](Self::manage_zones).
    pub async fn reset_all_zones(&self) -> Result<()> {
        self.reset_zones(0, self.length()).await
    }

    /// Writes at the write pointer of the zone that starts at `zone_start` and returns the
    /// position of the first byte. Appends may be in flight in any number: each lands in one
    /// piece, in the order of their first polls.
    ///
    /// # Errors
    /// `NotZoned`, `ReadOnly`, `OutOfRange`, `Misaligned`, `AppendTooLarge`, `ConventionalZone`,
    /// `ZoneFull` (the zone is full, or the data does not fit), `TooManyOpen`, `TooManyActive`,
    /// `ZoneReadOnly`, `ZoneOffline`, `NoSpace`, `Io`, `Closed`.
    pub async fn append(&self, zone_start: u64, bufs: impl Into<IoVec>) -> Result<u64> {
        self.append_with(zone_start, bufs, RequestFlags::empty()).await
    }

    /// Appends with flags; [`RequestFlags::FUA`] returns after the data and the write pointer are
    /// durable. Errors as for [`append`](Self::append).
    pub async fn append_with(
        &self,
        zone_start: u64,
        bufs: impl Into<IoVec>,
        flags: RequestFlags,
    ) -> Result<u64> {
        let bufs = bufs.into();
        let range = (zone_start, as_u64(bufs.len()));
        self.explain(self.bounds().check_append(range.0, range.1), "append", range)?;
        let asked = Asked::data("append", zone_start, range.1);
        self.request(asked, move |node| node.append(zone_start, bufs, flags)).await
    }
}
