//! Writes and appends.

use super::{CONFIG, LAST, condition, device, id, refused, start, unlimited};
use crate::{Geometry, Started, ZoneModel};
use block_core::{ErrorKind, ZoneCondition, ZoneOp};

#[test]
fn a_zone_fills_from_its_start_to_its_capacity() {
    let mut model = device();
    model.write(start(2), 0x1000).unwrap();
    assert_eq!(condition(&model, 2), ZoneCondition::ImplicitOpen);
    assert_eq!(model.zone(2).unwrap().write_pointer, Some(start(2) + 0x1000));
    let append = model.append(start(2), 0x2000).unwrap();
    assert_eq!(append.position, start(2) + 0x1000);
    assert_eq!((model.open_zones(), model.active_zones()), (1, 1));

    model.write(start(2) + 0x3000, 0x1000).unwrap();
    assert_eq!(condition(&model, 2), ZoneCondition::Full);
    assert_eq!(model.zone(2).unwrap().write_pointer, Some(start(3)));
    assert_eq!(model.written(2), Some(0x4000));
    assert_eq!((model.open_zones(), model.active_zones()), (0, 0));
    refused(
        model.append(start(2), 0x1000),
        &ErrorKind::ZoneFull { zone: id(2), needed: 0x1000, remaining: 0 },
    );
}

#[test]
fn a_write_goes_to_the_write_pointer_or_nowhere() {
    let mut model = device();
    model.write(start(2), 0x1000).unwrap();
    let mismatch =
        |given| ErrorKind::WritePointerMismatch { zone: id(2), expected: start(2) + 0x1000, given };
    let before = start(2);
    refused(model.write(before, 0x1000), &mismatch(before));
    let after = start(2) + 0x2000;
    refused(model.write(after, 0x1000), &mismatch(after));
    let above_capacity = start(2) + 0x4000;
    refused(model.write(above_capacity, 0x1000), &mismatch(above_capacity));
}

#[test]
fn a_write_stays_within_the_capacity_of_its_zone() {
    let mut model = device();
    let boundary = ErrorKind::ZoneBoundary { zone: id(3), boundary: start(3) + 0x4000 };
    refused(model.write(start(3), 0x5000), &boundary);
    refused(model.write(start(3), 0x7000), &boundary);
    refused(
        model.append(start(3), 0x5000),
        &ErrorKind::ZoneFull { zone: id(3), needed: 0x5000, remaining: 0x4000 },
    );
    assert_eq!(condition(&model, 3), ZoneCondition::Empty, "nothing changed");
    // The last zone is smaller than the capacity of the others.
    refused(
        model.append(start(LAST), 0x3000),
        &ErrorKind::ZoneFull { zone: id(LAST), needed: 0x3000, remaining: 0x2000 },
    );
    model.append(start(LAST), 0x2000).unwrap();
    assert_eq!(condition(&model, LAST), ZoneCondition::Full);
    assert_eq!(model.zone(LAST).unwrap().write_pointer, Some(CONFIG.size));
}

#[test]
fn hostile_numbers_are_refused_before_anything_else() {
    let mut model = device();
    let misaligned = |what, given, required| ErrorKind::Misaligned { what, given, required };
    let out = ErrorKind::OutOfRange { length: CONFIG.size };
    let at = start(2);
    refused(model.write(at, 0), &misaligned("length", 0, 0x1000));
    refused(model.write(at, 0x800), &misaligned("length", 0x800, 0x1000));
    refused(model.write(at + 1, 0x1000), &misaligned("offset", at + 1, 0x1000));
    refused(model.write(at, u64::MAX - 0xfff), &out);
    refused(model.write(u64::MAX - 0xfff, 0x1000), &out);
    refused(model.write(CONFIG.size, 0x1000), &out);
    let inside = at + 0x1000;
    refused(model.append(inside, 0x1000), &misaligned("zone offset", inside, 0x6000));
    refused(model.append(at, 0), &misaligned("length", 0, 0x1000));
    refused(model.append(at, 1), &misaligned("length", 1, 0x1000));
    refused(model.append(start(8), 0x1000), &out);
    model.complete_write(u64::MAX, u64::MAX);
    model.complete_write(2, u64::MAX);
    assert_eq!(model.written(2), Some(0), "there was no write to complete");
}

#[test]
fn conventional_zones_take_writes_anywhere_and_no_appends() {
    let mut model = device();
    model.write(0x3000, 0x1000).unwrap();
    model.write(0, 0xc000).unwrap();
    assert_eq!(condition(&model, 0), ZoneCondition::NotWritePointer);
    assert_eq!(model.zone(0).unwrap().write_pointer, None);
    assert_eq!(model.written(0), Some(0x6000));
    assert_eq!(model.open_zones(), 0);
    refused(
        model.write(0xb000, 0x2000),
        &ErrorKind::ZoneBoundary { zone: id(1), boundary: start(2) },
    );
    refused(model.append(0, 0x1000), &ErrorKind::ConventionalZone { zone: id(0) });
}

#[test]
fn dead_zones_say_so() {
    let mut model = device();
    model.set_condition(2, ZoneCondition::ReadOnly).unwrap();
    model.set_condition(3, ZoneCondition::Offline).unwrap();
    refused(model.write(start(2), 0x1000), &ErrorKind::ZoneReadOnly { zone: id(2) });
    refused(model.append(start(2), 0x1000), &ErrorKind::ZoneReadOnly { zone: id(2) });
    refused(model.write(start(3), 0x1000), &ErrorKind::ZoneOffline { zone: id(3) });
    refused(model.append(start(3), 0x1000), &ErrorKind::ZoneOffline { zone: id(3) });
    assert_eq!(model.zone(2).unwrap().write_pointer, None);
    assert_eq!(model.zone(3).unwrap().write_pointer, None);
}

#[test]
fn an_append_can_have_a_limit() {
    let geometry = Geometry::new(&CONFIG).unwrap().with_max_append(0x2000);
    assert_eq!(geometry.limits().max_append_bytes, 0x2000);
    let mut model = ZoneModel::new(geometry);
    let too_large = ErrorKind::AppendTooLarge { given: 0x3000, limit: 0x2000 };
    refused(model.append(start(2), 0x3000), &too_large);
    model.append(start(2), 0x2000).unwrap();
    model.write(start(3), 0x3000).unwrap();
}

#[test]
fn the_zone_written_longest_ago_makes_room() {
    let mut model = device();
    model.append(start(2), 0x1000).unwrap();
    model.append(start(3), 0x1000).unwrap();
    model.append(start(2), 0x1000).unwrap();
    let append = model.append(start(4), 0x1000).unwrap();
    assert_eq!(append.implicitly_closed, Some(3));
    assert_eq!(condition(&model, 3), ZoneCondition::Closed);
    assert_eq!((model.open_zones(), model.active_zones()), (2, 3));

    // A fourth active zone is one too many, and nobody is closed for it.
    let too_many = ErrorKind::TooManyActive { zone: id(5), limit: 3 };
    refused(model.append(start(5), 0x1000), &too_many);
    assert_eq!(condition(&model, 2), ZoneCondition::ImplicitOpen);
    // The closed one needs no new active resource.
    let append = model.append(start(3), 0x1000).unwrap();
    assert_eq!(append.implicitly_closed, Some(2));
}

#[test]
fn explicitly_open_zones_do_not_make_room() {
    let mut model = device();
    model.manage(ZoneOp::Open, 2..4).unwrap();
    let too_many = ErrorKind::TooManyOpen { zone: id(4), limit: 2 };
    refused(model.write(start(4), 0x1000), &too_many);
    model.write(start(3), 0x1000).unwrap();
    assert_eq!(condition(&model, 3), ZoneCondition::ExplicitOpen);
}

#[test]
fn a_started_write_moves_nothing_until_it_has_landed() {
    let mut model = device();
    let started = model.start_append(start(2), 0x3000).unwrap();
    let expected = Started { index: 2, position: start(2), len: 0x3000, implicitly_closed: None };
    assert_eq!(started, expected);
    assert_eq!(condition(&model, 2), ZoneCondition::ImplicitOpen);
    assert_eq!(model.written(2), Some(0));
    model.complete_write(2, 0x2800);
    assert_eq!(model.written(2), Some(0x2000), "whole blocks only");
}

#[test]
fn a_failed_first_write_leaves_the_zone_empty() {
    let mut model = device();
    model.start_write(start(2), 0x1000).unwrap();
    model.complete_write(2, 0);
    assert_eq!(condition(&model, 2), ZoneCondition::Empty);
    assert_eq!(model.active_zones(), 0);

    model.manage(ZoneOp::Open, 2..3).unwrap();
    model.start_write(start(2), 0x1000).unwrap();
    model.complete_write(2, 0);
    assert_eq!(condition(&model, 2), ZoneCondition::ExplicitOpen, "as asked for");
}

#[test]
fn a_zone_with_a_write_in_flight_can_make_room_and_keeps_its_place() {
    let mut model = device();
    model.start_append(start(2), 0x4000).unwrap();
    model.start_append(start(3), 0x1000).unwrap();
    let third = model.start_append(start(4), 0x1000).unwrap();
    assert_eq!(third.implicitly_closed, Some(2));
    assert_eq!(condition(&model, 2), ZoneCondition::Closed);
    assert_eq!(model.active_zones(), 3);
    model.complete_write(2, 0x4000);
    assert_eq!(condition(&model, 2), ZoneCondition::Full);
    assert_eq!(model.active_zones(), 2);
}

#[test]
fn a_completion_after_a_reset_does_not_count() {
    let mut model = device();
    model.start_append(start(2), 0x1000).unwrap();
    model.manage(ZoneOp::Reset, 2..3).unwrap();
    model.complete_write(2, 0x1000);
    assert_eq!(condition(&model, 2), ZoneCondition::Empty);
    assert_eq!(model.written(2), Some(0));
}

#[test]
fn without_limits_all_zones_can_be_open() {
    let mut model = unlimited();
    for index in 2..=LAST {
        let append = model.append(start(index), 0x1000).unwrap();
        assert_eq!(append.implicitly_closed, None);
    }
    assert_eq!(model.open_zones(), 6);
}
