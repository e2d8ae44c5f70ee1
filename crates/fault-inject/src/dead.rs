//! Zones that are out of service, whatever the child says of them.

use crate::request::Request;
use block_core::{ErrorKind, Result, Zone, ZoneCondition, ZoneId, ZonedLimits};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The conditions that the filter gave to zones, by index.
#[derive(Debug, Default)]
pub(crate) struct DeadZones {
    conditions: Mutex<BTreeMap<u64, ZoneCondition>>,
    any: AtomicBool,
}

impl DeadZones {
    fn conditions(&self) -> MutexGuard<'_, BTreeMap<u64, ZoneCondition>> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Takes a zone out of service. An offline zone does not come back as a read-only one.
    pub(crate) fn retire(&self, zone: u64, condition: ZoneCondition) {
        let mut conditions = self.conditions();
        let now = conditions.entry(zone).or_insert(condition);
        if condition == ZoneCondition::Offline {
            *now = condition;
        }
        self.any.store(true, Ordering::Release);
    }

    /// Gives a zone back to the child; whether it was out of service.
    pub(crate) fn revive(&self, zone: u64) -> bool {
        let mut conditions = self.conditions();
        let was = conditions.remove(&zone).is_some();
        self.any.store(!conditions.is_empty(), Ordering::Release);
        was
    }

    pub(crate) fn clear(&self) {
        let mut conditions = self.conditions();
        conditions.clear();
        self.any.store(false, Ordering::Release);
    }

    /// What a report says of these zones.
    pub(crate) fn amend(&self, zones: &mut [Zone], zoned: &ZonedLimits) {
        let conditions = self.conditions();
        for zone in zones {
            if let Some(condition) = conditions.get(&zoned.zone_index(zone.start)) {
                zone.condition = *condition;
                zone.write_pointer = None;
            }
        }
    }

    /// Refuses what the device would refuse of such zones.
    pub(crate) fn check(&self, request: &Request, zoned: &ZonedLimits) -> Result<()> {
        let only_offline = match request {
            Request::Read { .. } => true,
            Request::Flush | Request::Resize { .. } | Request::Report { .. } => return Ok(()),
            _ => false,
        };
        let Some((offset, len)) = request.named() else { return Ok(()) };
        let first = zoned.zone_index(offset);
        let last = match request {
            Request::Append { .. } => first,
            _ => zoned.zone_index(offset.saturating_add(len.saturating_sub(1))),
        };
        let conditions = self.conditions();
        for (index, condition) in conditions.range(first..=last) {
            let zone = ZoneId { index: *index, start: index.saturating_mul(zoned.zone_size) };
            if *condition == ZoneCondition::Offline {
                return Err(ErrorKind::ZoneOffline { zone }.into());
            }
            if !only_offline {
                return Err(ErrorKind::ZoneReadOnly { zone }.into());
            }
        }
        Ok(())
    }
}
