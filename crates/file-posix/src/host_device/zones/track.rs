//! What is known about one zone.

use block_core::{Zone, ZoneCondition, ZoneType};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A zone as it stands, in bytes on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Where the next write must go; means nothing in a zone that takes none.
    pub pointer: u64,
    /// The first byte behind what can be written.
    pub writable_end: u64,
    pub condition: ZoneCondition,
    pub zone_type: ZoneType,
}

impl From<&Zone> for Known {
    fn from(zone: &Zone) -> Self {
        Self {
            pointer: zone.write_pointer.unwrap_or(zone.start),
            writable_end: zone.writable_end(),
            condition: zone.condition,
            zone_type: zone.zone_type,
        }
    }
}

impl Known {
    /// Whether two say the same about what can be written, which is all that is kept up to date:
    /// a device closes open zones when it likes.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let unusable = |c: ZoneCondition| match c {
            ZoneCondition::Full | ZoneCondition::ReadOnly | ZoneCondition::Offline => Some(c),
            _ => None,
        };
        self.pointer == other.pointer && unusable(self.condition) == unusable(other.condition)
    }

    /// Takes note of a write that landed at the pointer.
    pub(super) fn advance(&mut self, to: u64, zone_end: u64) {
        self.pointer = to;
        if to >= self.writable_end {
            self.condition = ZoneCondition::Full;
            self.pointer = zone_end;
        } else if self.condition != ZoneCondition::ExplicitOpen {
            self.condition = ZoneCondition::ImplicitOpen;
        }
    }
}

/// A zone's place in the table. The lock is held for the moment of a decision, never across I/O.
#[derive(Debug, Default)]
pub(super) struct Track(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// `None` while nobody knows. Whoever has the zone to himself may change it.
    pub known: Option<Known>,
    /// Never changes once it is known.
    pub zone_type: Option<ZoneType>,
    /// Whether the zone's queue will see to it that the zone is known before the next write.
    pub in_use: bool,
    /// Whether work on the zone was ever begun that may outlive its caller.
    pub touched: bool,
    /// Whether a failed write was tried again already, the zone being as it was.
    pub tried_again: bool,
}

impl Track {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of how the zone stands; for whoever has it to himself.
    pub(super) fn learn(&self, zone: &Zone) -> Known {
        let known = Known::from(zone);
        let mut state = self.state();
        state.known = Some(known);
        state.zone_type = Some(zone.zone_type);
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        let size = size_of::<Track>();
        assert!(size <= 64, "100,000 zones would take {size} bytes each");
    }

    #[test]
    fn the_capacity_makes_full() {
        let mut known = Known {
            pointer: 0,
            writable_end: 3,
            condition: ZoneCondition::Empty,
            zone_type: ZoneType::SequentialWriteRequired,
        };
        known.advance(2, 4);
        assert_eq!((known.pointer, known.condition), (2, ZoneCondition::ImplicitOpen));
        known.condition = ZoneCondition::ExplicitOpen;
        known.advance(2, 4);
        assert_eq!(known.condition, ZoneCondition::ExplicitOpen);
        known.advance(3, 4);
        assert_eq!((known.pointer, known.condition), (4, ZoneCondition::Full));
    }
}
