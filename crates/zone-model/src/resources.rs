//! Open and active resources: how many are in use, and whether one more is allowed.

use block_core::{ErrorKind, ZoneCondition, ZoneId, ZonedLimits};

/// Zones by the resource that they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    implicit: u32,
    explicit: u32,
    closed: u32,
}

impl Resources {
    fn counter(&mut self, condition: ZoneCondition) -> Option<&mut u32> {
        match condition {
            ZoneCondition::ImplicitOpen => Some(&mut self.implicit),
            ZoneCondition::ExplicitOpen => Some(&mut self.explicit),
            ZoneCondition::Closed => Some(&mut self.closed),
            _ => None,
        }
    }

    /// A zone goes from one condition to another.
    pub(crate) fn turn(&mut self, from: ZoneCondition, to: ZoneCondition) {
        if let Some(count) = self.counter(from) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.counter(to) {
            *count = count.saturating_add(1);
        }
    }

    pub(crate) const fn open(&self) -> u32 {
        self.implicit.saturating_add(self.explicit)
    }

    pub(crate) const fn active(&self) -> u32 {
        self.open().saturating_add(self.closed)
    }

    /// Whether this zone may be opened: an empty zone needs an active resource, and any zone needs
    /// an open one that is free or can be taken from an implicitly open zone; so only explicitly
    /// open zones stand in the way.
    pub(crate) const fn check(
        &self,
        limits: &ZonedLimits,
        zone: ZoneId,
        condition: ZoneCondition,
    ) -> Result<(), ErrorKind> {
        let limit = limits.max_active_zones;
        if matches!(condition, ZoneCondition::Empty) && limit != 0 && self.active() >= limit {
            return Err(ErrorKind::TooManyActive { zone, limit });
        }
        let limit = limits.max_open_zones;
        if limit != 0 && self.explicit >= limit {
            return Err(ErrorKind::TooManyOpen { zone, limit });
        }
        Ok(())
    }

    /// Whether an implicitly open zone has to close before one more can open.
    pub(crate) const fn must_evict(&self, limits: &ZonedLimits) -> bool {
        limits.max_open_zones != 0 && self.open() >= limits.max_open_zones
    }
}
