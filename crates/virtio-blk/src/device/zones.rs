//! Zones managed and reported.

use super::{Device, Failed};
use crate::chain::Segments;
use crate::memory::StableMemory;
use crate::request::Header;
use block_core::{Zone, ZoneCondition};
use block_export::report;
use block_export::status::virtio_blk;
use block_export::{Reply, Request};
use std::sync::Arc;

/// Descriptors of a zone report that are made at a time: bounds the memory that a report takes,
/// whatever the size of its buffer.
const REPORT: u64 = 1024;

impl Device {
    pub(super) async fn manage(
        &self,
        header: Header,
        request: impl FnOnce(u64) -> Request,
    ) -> Result<u64, Failed> {
        let offset = header.offset.ok_or(virtio_blk::ZONE_INVALID_CMD)?;
        self.plain(request(offset)).await
    }

    /// A full zone cannot become a closed one, and the driver is told so; the zones below leave it as
    /// it is without a word. An empty zone, which is what closing one without data gives, stays.
    pub(super) async fn close(&self, header: Header) -> Result<u64, Failed> {
        let offset = header.offset.ok_or(virtio_blk::ZONE_INVALID_CMD)?;
        let before = self.ask(Request::ReportZones { offset, max_zones: 1 }).await?;
        let is_full = matches!(
            before,
            Reply::Zones(zones) if zones.first().is_some_and(|zone| {
                zone.condition == ZoneCondition::Full
            })
        );
        if is_full {
            return Err(virtio_blk::ZONE_INVALID_CMD);
        }
        self.plain(Request::Close { offset }).await
    }

    pub(super) async fn report<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        header: Header,
        writable: &Segments,
    ) -> Result<u64, Failed> {
        let inside = |offset: &u64| *offset < self.0.export.length();
        let first = header.offset.filter(inside).ok_or(virtio_blk::ZONE_INVALID_CMD)?;
        let mut room = report::virtio::room(writable.len()).ok_or(virtio_blk::ZONE_INVALID_CMD)?;
        let mut writable = writable.clone();
        let head = writable.split_to(u64::try_from(report::virtio::HEADER).unwrap_or(0));
        let mut next = first;
        let mut told = 0_u64;
        while room > 0 {
            let max_zones = usize::try_from(room.min(REPORT)).unwrap_or(0);
            let asked = self.ask(Request::ReportZones { offset: next, max_zones }).await?;
            let Reply::Zones(zones) = asked else {
                return Err(virtio_blk::IOERR);
            };
            let Some(last) = zones.last() else {
                break;
            };
            next = last.end();
            let bytes = descriptors(&zones);
            let len = u64::try_from(bytes.len()).unwrap_or(0);
            writable.split_to(len).write(&**memory, &bytes).ok_or(virtio_blk::IOERR)?;
            let number = u64::try_from(zones.len()).unwrap_or(0);
            told = told.saturating_add(number);
            room = room.saturating_sub(number);
        }
        head.write(&**memory, &report::virtio::header(told)).ok_or(virtio_blk::IOERR)?;
        let each = u64::try_from(report::DESCRIPTOR).unwrap_or(0);
        Ok(told.saturating_mul(each).saturating_add(head.len()))
    }
}

fn descriptors(zones: &[Zone]) -> Vec<u8> {
    zones.iter().flat_map(report::virtio::descriptor).collect()
}
