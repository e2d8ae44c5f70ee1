//! Sequential zones that a load fills in turn and resets when they are full.

use crate::workload::{Workload, invalid};
use block_backend::BlockBackend;
use block_core::{ErrorKind, IoBuf, Result, Zone, ZoneCondition, ZonedLimits};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::RwLock;

/// How many zones are asked for at once.
const REPORT_PIECE: usize = 1024;

/// The zones of a load, in the order of the device.
pub(crate) struct ZoneRing {
    slots: Vec<Slot>,
    size: u64,
    /// Index of the zone that sequential writes are in.
    current: AtomicUsize,
}

/// One zone.
struct Slot {
    start: u64,
    length: u64,
    capacity: u64,
    /// Bytes from the start on that are written or given to a request.
    used: AtomicU64,
    /// Held for reading by requests, for writing by whoever resets or finishes the zone.
    gate: RwLock<()>,
}

impl Slot {
    fn new(zone: &Zone) -> Self {
        let used = match zone.condition {
            ZoneCondition::Full => zone.capacity,
            _ => zone.write_pointer.map_or(0, |wp| wp.saturating_sub(zone.start)),
        };
        Self {
            start: zone.start,
            length: zone.length,
            capacity: zone.capacity,
            used: AtomicU64::new(used),
            gate: RwLock::new(()),
        }
    }

    fn has_room(&self, size: u64) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used.checked_add(size).is_some_and(|end| end <= self.capacity)
    }

    /// Takes room for one request: the distance of its first byte from the zone's start.
    fn take(&self, size: u64) -> Option<u64> {
        let fits = |used: u64| used.checked_add(size).filter(|&end| end <= self.capacity);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()
    }

    /// Empties the zone. The caller holds its gate for writing.
    async fn reset(&self, backend: &BlockBackend) -> Result<()> {
        backend.reset_zones(self.start, self.length).await?;
        self.used.store(0, Ordering::Relaxed);
        Ok(())
    }
}

impl ZoneRing {
    /// The zones for sequential writes; `None` if the region has no sequential zone.
    pub(crate) async fn for_writes(
        backend: &BlockBackend,
        workload: &Workload,
    ) -> Result<Option<Self>> {
        if backend.zoned().is_none() {
            return Ok(None);
        }
        let zones = writable_zones(&all_zones(backend).await?, workload.offset);
        if zones.is_empty() {
            return Ok(None);
        }
        let wanted = if workload.zones == 0 { u64::MAX } else { workload.zones };
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        Self::of(zones.iter().take(wanted), workload.size).map(Some)
    }

    /// The zones for appends: as many as asked for, and no more than may be open.
    pub(crate) async fn for_appends(backend: &BlockBackend, workload: &Workload) -> Result<Self> {
        let Some(limits) = backend.zoned() else {
            return Err(ErrorKind::NotZoned.into());
        };
        let all = all_zones(backend).await?;
        let zones = writable_zones(&all, workload.offset);
        if zones.is_empty() {
            return Err(ErrorKind::Unsupported(
                "appends need a sequential zone that can be written".to_owned(),
            )
            .into());
        }
        let wanted = usize::try_from(workload.zones.max(1)).unwrap_or(usize::MAX);
        let usable = usable_at_once(limits, &all, &zones, wanted.min(zones.len()));
        Self::of(zones.iter().take(usable), workload.size)
    }

    fn of<'a>(zones: impl Iterator<Item = &'a Zone>, size: u64) -> Result<Self> {
        let slots: Vec<Slot> = zones.map(Slot::new).collect();
        if let Some(small) = slots.iter().find(|slot| slot.capacity < size) {
            return invalid(format!(
                "a request of {size} bytes does not fit in the zone at {:#x}, which takes {}",
                small.start, small.capacity
            ));
        }
        Ok(Self { slots, size, current: AtomicUsize::new(0) })
    }

    /// Appends to the zone whose turn it is.
    pub(crate) async fn append(
        &self,
        backend: &BlockBackend,
        data: &IoBuf,
        number: u64,
    ) -> Result<()> {
        let count = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        let turn = number.checked_rem(count).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let Some(slot) = self.slots.get(turn) else { return no_zone() };
        loop {
            let pass = slot.gate.read().await;
            if slot.take(self.size).is_some() {
                return backend.append(slot.start, data.clone()).await.map(drop);
            }
            drop(pass);
            let _alone = slot.gate.write().await;
            if !slot.has_room(self.size) {
                slot.reset(backend).await?;
            }
        }
    }

    /// Writes at the write pointer of the current zone.
    ///
    /// Nothing is awaited between taking room and the write's first poll, so the writes of one
    /// task reach the zone in the order of their positions.
    pub(crate) async fn write(&self, backend: &BlockBackend, data: &IoBuf) -> Result<()> {
        loop {
            let index = self.current.load(Ordering::Relaxed);
            let Some(slot) = self.slots.get(index) else { return no_zone() };
            let pass = slot.gate.read().await;
            if self.current.load(Ordering::Relaxed) != index {
                continue;
            }
            if let Some(distance) = slot.take(self.size) {
                return backend.write(slot.start.saturating_add(distance), data.clone()).await;
            }
            drop(pass);
            self.advance(backend, index, slot).await?;
        }
    }

    /// Leaves the zone at `index` for the next one, unless another loop has done so.
    async fn advance(&self, backend: &BlockBackend, index: usize, slot: &Slot) -> Result<()> {
        let _alone = slot.gate.write().await;
        if self.current.load(Ordering::Relaxed) != index || slot.has_room(self.size) {
            return Ok(());
        }
        let next = index.wrapping_add(1);
        let next = if next < self.slots.len() { next } else { 0 };
        if next == index {
            return slot.reset(backend).await;
        }
        if slot.used.load(Ordering::Relaxed) < slot.capacity {
            // A zone that is left half full would hold its resources.
            backend.finish_zones(slot.start, slot.length).await?;
            slot.used.store(slot.capacity, Ordering::Relaxed);
        }
        let Some(target) = self.slots.get(next) else { return no_zone() };
        if !target.has_room(self.size) {
            // Nobody is in a zone that is not the current one.
            target.reset(backend).await?;
        }
        self.current.store(next, Ordering::Relaxed);
        Ok(())
    }
}

/// Cannot happen: a ring has at least one zone, and its indices stay below their number.
fn no_zone() -> Result<()> {
    invalid("the bench lost its zones".to_owned())
}

async fn all_zones(backend: &BlockBackend) -> Result<Vec<Zone>> {
    let mut all: Vec<Zone> = Vec::new();
    loop {
        let from = all.last().map_or(0, Zone::end);
        let piece = backend.report_zones(from, REPORT_PIECE).await?;
        if piece.is_empty() {
            return Ok(all);
        }
        all.extend(piece);
    }
}

/// The sequential zones that take writes, from the one that holds `offset` on.
fn writable_zones(all: &[Zone], offset: u64) -> Vec<Zone> {
    let dead = [ZoneCondition::ReadOnly, ZoneCondition::Offline];
    all.iter()
        .filter(|z| z.end() > offset && z.zone_type.is_sequential() && !dead.contains(&z.condition))
        .copied()
        .collect()
}

/// How many of the first `wanted` zones may be open at once beside the others, as those are now;
/// at least one, so that the device itself says what is wrong.
fn usable_at_once(limits: &ZonedLimits, all: &[Zone], zones: &[Zone], wanted: usize) -> usize {
    let is_active = |z: &&Zone| z.condition.is_active();
    let holds_open = |z: &&Zone| z.condition == ZoneCondition::ExplicitOpen;
    let within = |limit: u32, n: usize, others: usize| {
        limit == 0 || usize::try_from(limit).map_or(true, |limit| n.saturating_add(others) <= limit)
    };
    // What zones outside the first `n` hold, for n = 0, 1, …
    let mut active = all.iter().filter(is_active).count();
    let mut held = all.iter().filter(holds_open).count();
    let mut usable = 1;
    for (zone, n) in zones.iter().take(wanted).zip(1_usize..) {
        active = active.saturating_sub(usize::from(is_active(&zone)));
        held = held.saturating_sub(usize::from(holds_open(&zone)));
        if within(limits.max_active_zones, n, active) && within(limits.max_open_zones, n, held) {
            usable = n;
        }
    }
    usable
}
