//! What a device's zone report may say. Hostile: whatever is no zone of this device is an error.

use super::shape::Shape;
use crate::sys::{RawReport, RawZone, SECTOR};
use block_core::{Error, ErrorKind, Result, Zone, ZoneCondition, ZoneType};

/// Reads the answer to a report of up to `asked` zones from zone number `first` on. Gives at least
/// one zone.
pub(super) fn zones(
    shape: &Shape,
    first: u64,
    asked: u32,
    report: &RawReport,
) -> Result<Vec<Zone>> {
    if report.claimed > asked {
        return Err(lie(format!(
            "of {asked} zones asked for from zone {first} on it reported {}",
            report.claimed
        )));
    }
    if report.zones.is_empty() {
        return Err(lie(format!(
            "it reported no zone from zone {first} on, and should have {}",
            shape.count()
        )));
    }
    // A number that is too large is past the end, where no zone is right.
    let numbered = (0_u64..).zip(&report.zones).map(|(n, raw)| (first.saturating_add(n), raw));
    numbered.map(|(index, raw)| zone(shape, index, raw, report.has_capacity)).collect()
}

fn zone(shape: &Shape, index: u64, raw: &RawZone, has_capacity: bool) -> Result<Zone> {
    let (expected_start, end) = (shape.start_of(index), shape.end_of(index));
    let bytes = |what: &str, sectors: u64| {
        sectors.checked_mul(SECTOR).ok_or_else(|| {
            lie(format!("{what} of zone {index} is sector {sectors:#x}, which no device has"))
        })
    };
    let start = bytes("the start", raw.start)?;
    let length = bytes("the length", raw.len)?;
    let expected_length = end.saturating_sub(expected_start);
    if start != expected_start || length != expected_length || length == 0 {
        return Err(lie(format!(
            "zone {index} starts at {start:#x} and is {length:#x} long; its size and number of \
             zones say {expected_start:#x} and {expected_length:#x}"
        )));
    }
    let capacity = if has_capacity { bytes("the capacity", raw.capacity)? } else { length };
    let zone_type = ZoneType::from_code(raw.zone_type).ok_or_else(|| {
        lie(format!("the type of zone {index} is {:#x}, which no standard defines", raw.zone_type))
    })?;
    let condition = ZoneCondition::from_code(raw.condition).ok_or_else(|| {
        lie(format!(
            "the condition of zone {index} is {:#x}, which no standard defines",
            raw.condition
        ))
    })?;
    let write_pointer = match (zone_type, condition) {
        (ZoneType::Conventional, _) => None,
        (_, ZoneCondition::ReadOnly | ZoneCondition::Offline) => None,
        (_, ZoneCondition::NotWritePointer) => {
            return Err(lie(format!("zone {index} is {zone_type} and has no write pointer")));
        }
        (_, ZoneCondition::Full) => Some(end),
        _ => Some(bytes("the write pointer", raw.write_pointer)?),
    };
    // Of a dead zone nothing else need be right.
    let capacity = match condition {
        ZoneCondition::Offline => capacity.min(length),
        _ => capacity,
    };
    if capacity > length || (capacity == 0 && condition != ZoneCondition::Offline) {
        return Err(lie(format!(
            "zone {index} is {length:#x} long and its capacity {capacity:#x}"
        )));
    }
    if write_pointer.is_some_and(|at| !(start..=end).contains(&at)) {
        return Err(lie(format!(
            "the write pointer of zone {index} at {start:#x} stands at {:#x}",
            write_pointer.unwrap_or(0)
        )));
    }
    Ok(Zone { start, length, capacity, write_pointer, zone_type, condition })
}

fn lie(what: String) -> Error {
    ErrorKind::InvalidDevice(format!("the device's zone report makes no sense: {what}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: Shape = Shape { zone_size: 8 * 512, length: 2 * 8 * 512 + 4 * 512 };

    const EMPTY: RawZone =
        RawZone { start: 8, len: 8, write_pointer: 8, zone_type: 2, condition: 1, capacity: 6 };

    fn report(zones: &[RawZone]) -> RawReport {
        let claimed = u32::try_from(zones.len()).unwrap();
        RawReport { claimed, has_capacity: true, zones: zones.to_vec() }
    }

    fn refused(report: &RawReport) -> String {
        let error = zones(&SHAPE, 1, 2, report).unwrap_err();
        assert_eq!(error.kind().name(), "invalid-device", "{error}");
        error.to_string()
    }

    #[test]
    fn zones_as_they_should_be() {
        let last =
            RawZone { start: 16, len: 4, write_pointer: 18, condition: 2, capacity: 4, ..EMPTY };
        let found = zones(&SHAPE, 1, 2, &report(&[EMPTY, last])).unwrap();
        let pointers: Vec<_> = found.iter().map(|z| (z.capacity, z.write_pointer)).collect();
        assert_eq!(pointers, [(6 * 512, Some(8 * 512)), (4 * 512, Some(18 * 512))]);
    }

    #[test]
    fn without_the_flag_the_capacity_is_the_length() {
        let report =
            RawReport { has_capacity: false, ..report(&[RawZone { capacity: 99, ..EMPTY }]) };
        assert_eq!(zones(&SHAPE, 1, 2, &report).unwrap()[0].capacity, 8 * 512);
    }

    #[test]
    fn write_pointers_have_a_meaning_or_are_not_there() {
        let pointer = |zone_type, condition, write_pointer| {
            let raw = RawZone { zone_type, condition, write_pointer, ..EMPTY };
            zones(&SHAPE, 1, 2, &report(&[raw])).unwrap()[0].write_pointer
        };
        assert_eq!(pointer(1, 0, u64::MAX), None, "conventional");
        assert_eq!(pointer(2, 0xD, u64::MAX), None, "read-only");
        assert_eq!(pointer(2, 0xF, u64::MAX), None, "offline");
        assert_eq!(pointer(2, 0xE, u64::MAX), Some(16 * 512), "full");
        assert_eq!(pointer(3, 4, 9), Some(9 * 512), "closed");
    }

    #[test]
    fn unknown_codes_are_named() {
        assert!(refused(&report(&[RawZone { zone_type: 0x2a, ..EMPTY }])).contains("0x2a"));
        assert!(refused(&report(&[RawZone { condition: 0x17, ..EMPTY }])).contains("0x17"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for raw in [
            RawZone { len: 0, ..EMPTY },
            RawZone { len: 7, ..EMPTY },
            RawZone { len: 9, ..EMPTY },
            RawZone { start: 0, ..EMPTY },
            RawZone { start: 9, ..EMPTY },
            RawZone { start: u64::MAX, ..EMPTY },
            RawZone { len: u64::MAX, ..EMPTY },
            RawZone { capacity: 0, ..EMPTY },
            RawZone { capacity: 9, ..EMPTY },
            RawZone { capacity: u64::MAX, ..EMPTY },
            RawZone { write_pointer: 7, ..EMPTY },
            RawZone { write_pointer: 17, ..EMPTY },
            RawZone { write_pointer: u64::MAX, ..EMPTY },
            RawZone { condition: 0, ..EMPTY },
        ] {
            refused(&report(&[raw]));
        }
        refused(&report(&[]));
        refused(&report(&[EMPTY, EMPTY]));
        refused(&RawReport { claimed: 3, ..report(&[EMPTY]) });
        assert!(zones(&SHAPE, u64::MAX, 2, &report(&[EMPTY, EMPTY])).is_err());
        let beyond = RawZone { start: 20, len: 0, ..EMPTY };
        let last = RawZone { start: 16, len: 4, write_pointer: 16, capacity: 4, ..EMPTY };
        assert!(zones(&SHAPE, 2, 9, &report(&[last, beyond])).is_err());
    }

    fn raw_zone() -> impl Strategy<Value = RawZone> {
        // Mostly near what is right, so that each check is reached.
        let number = || prop_oneof![8 => 0_u64..40, 1 => any::<u64>()];
        let code = || prop_oneof![8 => 0_u8..16, 1 => any::<u8>()];
        (number(), number(), number(), code(), code(), number()).prop_map(
            |(start, len, write_pointer, zone_type, condition, capacity)| RawZone {
                start,
                len,
                write_pointer,
                zone_type,
                condition,
                capacity,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn whatever_a_device_says_the_zones_are_possible_ones(
            list in prop::collection::vec(raw_zone(), 0..4),
            claimed in 0_u32..6,
            has_capacity in any::<bool>(),
            first in prop_oneof![0_u64..5, any::<u64>()],
            asked in 0_u32..5,
        ) {
            let report = RawReport { claimed, has_capacity, zones: list };
            let Ok(found) = zones(&SHAPE, first, asked, &report) else { return Ok(()) };
            prop_assert!(!found.is_empty());
            let mut at = SHAPE.start_of(first);
            for zone in found {
                prop_assert_eq!(zone.start, at);
                prop_assert!(zone.length > 0 && zone.end() <= SHAPE.length);
                prop_assert!(zone.capacity <= zone.length);
                if let Some(pointer) = zone.write_pointer {
                    prop_assert!((zone.start..=zone.end()).contains(&pointer));
                }
                at = zone.end();
            }
        }
    }
}
