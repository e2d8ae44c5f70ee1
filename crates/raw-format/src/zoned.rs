//! The zoned half: what the child says about zones, in terms of the window.

use crate::driver::Raw;
use async_trait::async_trait;
use block_core::{
    BlockDriver, Error, ErrorKind, IoVec, RequestFlags, Result, Zone, ZoneOp, ZonedDriver,
};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ZonedDriver for Raw {
    async fn report_zones(&self, offset: u64, max: usize) -> Result<Vec<Zone>> {
        if self.window.is_whole() {
            return self.child.report_zones(offset, max).await;
        }
        let mut zones = self.report_below(offset, max).await?;
        for zone in &mut zones {
            zone.start = self.above(zone.start)?;
            zone.write_pointer = zone.write_pointer.map(|wp| self.above(wp)).transpose()?;
        }
        Ok(zones)
    }

    async fn manage_zones(&self, op: ZoneOp, offset: u64, len: u64) -> Result<()> {
        // Over the whole window some zones are skipped, and over a part of the child none are.
        let length = self.length();
        if offset == 0 && len == length && length != self.child.length() {
            return self.manage_all(op).await;
        }
        self.child.manage_zones(op, self.below(offset), len).await
    }

    async fn append(&self, zone_start: u64, bufs: IoVec, flags: RequestFlags) -> Result<u64> {
        let position = self.child.append(self.below(zone_start), bufs, flags).await?;
        self.above(position)
    }
}

impl Raw {
    /// The zones of the window from `offset` on, as the child describes them.
    pub(crate) async fn report_below(&self, offset: u64, max: usize) -> Result<Vec<Zone>> {
        let length = self.length();
        if offset >= length || max == 0 {
            return Ok(Vec::new());
        }
        let left = match self.limits().zoned {
            Some(zoned) => zoned.nr_zones.saturating_sub(zoned.zone_index(offset)),
            None => 0,
        };
        let max = max.min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut zones = self.child.report_zones(self.below(offset), max).await?;
        let end = self.below(length);
        zones.retain(|zone| zone.start < end);
        Ok(zones)
    }

    /// Where a position in the child is in the window.
    fn above(&self, position: u64) -> Result<u64> {
        position.checked_sub(self.window.offset).ok_or_else(|| {
            Error::from(ErrorKind::InvalidDevice(format!(
                "the answer of '{}' speaks of {position:#x}, which is before the window ({})",
                self.child.name(),
                self.window
            )))
        })
    }
}
