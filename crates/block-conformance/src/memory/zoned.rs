//! A zoned device in memory.

use super::zone_state::Zones;
use super::{lock, range_of};
use async_trait::async_trait;
use block_core::{
    BlockDriver, Child, ErrorKind, IoVec, IoVecMut, Limits, RequestFlags, Result, Zone,
    ZoneCondition, ZoneId, ZoneOp, ZonedDriver, ZonedLimits, ZonedModel,
};
use std::sync::{Arc, Mutex};

/// What a [`MemoryZoned`] is to be. Sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryZonedConfig {
    /// Length of the device; if it is no multiple of the zone size, the last zone is smaller.
    pub length: u64,
    /// Distance between zone starts.
    pub zone_size: u64,
    /// How much of each sequential zone can be written.
    pub zone_capacity: u64,
    /// How many zones, from the first on, are conventional.
    pub conventional: u64,
    /// The unit of requests.
    pub block_size: u32,
    /// Most open zones; 0 = no limit.
    pub max_open_zones: u32,
    /// Most active zones; 0 = no limit.
    pub max_active_zones: u32,
    /// Largest append; 0 = no limit.
    pub max_append_bytes: u64,
    /// Whether the node says that it is read-only.
    pub read_only: bool,
    /// How many times other tasks get to run between an operation and its answer.
    pub lag: u32,
}

impl Default for MemoryZonedConfig {
    /// Twelve zones of 256 KiB: two conventional ones, nine with 192 KiB of capacity, and a last
    /// one of 64 KiB. At most 4 open and 6 active.
    fn default() -> Self {
        Self {
            length: (11 * 256 + 64) << 10,
            zone_size: 256 << 10,
            zone_capacity: 192 << 10,
            conventional: 2,
            block_size: 512,
            max_open_zones: 4,
            max_active_zones: 6,
            max_append_bytes: 0,
            read_only: false,
            lag: 0,
        }
    }
}

#[derive(Clone, Debug)]
struct Content {
    data: Vec<u8>,
    zones: Zones,
}

/// What outlives a [`MemoryZoned`]: the durable data and zones. Clones are the same storage.
#[derive(Clone, Debug)]
pub struct MemoryZonedStore(Arc<Mutex<Content>>);

/// A host-managed device in memory: plain lists behind one lock. What is not flushed is lost when
/// it is dropped without a close; open zones come back closed.
#[derive(Debug)]
pub struct MemoryZoned {
    config: MemoryZonedConfig,
    content: Arc<Mutex<Content>>,
    store: MemoryZonedStore,
}

/// Breaks the zones of a [`MemoryZoned`].
#[derive(Clone, Debug)]
pub struct MemoryDamage(Arc<Mutex<Content>>);

impl MemoryDamage {
    /// Puts a zone into a condition by force, as a failing device would.
    ///
    /// # Panics
    /// If there is no zone of this index.
    pub fn set_condition(&self, index: u64, condition: ZoneCondition) {
        let zones = &mut lock(&self.0).zones;
        zones.set_condition(index as usize, condition);
    }
}

impl MemoryZoned {
    /// A new device: all sequential zones empty.
    ///
    /// # Panics
    /// If the sizes make no device.
    pub fn new(config: MemoryZonedConfig) -> Self {
        assert!(config.zone_size > 0 && config.zone_capacity <= config.zone_size);
        let content = Content { data: vec![0; config.length as usize], zones: Zones::new(config) };
        let store = MemoryZonedStore(Arc::new(Mutex::new(content)));
        Self::open(store, config)
    }

    /// A device that exists. Of the configuration, only `read_only` and `lag` may differ from what
    /// it was made with.
    pub fn open(store: MemoryZonedStore, config: MemoryZonedConfig) -> Self {
        let mut content = lock(&store.0).clone();
        content.zones.restart();
        Self { config, content: Arc::new(Mutex::new(content)), store }
    }

    /// The storage, to open it again.
    pub fn store(&self) -> MemoryZonedStore {
        self.store.clone()
    }

    /// A handle that breaks zones, also after the driver went into a node.
    pub fn damage(&self) -> MemoryDamage {
        MemoryDamage(Arc::clone(&self.content))
    }

    /// Changes zones and data together, or neither.
    async fn perform<T>(
        &self,
        flags: RequestFlags,
        zones: impl FnOnce(&mut Zones) -> Result<T, ErrorKind> + Send,
        data: impl FnOnce(&T, &mut [u8]) -> Result<()> + Send,
    ) -> Result<T> {
        let answer = {
            let content = &mut *lock(&self.content);
            let mut changed = content.zones.clone();
            let answer = zones(&mut changed)?;
            data(&answer, &mut content.data)?;
            content.zones = changed;
            if flags.contains(RequestFlags::FUA) {
                content.clone_into(&mut lock(&self.store.0));
            }
            answer
        };
        self.pause().await;
        Ok(answer)
    }

    async fn pause(&self) {
        for _ in 0..self.config.lag {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlockDriver for MemoryZoned {
    fn driver_name(&self) -> &'static str {
        "memory-zoned"
    }

    fn limits(&self) -> Limits {
        Limits {
            block_size: self.config.block_size,
            request_alignment: self.config.block_size,
            discard: false,
            read_only: self.config.read_only,
            zoned: Some(ZonedLimits {
                model: ZonedModel::HostManaged,
                zone_size: self.config.zone_size,
                nr_zones: self.config.length.div_ceil(self.config.zone_size),
                max_open_zones: self.config.max_open_zones,
                max_active_zones: self.config.max_active_zones,
                max_append_bytes: self.config.max_append_bytes,
                write_granularity: self.config.block_size,
            }),
            ..Limits::unaligned()
        }
    }

    fn length(&self) -> u64 {
        self.config.length
    }

    fn children(&self) -> Vec<&Child> {
        Vec::new()
    }

    fn counters(&self) -> Vec<block_core::Counter> {
        Vec::new()
    }

    fn zoned(&self) -> Option<&dyn ZonedDriver> {
        Some(self)
    }

    async fn read(&self, offset: u64, mut bufs: IoVecMut) -> Result<IoVecMut> {
        self.pause().await;
        let content = &mut *lock(&self.content);
        let len = bufs.len() as u64;
        let found = range_of(&mut content.data, offset, len)?;
        let zones = &content.zones;
        for index in zones.index_of(offset)..zones.index_of(offset + len.max(1) - 1) + 1 {
            let zone = zones.zone(index);
            if zone.condition == ZoneCondition::Offline {
                let zone = ZoneId { index: index as u64, start: zone.start };
                return Err(ErrorKind::ZoneOffline { zone }.into());
            }
        }
        bufs.copy_from_slice(found);
        Ok(bufs)
    }

    async fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Result<()> {
        let len = bufs.len() as u64;
        if len == 0 {
            return Ok(());
        }
        let copy = |(): &(), data: &mut [u8]| {
            bufs.copy_to_slice(range_of(data, offset, len)?);
            Ok(())
        };
        self.perform(flags, |zones| zones.write(offset, len), copy).await
    }

    async fn flush(&self) -> Result<()> {
        let everything = RequestFlags::FUA;
        self.perform(everything, |_| Ok(()), |(), _| Ok(())).await
    }

    async fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(ErrorKind::Unsupported("a zone is reset, not discarded".to_owned()).into())
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let clear = |(): &(), data: &mut [u8]| {
            range_of(data, offset, len)?.fill(0);
            Ok(())
        };
        self.perform(flags, |zones| zones.write(offset, len), clear).await
    }

    async fn resize(&self, _length: u64) -> Result<()> {
        Err(ErrorKind::Unsupported("a zoned device has a fixed length".to_owned()).into())
    }

    async fn refresh(&self) -> Result<()> {
        Err(ErrorKind::Unsupported("a zoned device has a fixed length".to_owned()).into())
    }

    async fn settle(&self) -> Result<()> {
        // Everything is done on the first poll of its future; what a dropped one leaves undone is
        // its answer.
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.flush().await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ZonedDriver for MemoryZoned {
    async fn report_zones(&self, offset: u64, max: usize) -> Result<Vec<Zone>> {
        self.pause().await;
        if offset >= self.config.length {
            return Ok(Vec::new());
        }
        let zones = &lock(&self.content).zones;
        let rest = zones.index_of(offset)..zones.count();
        Ok(rest.take(max).map(|index| zones.zone(index)).collect())
    }

    async fn manage_zones(&self, op: ZoneOp, offset: u64, len: u64) -> Result<()> {
        let size = self.config.zone_size;
        let wipe = |reset: &Vec<usize>, data: &mut [u8]| {
            for index in reset {
                let start = *index as u64 * size;
                let len = size.min(data.len() as u64 - start);
                range_of(data, start, len)?.fill(0);
            }
            Ok(())
        };
        let flags = RequestFlags::empty();
        self.perform(flags, |zones| zones.manage(op, offset, len), wipe).await?;
        Ok(())
    }

    async fn append(&self, zone_start: u64, bufs: IoVec, flags: RequestFlags) -> Result<u64> {
        let len = bufs.len() as u64;
        let copy = |position: &u64, data: &mut [u8]| {
            bufs.copy_to_slice(range_of(data, *position, len)?);
            Ok(())
        };
        self.perform(flags, |zones| zones.append(zone_start, len), copy).await
    }
}
