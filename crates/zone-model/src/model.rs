//! The model: all zones of a device, and what can be asked about them.

use block_core::{ErrorKind, Zone, ZoneCondition, ZonedLimits};

use crate::geometry::{Geometry, ZoneSpan};
use crate::recency::Recency;
use crate::resources::Resources;
use crate::saved::{SavedCondition, SavedZone};

/// What the model keeps for one sequential zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Bytes of data from the zone's start.
    pub(crate) written: u64,
    /// The zone's place in the order of writes; has a meaning while it is implicitly open.
    pub(crate) stamp: u64,
    pub(crate) condition: ZoneCondition,
    /// A write was started and not yet completed.
    pub(crate) writing: bool,
}

const _: () = assert!(size_of::<Slot>() <= 24, "the memory of a zone must stay small");

impl Slot {
    pub(crate) const EMPTY: Self =
        Self { written: 0, stamp: 0, condition: ZoneCondition::Empty, writing: false };

    /// What the zone becomes when it is closed: empty again if nothing was written or is being
    /// written.
    pub(crate) const fn when_closed(&self) -> ZoneCondition {
        if self.written == 0 && !self.writing {
            ZoneCondition::Empty
        } else {
            ZoneCondition::Closed
        }
    }
}

impl Slot {
    /// The zone as a request sees it with `ahead` bytes of earlier writes on their way.
    pub(crate) fn behind(&self, ahead: u64, capacity: u64) -> Self {
        let mut slot = *self;
        slot.written = slot.written.saturating_add(ahead).min(capacity);
        if ahead > 0 && slot.written == capacity && slot.condition.is_active() {
            slot.condition = ZoneCondition::Full;
        }
        slot
    }
}

/// The state of all zones of one device.
///
/// See the [crate](crate) for the rules. A call that answers with an error has changed nothing.
/// Costs: O(1) memory and time per zone and operation, apart from O(log n) to find the implicitly
/// open zone whose last write is the longest ago, n being the number of implicitly open zones.
#[derive(Clone, Debug)]
pub struct ZoneModel {
    geometry: Geometry,
    /// One for each sequential zone; the conventional ones come before and need none.
    slots: Vec<Slot>,
    resources: Resources,
    pub(crate) recency: Recency,
}

impl ZoneModel {
    /// A device as it comes from the factory: all sequential zones empty.
    pub fn new(geometry: Geometry) -> Self {
        let sequential = geometry.conventional()..geometry.nr_zones();
        Self {
            geometry,
            slots: sequential.map(|_| Slot::EMPTY).collect(),
            resources: Resources::default(),
            recency: Recency::default(),
        }
    }

    /// A device after a restart, from the saved state of all its zones in order, conventional ones
    /// included.
    ///
    /// Zones that were open come back closed, or empty without data; a zone that is written to its
    /// capacity comes back full. More closed zones than the limit of active ones are accepted,
    /// because their data is; they count, so that no empty zone can be opened until enough of them
    /// are finished or reset.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidImage`], naming the zone: too few or too many zones, more written than
    /// the zone's capacity or not a multiple of the block size, anything but
    /// [`SavedZone::EMPTY`] for a conventional zone.
    pub fn restore(
        geometry: Geometry,
        zones: impl IntoIterator<Item = SavedZone>,
    ) -> Result<Self, ErrorKind> {
        let mut model = Self::new(geometry);
        let block = u64::from(geometry.block_size());
        let nr_zones = geometry.nr_zones();
        let mut zones = zones.into_iter();
        for index in 0..nr_zones {
            let Some((saved, span)) = zones.next().zip(geometry.span(index)) else {
                return Err(ErrorKind::InvalidImage(format!(
                    "zone {index} has no saved state, but the device has {nr_zones} zones"
                )));
            };
            let condition = saved.check(&span, block)?;
            model.turn(index, condition);
            if let Some(slot) = model.slot_mut(index) {
                slot.written = saved.written;
            }
        }
        if zones.next().is_some() {
            return Err(ErrorKind::InvalidImage(format!(
                "there is a saved state for zone {nr_zones}, but the device has {nr_zones} zones"
            )));
        }
        Ok(model)
    }

    /// The device's shape.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What a report says about one zone; `None` if there is no such zone.
    pub fn zone(&self, index: u64) -> Option<Zone> {
        let span = self.geometry.span(index)?;
        let (condition, write_pointer) = match self.slot(index) {
            None => (ZoneCondition::NotWritePointer, None),
            Some(slot) => (slot.condition, write_pointer(&span, slot)),
        };
        Some(Zone {
            start: span.start,
            length: span.length,
            capacity: span.capacity,
            write_pointer,
            zone_type: span.zone_type,
            condition,
        })
    }

    /// At most `max` zones, from the one that holds the byte `offset` on. Nothing at or past the
    /// end of the device (as Linux's `BLKREPORTZONE` answers).
    pub fn report(&self, offset: u64, max: usize) -> Vec<Zone> {
        let Some(first) = self.geometry.index_of(offset) else {
            return Vec::new();
        };
        let rest = first..self.geometry.nr_zones();
        rest.map_while(|index| self.zone(index)).take(max).collect()
    }

    /// What of a zone survives a restart; `None` if there is no such zone.
    ///
    /// A write that is started and not completed is not part of it.
    pub fn saved(&self, index: u64) -> Option<SavedZone> {
        self.geometry.span(index)?;
        Some(self.slot(index).map_or(SavedZone::EMPTY, |slot| SavedZone {
            written: slot.written,
            condition: match slot.condition {
                ZoneCondition::Full => SavedCondition::Full,
                ZoneCondition::ReadOnly => SavedCondition::ReadOnly,
                ZoneCondition::Offline => SavedCondition::Offline,
                _ => SavedCondition::Written,
            },
        }))
    }

    /// Bytes of data from the zone's start, above which a read gives zeroes; `None` if there is no
    /// such zone.
    ///
    /// This is the end of the data also for a zone that was finished before its capacity was
    /// reached. A conventional zone has data everywhere: its length. Says nothing on whether the
    /// zone can be read: an offline one cannot.
    pub fn written(&self, index: u64) -> Option<u64> {
        let span = self.geometry.span(index)?;
        Some(self.slot(index).map_or(span.length, |slot| slot.written))
    }

    /// Number of zones that are implicitly or explicitly open.
    pub const fn open_zones(&self) -> u32 {
        self.resources.open()
    }

    /// Number of zones that are open or closed. Above the limit only after a
    /// [`restore`](Self::restore) of that many closed zones.
    pub const fn active_zones(&self) -> u32 {
        self.resources.active()
    }

    pub(crate) const fn resources(&self) -> Resources {
        self.resources
    }

    pub(crate) const fn limits(&self) -> ZonedLimits {
        self.geometry.limits()
    }

    fn place(&self, index: u64) -> Option<usize> {
        let place = index.checked_sub(self.geometry.conventional())?;
        usize::try_from(place).ok()
    }

    /// The state of a sequential zone; `None` for a conventional zone, or no zone at all.
    pub(crate) fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(self.place(index)?)
    }

    pub(crate) fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        let place = self.place(index)?;
        self.slots.get_mut(place)
    }

    /// Changes the condition of a sequential zone, and with it everything that counts conditions.
    /// The only place that does so.
    pub(crate) fn turn(&mut self, index: u64, to: ZoneCondition) {
        let Some(slot) = self.slot_mut(index) else {
            return;
        };
        let stamp = slot.stamp;
        let from = std::mem::replace(&mut slot.condition, to);
        if from == to {
            return;
        }
        self.resources.turn(from, to);
        if from == ZoneCondition::ImplicitOpen {
            self.recency.remove(stamp);
        }
        if to == ZoneCondition::ImplicitOpen {
            let stamp = self.recency.insert(index);
            if let Some(slot) = self.slot_mut(index) {
                slot.stamp = stamp;
            }
        }
    }

    /// Makes a sequential zone empty. A write that is still in flight no longer counts.
    pub(crate) fn clear(&mut self, index: u64) {
        self.turn(index, ZoneCondition::Empty);
        if let Some(slot) = self.slot_mut(index) {
            *slot = Slot::EMPTY;
        }
    }

    /// Turns an empty or closed zone into an open one, after [`Resources::check`]. Gives the zone
    /// that was implicitly closed to make room.
    pub(crate) fn open(&mut self, index: u64, to: ZoneCondition) -> Option<u64> {
        let mut victim = None;
        if self.resources.must_evict(&self.limits()) {
            victim = self.recency.oldest();
        }
        if let Some(victim) = victim
            && let Some(slot) = self.slot(victim)
        {
            let closed = slot.when_closed();
            self.turn(victim, closed);
        }
        self.turn(index, to);
        victim
    }
}

/// The write pointer of a sequential zone, where its condition gives it a meaning.
fn write_pointer(span: &ZoneSpan, slot: &Slot) -> Option<u64> {
    match slot.condition {
        ZoneCondition::NotWritePointer | ZoneCondition::ReadOnly | ZoneCondition::Offline => None,
        ZoneCondition::Full => Some(span.end()),
        ZoneCondition::Empty
        | ZoneCondition::ImplicitOpen
        | ZoneCondition::ExplicitOpen
        | ZoneCondition::Closed => span.start.checked_add(slot.written),
    }
}
