//! The node on a zoned device.

use super::device::Device;
use super::manage;
use super::native::{self, Native};
use super::refusal;
use super::shape::Shape;
use super::track::Known;
use crate::engine::Engine;
use crate::file::driver::FileDriver;
use crate::host_device::factory::Append;
use crate::host_device::open::Opened;
use crate::host_device::regular::no_resize;
use crate::sysfs::ZonedQueue;
use async_trait::async_trait;
use block_core::{
    BlockDriver, Child, Error, ErrorKind, IoVec, IoVecMut, Limits, RequestFlags, Result, Zone,
    ZoneOp, ZoneType, ZonedDriver, ZonedLimits,
};
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Waker};
use zone_queue::{ExclusiveZone, Payload, QueueLimits, Sequencer};

/// A node on a zoned block device.
#[derive(Debug)]
pub(crate) struct ZonedDevice {
    name: &'static str,
    device: Arc<Device>,
    queues: Sequencer<Device>,
    limits: Limits,
}

/// Makes the node. Asks nothing of the device's zones: that happens when they are used.
pub(in crate::host_device) fn driver(
    name: &'static str,
    opened: Opened,
    zoned: ZonedQueue,
    engine: Engine,
    append: Append,
) -> Result<ZonedDevice> {
    let native = match append {
        Append::Emulated => None,
        Append::Auto if opened.how.locking => None,
        Append::Auto => Native::detect(&opened).ok(),
        Append::Native => Some(Native::detect(&opened)?),
    };
    let shape = Shape { zone_size: zoned.zone_size, length: opened.size };
    let zoned = ZonedLimits {
        model: zoned.model,
        zone_size: zoned.zone_size,
        nr_zones: shape.count(),
        max_open_zones: zoned.max_open,
        max_active_zones: zoned.max_active,
        max_append_bytes: match native {
            Some(_) => Native::largest(zoned.max_append, opened.max_command),
            None => 0,
        },
        write_granularity: zoned.write_granularity.max(opened.block_size),
    };
    let limits = Limits { discard: false, zoned: Some(zoned), ..opened.limits() };
    // Appends by command, ours or those of somebody who shares the device, move its pointer past the
    // kernel's own, which then refuses the next plain write, once. On Linux 6.12 a write by io_uring
    // was refused again after the report that puts it right; one from a thread was not.
    let shared = native.is_some() || !opened.how.locking;
    let engine = if shared { Engine::threads() } else { engine };
    let io = FileDriver::new(opened.file, engine, opened.how.read_only);
    let device = Arc::new(Device::new(io, shape, zoned, native, !opened.how.locking));
    let zones = usize::try_from(shape.count()).unwrap_or(usize::MAX);
    let queues = Sequencer::new(Arc::clone(&device), zones, QueueLimits::default());
    Ok(ZonedDevice { name, device, queues, limits })
}

impl ZonedDevice {
    fn check_writable(&self) -> Result<()> {
        if self.limits.read_only { Err(ErrorKind::ReadOnly.into()) } else { Ok(()) }
    }

    /// Whether writes to this zone are known to need no order.
    fn takes_any_order(&self, zone: u64) -> Result<bool> {
        let zone_type = self.device.track(zone)?.state().zone_type;
        Ok(zone_type.is_some_and(|t| t != ZoneType::SequentialWriteRequired))
    }

    /// Sees to it that the zone is looked at before what is submitted next, unless it is known.
    ///
    /// The zone's queue looks at zones that are in doubt. Giving a zone back unfinished puts it in
    /// doubt. This is done at once, without waiting, so that requests keep their order.
    fn bring_into_use(&self, zone: u64) -> Result<()> {
        let track = self.device.track(zone)?;
        if track.state().in_use {
            return Ok(());
        }
        let _entering = self.device.entering.lock().unwrap_or_else(PoisonError::into_inner);
        if !track.state().in_use {
            // If somebody holds the zone, he leaves it known or in doubt.
            let hold = pin!(self.queues.exclusive(zone));
            let _ = hold.poll(&mut Context::from_waker(Waker::noop()));
        }
        track.state().in_use = true;
        Ok(())
    }

    /// Gives a request to the zone's queue. A refusal that came from what we believed is told only
    /// if the device says the same.
    async fn submit(&self, zone: u64, at: Option<u64>, payload: Payload) -> Result<u64> {
        self.bring_into_use(zone)?;
        let error = match self.queues.submit(zone, at, payload.clone()).await {
            Ok(position) => return Ok(position),
            Err(error) => error,
        };
        // In boxes, as all that is rare here, so that a write has no room for what it does not need.
        if refusal::is_belief(&error) && Box::pin(self.changed_behind_us(zone)).await? {
            return Box::pin(self.queues.submit(zone, at, payload)).await;
        }
        Err(error)
    }

    /// Looks at a zone; whether it stands otherwise than we believed.
    async fn changed_behind_us(&self, zone: u64) -> Result<bool> {
        let hold = self.queues.exclusive(zone).await?;
        let believed = { self.device.track(zone)?.state().known };
        let now = self.device.look(zone).await?;
        ExclusiveZone::finished(hold);
        Ok(believed.is_none_or(|believed: Known| !believed.agrees(&now)))
    }

    async fn write_sequential(
        &self,
        offset: u64,
        payload: Payload,
        flags: RequestFlags,
    ) -> Result<()> {
        self.submit(self.device.shape.index_of(offset), Some(offset), payload).await?;
        self.end_of_write(flags).await
    }

    async fn end_of_write(&self, flags: RequestFlags) -> Result<()> {
        match flags.contains(RequestFlags::FUA) {
            true => Box::pin(self.device.io.flush()).await,
            false => Ok(()),
        }
    }

    /// Whether the range is for zones that keep no order. It must then not reach into others.
    ///
    /// Of a sequential zone that is used for the first time this is known after the write only.
    async fn is_unordered(&self, offset: u64, len: u64) -> Result<bool> {
        let shape = &self.device.shape;
        let first = shape.index_of(offset);
        if !self.takes_any_order(first)? {
            return Ok(false);
        }
        let end = offset.saturating_add(len);
        let mut zone = first.saturating_add(1);
        while shape.start_of(zone) < end && zone < shape.count() {
            if self.device.track(zone)?.state().zone_type.is_none() {
                let found = self.device.report_one(zone).await?;
                self.device.track(zone)?.state().zone_type = Some(found.zone_type);
            }
            if !self.takes_any_order(zone)? {
                let boundary = shape.start_of(zone);
                return Err(ErrorKind::ZoneBoundary { zone: shape.id(first), boundary }.into());
            }
            zone = zone.saturating_add(1);
        }
        Ok(true)
    }

    /// After a write that kept no order, what is known of a write pointer is out of date.
    fn forget(&self, offset: u64, len: u64) {
        let shape = &self.device.shape;
        let last = shape.index_of(offset.saturating_add(len.saturating_sub(1)));
        for zone in shape.index_of(offset)..=last {
            if let Ok(track) = self.device.track(zone) {
                track.state().in_use = false;
            }
        }
    }

    /// A failed request, with what the zones of its range say about it.
    async fn explain(&self, offset: u64, len: u64, error: Error) -> Error {
        /// So many zones are asked about a failure.
        const MOST: u64 = 64;
        if !matches!(error.kind(), ErrorKind::Io(_)) {
            return error;
        }
        let shape = &self.device.shape;
        let first = shape.index_of(offset);
        let end = offset.saturating_add(len.max(1)).min(shape.length);
        let behind = end.div_ceil(shape.zone_size.max(1)).min(first.saturating_add(MOST));
        let Ok(zones) = self.device.report(first..behind).await else {
            return error;
        };
        let offline = zones.iter().find(|z| z.condition == block_core::ZoneCondition::Offline);
        match offline {
            Some(zone) => {
                let zone = shape.id(shape.index_of(zone.start));
                ErrorKind::ZoneOffline { zone }.into()
            }
            None => error,
        }
    }
}

/// Whether a zone's queue found that the zone needs none.
fn needs_no_queue<T>(result: &Result<T>) -> bool {
    result.as_ref().is_err_and(|e| matches!(e.kind(), ErrorKind::ConventionalZone { .. }))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlockDriver for ZonedDevice {
    fn driver_name(&self) -> &'static str {
        self.name
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn length(&self) -> u64 {
        self.device.shape.length
    }

    fn children(&self) -> Vec<&Child> {
        Vec::new()
    }

    fn counters(&self) -> Vec<block_core::Counter> {
        self.queues.stats().counters()
    }

    fn zoned(&self) -> Option<&dyn ZonedDriver> {
        Some(self)
    }

    async fn read(&self, offset: u64, bufs: IoVecMut) -> Result<IoVecMut> {
        let len = as_u64(bufs.len());
        match self.device.io.read(offset, bufs).await {
            Ok(bufs) => Ok(bufs),
            Err(error) => Err(self.explain(offset, len, error).await),
        }
    }

    async fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Result<()> {
        self.check_writable()?;
        let len = as_u64(bufs.len());
        if !self.is_unordered(offset, len).await? {
            let payload = Payload::Data(bufs.clone());
            let written = self.write_sequential(offset, payload, flags).await;
            if !needs_no_queue(&written) || !self.is_unordered(offset, len).await? {
                return written;
            }
        }
        let written = self.device.io.write(offset, bufs, flags).await;
        self.forget(offset, len);
        match written {
            Err(error) => Err(self.explain(offset, len, error).await),
            ok => ok,
        }
    }

    async fn flush(&self) -> Result<()> {
        self.device.io.flush().await
    }

    async fn discard(&self, _: u64, _: u64) -> Result<()> {
        self.check_writable()?;
        Err(ErrorKind::Unsupported(
            "zoned devices take no discards; reset whole zones instead".to_owned(),
        )
        .into())
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        self.check_writable()?;
        if !self.is_unordered(offset, len).await? {
            if flags.contains(RequestFlags::NO_FALLBACK) {
                return Err(
                    ErrorKind::Unsupported("zeroing a zone without writing".to_owned()).into()
                );
            }
            let written = self.write_sequential(offset, Payload::Zeroes(len, flags), flags).await;
            if !needs_no_queue(&written) || !self.is_unordered(offset, len).await? {
                return written;
            }
        }
        let written = self.device.io.write_zeroes(offset, len, flags).await;
        self.forget(offset, len);
        written
    }

    async fn resize(&self, _: u64) -> Result<()> {
        Err(no_resize())
    }

    async fn refresh(&self) -> Result<()> {
        Err(ErrorKind::Unsupported(
            "a zoned device keeps its size, and its zones, for as long as it is open: open it again \
             to see another"
                .to_owned(),
        )
        .into())
    }

    async fn settle(&self) -> Result<()> {
        self.queues.settle().await;
        self.device.tasks.settle().await;
        self.device.settle_calls().await
    }

    async fn close(&self) -> Result<()> {
        self.device.io.close().await
    }
}

#[async_trait]
impl ZonedDriver for ZonedDevice {
    async fn report_zones(&self, offset: u64, max: usize) -> Result<Vec<Zone>> {
        let shape = &self.device.shape;
        let first = shape.index_of(offset);
        if offset >= shape.length || max == 0 {
            return Ok(Vec::new());
        }
        let behind = first.saturating_add(as_u64(max)).min(shape.count());
        self.device.report(first..behind).await
    }

    async fn manage_zones(&self, op: ZoneOp, offset: u64, len: u64) -> Result<()> {
        self.check_writable()?;
        let zones = self.device.shape.zones(offset, len)?;
        manage::manage(self.queues.clone(), op, zones).await
    }

    async fn append(&self, zone_start: u64, bufs: IoVec, flags: RequestFlags) -> Result<u64> {
        self.check_writable()?;
        let shape = &self.device.shape;
        if zone_start >= shape.length {
            return Err(ErrorKind::OutOfRange { length: shape.length }.into());
        }
        if !zone_start.is_multiple_of(shape.zone_size) {
            let (given, required) = (zone_start, shape.zone_size);
            return Err(ErrorKind::Misaligned { what: "zone offset", given, required }.into());
        }
        let zone = shape.index_of(zone_start);
        let position = match self.device.native {
            Some(native) => {
                Box::pin(native::append(self.queues.clone(), native, zone, bufs)).await?
            }
            None => self.submit(zone, None, Payload::Data(bufs)).await?,
        };
        self.end_of_write(flags).await?;
        Ok(position)
    }
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
