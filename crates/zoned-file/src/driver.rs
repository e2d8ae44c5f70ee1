//! The driver `zoned-file`: the contract of a node, on an open image.

use crate::device::Device;
use crate::manage;
use async_trait::async_trait;
use block_core::{
    BlockDriver, Child, ErrorKind, IoVec, IoVecMut, Limits, RequestFlags, Result, Zone,
    ZoneCondition, ZoneOp, ZonedDriver,
};
use std::sync::Arc;
use zone_queue::{Payload, QueueLimits, QueueStats, Sequencer};

/// An open emulated zoned device.
#[derive(Debug)]
pub struct ZonedFile {
    device: Arc<Device>,
    queues: Sequencer<Device>,
    read_only: bool,
}

impl ZonedFile {
    pub(crate) fn new(device: Arc<Device>, read_only: bool) -> Self {
        let zones = usize::try_from(device.geometry().nr_zones()).unwrap_or(usize::MAX);
        let mut limits = QueueLimits::default();
        let largest = u64::from(device.child.limits().max_transfer);
        if largest != 0 {
            limits.max_batch_bytes = limits.max_batch_bytes.min(largest);
        }
        let queues = Sequencer::new(Arc::clone(&device), zones, limits);
        Self { device, queues, read_only }
    }

    /// Makes a zone read-only or offline, as a failing device does, for tests. Durable on return;
    /// there is no way back.
    ///
    /// # Errors
    /// `OutOfRange`, `ConventionalZone`, `InvalidOption` for any other condition, `Io`.
    pub async fn set_zone_condition(&self, zone: u64, to: ZoneCondition) -> Result<()> {
        if self.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        manage::set_condition(&self.queues, zone, to).await
    }

    /// What the queues of the zones counted.
    pub fn queue_stats(&self) -> &QueueStats {
        self.queues.stats()
    }

    fn zone_of(&self, offset: u64) -> Result<u64> {
        let geometry = self.device.geometry();
        let out_of_range = ErrorKind::OutOfRange { length: geometry.size() };
        Ok(geometry.index_of(offset).ok_or(out_of_range)?)
    }

    /// Whether a write starts in a conventional zone; if so, it must end in one.
    fn is_conventional(&self, offset: u64, len: u64) -> Result<bool> {
        let end = self.device.geometry().conventional_end();
        if offset >= end {
            return Ok(false);
        }
        if offset.saturating_add(len) > end {
            // The model knows how to say it.
            self.device.model().start_write(offset, len)?;
        }
        Ok(true)
    }

    async fn write_sequential(
        &self,
        offset: u64,
        payload: Payload,
        flags: RequestFlags,
    ) -> Result<()> {
        self.queues.submit(self.zone_of(offset)?, Some(offset), payload).await?;
        self.end_of_write(flags).await
    }

    async fn end_of_write(&self, flags: RequestFlags) -> Result<()> {
        // In a box, so that a write that needs no flush has no room for one.
        if flags.contains(RequestFlags::FUA) { Box::pin(self.device.flush()).await } else { Ok(()) }
    }
}

#[async_trait]
impl BlockDriver for ZonedFile {
    fn driver_name(&self) -> &'static str {
        crate::factory::NAME
    }

    fn limits(&self) -> Limits {
        let below = self.device.child.limits();
        let geometry = self.device.geometry();
        Limits {
            block_size: geometry.block_size(),
            request_alignment: geometry.block_size(),
            memory_alignment: below.memory_alignment,
            max_transfer: below.max_transfer,
            discard: false,
            read_only: self.read_only,
            zoned: Some(geometry.limits()),
        }
    }

    fn length(&self) -> u64 {
        self.device.geometry().size()
    }

    fn children(&self) -> Vec<&Child> {
        vec![&self.device.child]
    }

    fn counters(&self) -> Vec<block_core::Counter> {
        self.queues.stats().counters()
    }

    fn zoned(&self) -> Option<&dyn ZonedDriver> {
        Some(self)
    }

    async fn read(&self, offset: u64, mut bufs: IoVecMut) -> Result<IoVecMut> {
        let total = u64::try_from(bufs.len()).unwrap_or(u64::MAX);
        let end = offset.saturating_add(total);
        let mut done = IoVecMut::new();
        let mut at = offset;
        while at < end {
            let extent = self.device.extent(at..end)?;
            let len = usize::try_from(extent.len).unwrap_or(usize::MAX);
            let mut part = bufs.split_to(len);
            if extent.data {
                let place = self.device.header.layout.data(at);
                part = self.device.child.read(place, part).await?;
            } else {
                part.fill(0);
            }
            if at == offset {
                done = part;
            } else {
                done.append(part);
            }
            at = at.saturating_add(extent.len.max(1));
        }
        Ok(done)
    }

    async fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Result<()> {
        let len = u64::try_from(bufs.len()).unwrap_or(u64::MAX);
        if self.is_conventional(offset, len)? {
            let place = self.device.header.layout.data(offset);
            return self.device.child.write(place, bufs, flags).await;
        }
        self.write_sequential(offset, Payload::Data(bufs), flags).await
    }

    async fn flush(&self) -> Result<()> {
        if self.read_only { Ok(()) } else { self.device.flush().await }
    }

    async fn discard(&self, _: u64, _: u64) -> Result<()> {
        Err(ErrorKind::Unsupported(
            "a zoned device takes no discards; reset sequential zones, write zeroes to conventional ones".to_owned(),
        )
        .into())
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        if self.is_conventional(offset, len)? {
            let place = self.device.header.layout.data(offset);
            return self.device.child.write_zeroes(place, len, flags).await;
        }
        self.write_sequential(offset, Payload::Zeroes(len, flags), flags).await
    }

    async fn resize(&self, _: u64) -> Result<()> {
        Err(ErrorKind::Unsupported(
            "the size of a zoned device is fixed when its image is made".to_owned(),
        )
        .into())
    }

    async fn refresh(&self) -> Result<()> {
        Err(ErrorKind::Unsupported(
            "a zoned device keeps its size, whatever becomes of its file: to have a larger one, make \
             an image with `zblk create` and copy the zones"
                .to_owned(),
        )
        .into())
    }

    async fn settle(&self) -> Result<()> {
        self.queues.settle().await;
        self.device.in_flight.settle().await;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        let device = Arc::clone(&self.device);
        self.device.unstoppable(async move { device.commit().await?.close().await }).await
    }
}

#[async_trait]
impl ZonedDriver for ZonedFile {
    async fn report_zones(&self, offset: u64, max: usize) -> Result<Vec<Zone>> {
        // In pieces, so that a report of many zones holds no write up.
        const PIECE: usize = 1024;
        let mut zones: Vec<Zone> = Vec::new();
        let mut at = offset;
        while zones.len() < max {
            let want = max.saturating_sub(zones.len()).min(PIECE);
            let piece = self.device.model().report(at, want);
            let Some(last) = piece.last() else { break };
            at = last.end();
            zones.extend(piece);
        }
        Ok(zones)
    }

    async fn manage_zones(&self, op: ZoneOp, offset: u64, len: u64) -> Result<()> {
        let zones = self.device.geometry().zone_range(offset, len)?;
        manage::manage(&self.queues, op, zones).await
    }

    async fn append(&self, zone_start: u64, bufs: IoVec, flags: RequestFlags) -> Result<u64> {
        let zone = self.zone_of(zone_start)?;
        let span = self.device.geometry().span(zone);
        if span.is_some_and(|s| s.start != zone_start || !s.zone_type.is_sequential()) {
            // The model knows how to say it.
            let len = u64::try_from(bufs.len()).unwrap_or(u64::MAX);
            self.device.model().start_append(zone_start, len)?;
        }
        let position = self.queues.submit(zone, None, Payload::Data(bufs)).await?;
        self.end_of_write(flags).await?;
        Ok(position)
    }
}
