//! A device in memory that is wrong now and then.

use async_trait::async_trait;
use block_backend::block_core::{BlockDriver, Child, Counter, ZonedDriver};
use block_backend::{IoBuf, IoVec, IoVecMut, Limits, RequestFlags, Result, Zone, ZoneOp};
use block_conformance::memory::MemoryZoned;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// Says that an append was done, and does nothing.
    LosesAppends,
    LosesWrites,
    TellsAnotherPlace,
    TurnsABitOver,
    ReadsOneBlockOff,
    AppendsTwice,
    /// What a dropped future had begun goes on, and nobody waits for it.
    WorksOnAfterSettle,
    ForgetsResets,
    ResetsTheNextZoneToo,
    Fails,
    FlushesForever,
    AppendsForever,
}

/// One request of so many meets the flaw.
const RARELY: u64 = 20;
const BLOCK: u64 = 4096;

#[derive(Debug)]
pub struct Flawed {
    inner: Arc<MemoryZoned>,
    flaw: Flaw,
    counter: AtomicU64,
}

impl Flawed {
    pub fn new(flaw: Flaw, inner: MemoryZoned) -> Self {
        Self { inner: Arc::new(inner), flaw, counter: AtomicU64::new(0) }
    }

    /// Whether it is this flaw's turn.
    fn turn(&self, flaw: Flaw) -> bool {
        self.flaw == flaw && self.counter.fetch_add(1, Ordering::Relaxed) % RARELY == RARELY - 1
    }
}

#[async_trait]
impl BlockDriver for Flawed {
    fn driver_name(&self) -> &'static str {
        "flawed"
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn length(&self) -> u64 {
        self.inner.length()
    }

    fn children(&self) -> Vec<&Child> {
        Vec::new()
    }

    fn counters(&self) -> Vec<Counter> {
        Vec::new()
    }

    fn zoned(&self) -> Option<&dyn ZonedDriver> {
        Some(self)
    }

    async fn read(&self, mut offset: u64, bufs: IoVecMut) -> Result<IoVecMut> {
        if offset >= BLOCK && self.turn(Flaw::ReadsOneBlockOff) {
            offset -= BLOCK;
        }
        self.inner.read(offset, bufs).await
    }

    async fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Result<()> {
        if self.turn(Flaw::LosesWrites) {
            return Ok(());
        }
        self.inner.write(offset, bufs, flags).await
    }

    async fn flush(&self) -> Result<()> {
        if self.turn(Flaw::FlushesForever) {
            std::future::pending::<()>().await;
        }
        self.inner.flush().await
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.discard(offset, len).await
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        self.inner.write_zeroes(offset, len, flags).await
    }

    async fn resize(&self, length: u64) -> Result<()> {
        self.inner.resize(length).await
    }

    async fn refresh(&self) -> Result<()> {
        self.inner.refresh().await
    }

    async fn settle(&self) -> Result<()> {
        self.inner.settle().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl ZonedDriver for Flawed {
    async fn report_zones(&self, offset: u64, max: usize) -> Result<Vec<Zone>> {
        self.inner.report_zones(offset, max).await
    }

    async fn manage_zones(&self, op: ZoneOp, offset: u64, len: u64) -> Result<()> {
        let reset = op == ZoneOp::Reset;
        if reset && self.turn(Flaw::ForgetsResets) {
            return Ok(());
        }
        if reset && offset + 2 * len <= self.length() && self.turn(Flaw::ResetsTheNextZoneToo) {
            return self.inner.manage_zones(op, offset, 2 * len).await;
        }
        self.inner.manage_zones(op, offset, len).await
    }

    async fn append(&self, zone_start: u64, bufs: IoVec, flags: RequestFlags) -> Result<u64> {
        if self.turn(Flaw::Fails) {
            return Err(std::io::Error::other("no reason").into());
        }
        if self.turn(Flaw::AppendsForever) {
            std::future::pending::<()>().await;
        }
        if self.turn(Flaw::LosesAppends) {
            let zones = self.inner.report_zones(zone_start, 1).await?;
            let pointer = zones.first().and_then(|zone| zone.write_pointer);
            return Ok(pointer.unwrap_or(zone_start));
        }
        if self.turn(Flaw::TurnsABitOver) {
            let mut bytes = bufs.to_vec();
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            return self.inner.append(zone_start, IoBuf::from(bytes).into(), flags).await;
        }
        if self.turn(Flaw::AppendsTwice) {
            self.inner.append(zone_start, bufs.clone(), flags).await?;
        }
        if self.turn(Flaw::WorksOnAfterSettle) {
            let inner = Arc::clone(&self.inner);
            let work = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                inner.append(zone_start, bufs, flags).await
            });
            return work.await.map_err(std::io::Error::other)?;
        }
        let position = self.inner.append(zone_start, bufs, flags).await?;
        Ok(position + if self.turn(Flaw::TellsAnotherPlace) { BLOCK } else { 0 })
    }
}
