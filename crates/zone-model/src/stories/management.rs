//! Open, close, finish, reset, of one zone and of many.

use super::{LAST, condition, device, id, refused, start, unlimited};
use block_core::{ErrorKind, ZoneCondition, ZoneOp};

const NONE: Vec<u64> = Vec::new();

#[test]
fn open_and_close_of_an_untouched_zone_leave_it_empty() {
    let mut model = device();
    assert_eq!(model.manage(ZoneOp::Open, 2..3).unwrap(), [2]);
    assert_eq!(condition(&model, 2), ZoneCondition::ExplicitOpen);
    assert_eq!(model.manage(ZoneOp::Open, 2..3).unwrap(), NONE);
    assert_eq!(model.manage(ZoneOp::Close, 2..3).unwrap(), [2]);
    assert_eq!(condition(&model, 2), ZoneCondition::Empty);
    assert_eq!((model.open_zones(), model.active_zones()), (0, 0));
}

#[test]
fn close_keeps_data_and_has_nothing_to_do_elsewhere() {
    let mut model = device();
    model.append(start(2), 0x1000).unwrap();
    model.append(start(3), 0x4000).unwrap();
    assert_eq!(model.manage(ZoneOp::Close, 2..5).unwrap(), [2]);
    assert_eq!(condition(&model, 2), ZoneCondition::Closed);
    assert_eq!(condition(&model, 3), ZoneCondition::Full);
    assert_eq!(condition(&model, 4), ZoneCondition::Empty);
    assert_eq!((model.open_zones(), model.active_zones()), (0, 1));
    assert_eq!(model.manage(ZoneOp::Close, 2..5).unwrap(), NONE);
}

#[test]
fn an_explicit_open_takes_the_place_of_an_implicit_one() {
    let mut model = device();
    model.append(start(2), 0x1000).unwrap();
    model.append(start(3), 0x1000).unwrap();
    assert_eq!(model.manage(ZoneOp::Open, 3..5).unwrap(), [3, 4]);
    assert_eq!(condition(&model, 2), ZoneCondition::Closed);
    assert_eq!(condition(&model, 3), ZoneCondition::ExplicitOpen);
    assert_eq!((model.open_zones(), model.active_zones()), (2, 3));
}

#[test]
fn finish_keeps_the_data_and_gives_the_resources_back() {
    let mut model = device();
    model.append(start(2), 0x1000).unwrap();
    assert_eq!(model.manage(ZoneOp::Finish, 2..4).unwrap(), [2, 3]);
    assert_eq!(model.manage(ZoneOp::Finish, 2..4).unwrap(), NONE);
    assert_eq!(condition(&model, 3), ZoneCondition::Full);
    assert_eq!(model.zone(2).unwrap().write_pointer, Some(start(3)));
    assert_eq!((model.written(2), model.written(3)), (Some(0x1000), Some(0)));
    assert_eq!(model.active_zones(), 0);
    let full = ErrorKind::ZoneFull { zone: id(2), needed: 0, remaining: 0 };
    refused(model.manage(ZoneOp::Open, 2..3), &full);
    assert_eq!(model.manage(ZoneOp::Reset, 2..5).unwrap(), [2, 3]);
    assert_eq!(model.zone(2).unwrap().write_pointer, Some(start(2)));
    assert_eq!(model.written(2), Some(0));
}

#[test]
fn finish_of_an_empty_zone_needs_resources_but_keeps_none() {
    let mut model = device();
    model.append(start(2), 0x1000).unwrap();
    model.append(start(3), 0x1000).unwrap();
    model.manage(ZoneOp::Finish, 4..5).unwrap();
    assert_eq!(model.open_zones(), 2, "nobody had to close");

    model.append(start(5), 0x1000).unwrap();
    let too_many = ErrorKind::TooManyActive { zone: id(6), limit: 3 };
    refused(model.manage(ZoneOp::Finish, 6..7), &too_many);
    // Finished first, zone 5 leaves what zone 6 needs.
    assert_eq!(model.manage(ZoneOp::Finish, 5..7).unwrap(), [5, 6]);

    let mut model = device();
    model.manage(ZoneOp::Open, 2..4).unwrap();
    let too_many = ErrorKind::TooManyOpen { zone: id(4), limit: 2 };
    refused(model.manage(ZoneOp::Finish, 4..5), &too_many);
}

#[test]
fn many_zones_change_together_or_not_at_all() {
    let mut model = device();
    let before = model.report(0, usize::MAX);
    let too_many = ErrorKind::TooManyOpen { zone: id(4), limit: 2 };
    refused(model.manage(ZoneOp::Open, 2..5), &too_many);
    assert_eq!(model.report(0, usize::MAX), before);

    let mut model = unlimited();
    model.set_condition(5, ZoneCondition::Offline).unwrap();
    for op in ZoneOp::ALL {
        let before = model.report(0, usize::MAX);
        refused(model.manage(op, 2..8), &ErrorKind::ZoneOffline { zone: id(5) });
        refused(model.manage(op, 1..4), &ErrorKind::ConventionalZone { zone: id(1) });
        assert_eq!(model.report(0, usize::MAX), before);
    }
}

#[test]
fn a_range_of_the_whole_device_skips_what_cannot_change() {
    let mut model = unlimited();
    model.set_condition(3, ZoneCondition::Offline).unwrap();
    model.set_condition(4, ZoneCondition::ReadOnly).unwrap();
    assert_eq!(model.manage(ZoneOp::Open, 0..8).unwrap(), [2, 5, 6, 7]);
    assert_eq!(model.manage(ZoneOp::Close, 0..8).unwrap(), [2, 5, 6, 7]);
    assert_eq!(model.manage(ZoneOp::Finish, 0..8).unwrap(), [2, 5, 6, 7]);
    assert_eq!(condition(&model, LAST), ZoneCondition::Full);
    assert_eq!(model.manage(ZoneOp::Reset, 0..8).unwrap(), [2, 5, 6, 7]);
    assert_eq!(condition(&model, 3), ZoneCondition::Offline);
    assert_eq!(condition(&model, 4), ZoneCondition::ReadOnly);
}

#[test]
fn a_range_must_name_zones() {
    let mut model = device();
    let out = ErrorKind::OutOfRange { length: model.geometry().size() };
    let backwards = std::ops::Range { start: 5, end: 4 };
    for range in [8..9, 2..9, 3..3, 0..u64::MAX, u64::MAX..u64::MAX, backwards] {
        refused(model.manage(ZoneOp::Reset, range), &out);
    }
    model.apply_manage(ZoneOp::Open, u64::MAX);
    model.apply_manage(ZoneOp::Open, 0);
    assert_eq!(model.open_zones(), 0);
}

#[test]
fn conditions_can_be_forced_for_tests() {
    let mut model = device();
    model.append(start(2), 0x1000).unwrap();
    model.set_condition(2, ZoneCondition::ReadOnly).unwrap();
    assert_eq!(model.active_zones(), 0, "a dead zone holds no resources");
    assert_eq!(model.written(2), Some(0x1000), "its data can be read");
    model.set_condition(2, ZoneCondition::Empty).unwrap();
    assert_eq!(model.written(2), Some(0));
    refused(
        model.set_condition(0, ZoneCondition::Offline),
        &ErrorKind::ConventionalZone { zone: id(0) },
    );
    let refusal = model.set_condition(2, ZoneCondition::Closed).unwrap_err();
    assert_eq!(refusal.name(), "invalid-option");
    let refusal = model.set_condition(8, ZoneCondition::Full).unwrap_err();
    assert_eq!(refusal.name(), "out-of-range");
}
