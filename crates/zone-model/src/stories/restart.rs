//! What survives a restart, and reports.

use super::{CONFIG, condition, device, start};
use crate::{Geometry, SavedCondition, SavedZone, ZoneModel};
use block_core::{ErrorKind, ZoneCondition, ZoneOp};

const fn written(bytes: u64) -> SavedZone {
    SavedZone { written: bytes, condition: SavedCondition::Written }
}

fn restored(change: impl FnOnce(&mut Vec<SavedZone>)) -> Result<ZoneModel, ErrorKind> {
    let mut zones = vec![SavedZone::EMPTY; 8];
    change(&mut zones);
    ZoneModel::restore(Geometry::new(&CONFIG).unwrap(), zones)
}

#[test]
fn open_zones_come_back_closed() {
    let mut model = device();
    model.append(start(2), 0x1000).unwrap();
    model.manage(ZoneOp::Open, 3..4).unwrap();
    model.manage(ZoneOp::Finish, 4..5).unwrap();
    model.set_condition(5, ZoneCondition::ReadOnly).unwrap();
    model.set_condition(6, ZoneCondition::Offline).unwrap();
    let saved: Vec<SavedZone> = (0..8).filter_map(|index| model.saved(index)).collect();
    assert_eq!(saved.len(), 8);
    assert_eq!(model.saved(8), None);

    let back = ZoneModel::restore(*model.geometry(), saved).unwrap();
    let conditions: Vec<_> = (2..8).map(|index| condition(&back, index)).collect();
    let expected = [
        ZoneCondition::Closed,
        ZoneCondition::Empty,
        ZoneCondition::Full,
        ZoneCondition::ReadOnly,
        ZoneCondition::Offline,
        ZoneCondition::Empty,
    ];
    assert_eq!(conditions, expected);
    assert_eq!((back.open_zones(), back.active_zones()), (0, 1));
    assert_eq!(back.written(2), Some(0x1000));
}

#[test]
fn more_data_than_active_zones_is_kept() {
    let mut model = restored(|zones| {
        for zone in zones.iter_mut().skip(2).take(5) {
            *zone = written(0x1000);
        }
    })
    .unwrap();
    assert_eq!(model.active_zones(), 5, "the limit is 3");
    // They can be written on, but no further zone becomes active.
    model.append(start(2), 0x1000).unwrap();
    assert_eq!(model.append(start(7), 0x1000).unwrap_err().name(), "too-many-active");
    model.manage(ZoneOp::Reset, 2..5).unwrap();
    model.append(start(7), 0x1000).unwrap();
}

#[test]
fn a_zone_written_to_its_capacity_is_full() {
    let model = restored(|zones| zones[2] = written(0x4000)).unwrap();
    assert_eq!(condition(&model, 2), ZoneCondition::Full);
}

#[test]
fn damaged_state_is_refused_with_the_zone_named() {
    let says = |change: fn(&mut Vec<SavedZone>), expected: &str| match restored(change) {
        Err(ErrorKind::InvalidImage(message)) => {
            assert!(message.contains(expected), "{message:?}: no {expected:?}");
        }
        other => panic!("{expected}: {other:?}"),
    };
    says(|zones| zones.truncate(5), "zone 5 has no saved state");
    says(|zones| zones.push(SavedZone::EMPTY), "zone 8");
    says(|zones| zones[3] = written(0x5000), "zone 3 at 0x12000 has 0x5000");
    says(|zones| zones[7] = written(0x3000), "above its capacity 0x2000");
    says(|zones| zones[3] = written(u64::MAX), "zone 3");
    says(|zones| zones[3] = written(0x1001), "not a multiple");
    says(|zones| zones[1] = written(0x1000), "zone 1 at 0x6000 is conventional");
    says(
        |zones| {
            zones[0].condition = SavedCondition::Offline;
        },
        "zone 0 at 0x0 is conventional",
    );
}

#[test]
fn a_report_starts_at_the_zone_that_holds_the_offset() {
    let model = device();
    let starts = |offset, max| -> Vec<u64> {
        let zones = model.report(offset, max);
        zones.iter().map(|zone| zone.start).collect()
    };
    assert_eq!(starts(0, 2), [start(0), start(1)]);
    assert_eq!(starts(start(6) + 1, usize::MAX), [start(6), start(7)]);
    assert_eq!(starts(CONFIG.size - 1, 1), [start(7)]);
    assert!(starts(0, 0).is_empty());
    assert!(starts(CONFIG.size, 1).is_empty());
    assert!(starts(u64::MAX, usize::MAX).is_empty());
    assert_eq!(starts(0, usize::MAX).len(), 8);
}
