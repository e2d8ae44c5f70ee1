//! What can be seen of the device, and what is left of it after a restart.

use super::{Naive, out};
use block_core::{Zone, ZoneCondition, ZoneType};

impl Naive {
    /// Power off and on: only data and the conditions full, read-only and offline survive.
    pub fn restart(&mut self) {
        for zone in &mut self.zones {
            zone.writing = false;
            if zone.condition.is_active() {
                zone.condition =
                    if zone.data == 0 { ZoneCondition::Empty } else { ZoneCondition::Closed };
            }
        }
    }

    pub fn zone(&self, i: usize) -> Option<Zone> {
        let zone = self.zones.get(i)?;
        Some(Zone {
            start: out(zone.start),
            length: out(zone.end - zone.start),
            capacity: out(zone.writable_end - zone.start),
            write_pointer: match zone.condition {
                ZoneCondition::NotWritePointer
                | ZoneCondition::ReadOnly
                | ZoneCondition::Offline => None,
                ZoneCondition::Full => Some(out(zone.end)),
                _ => Some(out(zone.start + zone.data)),
            },
            zone_type: if zone.conventional {
                ZoneType::Conventional
            } else {
                ZoneType::SequentialWriteRequired
            },
            condition: zone.condition,
        })
    }

    pub fn report(&self, offset: u64, max: usize) -> Vec<Zone> {
        let Some(first) = self.find(i128::from(offset)) else {
            return Vec::new();
        };
        let all: Vec<Zone> = (first..self.zones.len()).map(|i| self.zone(i).unwrap()).collect();
        all.into_iter().take(max).collect()
    }

    /// The bytes that were written and never reset; all of a conventional zone.
    pub fn written(&self, i: usize) -> Option<u64> {
        let zone = self.zones.get(i)?;
        Some(if zone.conventional { out(zone.end - zone.start) } else { out(zone.data) })
    }

    /// Data and, of the condition, what survives a restart (empty for all that does not).
    pub fn saved(&self, i: usize) -> Option<(u64, ZoneCondition)> {
        let zone = self.zones.get(i)?;
        let lasting = match zone.condition {
            ZoneCondition::Full | ZoneCondition::ReadOnly | ZoneCondition::Offline => {
                zone.condition
            }
            _ => ZoneCondition::Empty,
        };
        Some((out(zone.data), lasting))
    }

    /// Start, write pointer, end of capacity and end of a zone, for the choice of requests; of the
    /// place after the last zone all are the end of the device.
    pub fn marks(&self, i: usize) -> [i128; 4] {
        match self.zones.get(i) {
            Some(zone) => [zone.start, zone.start + zone.data, zone.writable_end, zone.end],
            None => [self.numbers.size; 4],
        }
    }

    /// Bytes from the write pointer to the end of the capacity, in the zone that holds `offset`.
    pub fn rest(&self, offset: u64) -> i128 {
        match self.find(i128::from(offset)) {
            Some(i) => self.zones[i].writable_end - self.zones[i].start - self.zones[i].data,
            None => 0,
        }
    }
}
