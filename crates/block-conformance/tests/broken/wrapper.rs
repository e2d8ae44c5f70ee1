//! A driver that breaks one rule of the contract.

use async_trait::async_trait;
use block_core::{
    BlockDriver, Child, ErrorKind, IoBuf, IoBufMut, IoVec, IoVecMut, Limits, RequestFlags, Result,
    Zone, ZoneCondition, ZoneId, ZoneOp, ZoneType, ZonedDriver,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    ReadsOneBlockOff,
    LosesTheLastSegment,
    GivesOtherBuffersBack,
    TakesForeignMemoryForEmpty,
    DiesAtTheEnd,
    FlushesNothing,
    IgnoresFua,
    CloseWritesNothing,
    ZeroesTooMuch,
    ZeroesNothing,
    DiscardsThoughItSaysNo,
    GrowsWithGarbage,
    CutsWhereItLooks,
    SettlesAtOnce,
    StaysLockedAfterADrop,
    ChangesItsLimits,
    HidesItsZones,
    ForgetsThatItIsReadOnly,
    ReportsFromTheNextZone,
    ReportsTooMany,
    ReportsFullZonesAtTheirStart,
    ReadsGarbageAbovePointers,
    SwapsPositions,
    NamesTheNextZone,
    TellsTheEndOfAnAppend,
    AppendsToTheNextZone,
    AppendsInTwoPieces,
    AppendsInAnyOrder,
    CountsDroppedAppends,
    OpensFullZones,
    SkipsConventionalZones,
    ManagesZoneByZone,
    WipesConventionalZones,
    TakesMoreOpenZones,
}

#[derive(Debug)]
pub struct Broken {
    inner: Box<dyn BlockDriver>,
    flaw: Flaw,
    counter: AtomicU64,
    locked: AtomicBool,
}

const BLOCK: u64 = 512;

impl Broken {
    pub fn new(flaw: Flaw, inner: Box<dyn BlockDriver>) -> Self {
        Self { inner, flaw, counter: AtomicU64::new(0), locked: AtomicBool::new(false) }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn zones(&self) -> &dyn ZonedDriver {
        self.inner.zoned().expect("zones")
    }

    async fn zone(&self, at: u64) -> Option<Zone> {
        self.inner.zoned()?.report_zones(at, 1).await.ok()?.pop()
    }

    fn flags(&self, flags: RequestFlags) -> RequestFlags {
        match self.flaw {
            Flaw::IgnoresFua => flags - RequestFlags::FUA,
            _ => flags,
        }
    }

    fn error<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match (self.flaw, error.kind()) {
            (Flaw::SwapsPositions, &ErrorKind::WritePointerMismatch { zone, expected, given }) => {
                ErrorKind::WritePointerMismatch { zone, expected: given, given: expected }.into()
            }
            (Flaw::NamesTheNextZone, &ErrorKind::ZoneFull { zone, needed, remaining }) => {
                ErrorKind::ZoneFull {
                    zone: ZoneId { index: zone.index + 1, ..zone },
                    needed,
                    remaining,
                }
                .into()
            }
            _ => error,
        })
    }
}

#[async_trait]
impl BlockDriver for Broken {
    fn driver_name(&self) -> &'static str {
        "broken"
    }

    fn limits(&self) -> Limits {
        let mut limits = self.inner.limits();
        match self.flaw {
            Flaw::ChangesItsLimits if self.counter.load(Ordering::SeqCst) > 0 => {
                limits.max_transfer += 4096;
            }
            Flaw::HidesItsZones => limits.zoned = None,
            Flaw::ForgetsThatItIsReadOnly => limits.read_only = false,
            _ => {}
        }
        limits
    }

    fn length(&self) -> u64 {
        self.inner.length()
    }

    fn children(&self) -> Vec<&Child> {
        self.inner.children()
    }

    fn counters(&self) -> Vec<block_core::Counter> {
        Vec::new()
    }

    fn zoned(&self) -> Option<&dyn ZonedDriver> {
        self.inner.zoned().map(|_| self as &dyn ZonedDriver)
    }

    async fn read(&self, mut offset: u64, bufs: IoVecMut) -> Result<IoVecMut> {
        let end = offset + bufs.len() as u64;
        match self.flaw {
            Flaw::ReadsOneBlockOff if end < self.length() && offset > 0 => offset += BLOCK,
            Flaw::DiesAtTheEnd => assert!(end < self.length(), "off by one"),
            Flaw::GivesOtherBuffersBack => {
                let found = self.inner.read(offset, bufs).await?;
                let mut other = IoVecMut::from(IoBufMut::zeroed(found.len()));
                other.copy_from_slice(&found.to_vec());
                return Ok(other);
            }
            Flaw::ReadsGarbageAbovePointers => {
                let garbage = self.zone(offset).await.and_then(|z| z.write_pointer);
                let mut bufs = self.inner.read(offset, bufs).await?;
                if garbage.is_some_and(|pointer| offset >= pointer) {
                    bufs.fill(0xaa);
                }
                return Ok(bufs);
            }
            _ => {}
        }
        self.inner.read(offset, bufs).await
    }

    async fn write(&self, offset: u64, mut bufs: IoVec, flags: RequestFlags) -> Result<()> {
        self.counter.fetch_add(1, Ordering::SeqCst);
        match self.flaw {
            Flaw::LosesTheLastSegment if bufs.segments().len() > 1 => {
                let last = bufs.segments().last().map_or(0, IoBuf::len);
                bufs = bufs.split_to(bufs.len() - last);
            }
            Flaw::TakesForeignMemoryForEmpty => {
                let slice = |s: &IoBuf| s.as_slice().map_or(vec![0; s.len()], <[u8]>::to_vec);
                bufs = bufs.segments().iter().map(|s| IoBuf::from(slice(s))).collect();
            }
            Flaw::StaysLockedAfterADrop => {
                while self.locked.swap(true, Ordering::SeqCst) {
                    tokio::task::yield_now().await;
                }
                tokio::task::yield_now().await;
                let result = self.inner.write(offset, bufs, flags).await;
                self.locked.store(false, Ordering::SeqCst);
                return result;
            }
            _ => {}
        }
        let flags = self.flags(flags);
        self.error(self.inner.write(offset, bufs, flags).await)
    }

    async fn flush(&self) -> Result<()> {
        match self.flaw {
            Flaw::FlushesNothing => Ok(()),
            _ => self.inner.flush().await,
        }
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        match self.flaw {
            Flaw::DiscardsThoughItSaysNo => Ok(()),
            _ => self.inner.discard(offset, len).await,
        }
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        match self.flaw {
            Flaw::ZeroesNothing => Ok(()),
            Flaw::ZeroesTooMuch => self.inner.write_zeroes(offset, len + BLOCK, flags).await,
            _ => self.inner.write_zeroes(offset, len, self.flags(flags)).await,
        }
    }

    async fn resize(&self, length: u64) -> Result<()> {
        let old = self.length();
        self.inner.resize(length).await?;
        if self.is(Flaw::GrowsWithGarbage) && length > old {
            let garbage = IoVec::from(vec![1; (length - old) as usize]);
            self.inner.write(old, garbage, RequestFlags::empty()).await?;
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<()> {
        if self.is(Flaw::CutsWhereItLooks) {
            self.inner.resize(self.length() / 2).await?;
        }
        self.inner.refresh().await
    }

    async fn settle(&self) -> Result<()> {
        match self.flaw {
            Flaw::SettlesAtOnce => Ok(()),
            _ => self.inner.settle().await,
        }
    }

    async fn close(&self) -> Result<()> {
        match self.flaw {
            Flaw::CloseWritesNothing => Ok(()),
            _ => self.inner.close().await,
        }
    }
}

#[async_trait]
impl ZonedDriver for Broken {
    async fn report_zones(&self, mut offset: u64, mut max: usize) -> Result<Vec<Zone>> {
        let size = self.inner.limits().zoned.map_or(1, |z| z.zone_size);
        match self.flaw {
            Flaw::ReportsFromTheNextZone => offset = offset.saturating_add(size - 1) / size * size,
            Flaw::ReportsTooMany => max = max.saturating_add(1),
            _ => {}
        }
        let mut zones = self.zones().report_zones(offset, max).await?;
        for zone in &mut zones {
            if self.is(Flaw::ReportsFullZonesAtTheirStart) && zone.condition == ZoneCondition::Full
            {
                zone.write_pointer = Some(zone.start);
            }
            if self.is(Flaw::CountsDroppedAppends) && zone.condition == ZoneCondition::ImplicitOpen
            {
                let dropped = self.counter.load(Ordering::SeqCst);
                zone.write_pointer = zone.write_pointer.map(|p| p + dropped);
            }
        }
        Ok(zones)
    }

    async fn manage_zones(&self, op: ZoneOp, offset: u64, len: u64) -> Result<()> {
        let whole = offset == 0 && len == self.length();
        let zones = self.zones().report_zones(offset, usize::MAX).await?;
        let zones = zones.iter().filter(|z| z.start < offset + len);
        match self.flaw {
            Flaw::OpensFullZones if op == ZoneOp::Open => {
                let result = self.zones().manage_zones(op, offset, len).await;
                return match result {
                    Err(e) if e.kind().name() == "zone-full" => Ok(()),
                    other => other,
                };
            }
            Flaw::SkipsConventionalZones if !whole => {
                for zone in zones.filter(|z| z.zone_type != ZoneType::Conventional) {
                    self.zones().manage_zones(op, zone.start, zone.length).await?;
                }
                return Ok(());
            }
            Flaw::ManagesZoneByZone if !whole => {
                for zone in zones {
                    self.zones().manage_zones(op, zone.start, zone.length).await?;
                }
                return Ok(());
            }
            Flaw::WipesConventionalZones if whole => {
                for zone in zones.filter(|z| z.zone_type == ZoneType::Conventional) {
                    let flags = RequestFlags::empty();
                    self.inner.write_zeroes(zone.start, zone.length, flags).await?;
                }
            }
            Flaw::TakesMoreOpenZones => {
                let result = self.zones().manage_zones(op, offset, len).await;
                return match result {
                    Err(e) if e.kind().name() == "too-many-open" => Ok(()),
                    other => other,
                };
            }
            _ => {}
        }
        self.error(self.zones().manage_zones(op, offset, len).await)
    }

    async fn append(&self, zone_start: u64, mut bufs: IoVec, flags: RequestFlags) -> Result<u64> {
        let len = bufs.len() as u64;
        let number = self.counter.fetch_add(1, Ordering::SeqCst);
        let flags = self.flags(flags);
        match self.flaw {
            Flaw::AppendsInTwoPieces if len > BLOCK => {
                let front = bufs.split_to(BLOCK as usize);
                let position = self.zones().append(zone_start, front, flags).await?;
                tokio::task::yield_now().await;
                self.zones().append(zone_start, bufs, flags).await?;
                return Ok(position);
            }
            Flaw::AppendsInAnyOrder => {
                for _ in 0..(number * 7) % 5 {
                    tokio::task::yield_now().await;
                }
            }
            Flaw::CountsDroppedAppends => {
                // The counter stands for bytes here, and what is dropped stays in it.
                self.counter.fetch_add(len - 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                let position = self.zones().append(zone_start, bufs, flags).await;
                self.counter.fetch_sub(len, Ordering::SeqCst);
                return position;
            }
            Flaw::AppendsToTheNextZone => {
                let full = self.zone(zone_start).await;
                if let Some(zone) = full.filter(|z| z.condition == ZoneCondition::Full) {
                    return self.zones().append(zone.end(), bufs, flags).await;
                }
            }
            _ => {}
        }
        let position = self.error(self.zones().append(zone_start, bufs, flags).await)?;
        Ok(match self.flaw {
            Flaw::TellsTheEndOfAnAppend => position + len,
            _ => position,
        })
    }
}
