//! Zone management through blkzone, and writes where they belong and where they do not.

use super::Cases;
use crate::disk::{
    CLOSED, Disk, EMPTY, EXPLICIT, FULL, IMPLICIT, NOT_WP, ZoneState, manage, reset_all, zones,
};
use crate::door::Export;
use crate::pattern;
use crate::shape::Shape;
use nix::errno::Errno;

pub fn run(cases: &mut Cases<'_>) {
    cases.case("a_new_device_is_empty", |export, shape| {
        assert_eq!(zones(&export.device), fresh(&shape))
    });
    cases.case("open_close_finish_and_reset", management);
    cases.case("ranges_and_the_whole_device", ranges);
    cases.case("what_is_written_is_read", write_and_read);
    cases.case("after_a_restart", after_a_restart);
    cases.case("off_the_write_pointer", off_the_pointer);
    cases.case("a_full_zone_and_past_the_capacity", full_and_past);
    cases.case("more_open_zones_than_there_may_be", too_many_open);
    cases.case("more_active_zones_than_there_may_be", too_many_active);
    if cases.shape.conventional > 0 {
        cases.case("conventional_zones", conventional);
    } else {
        cases.suite.skip("conventional_zones", "this shape has none");
    }
}

fn fresh(shape: &Shape) -> Vec<ZoneState> {
    let zone = |n| {
        let conventional = shape.is_conventional(n);
        ZoneState {
            start: shape.start(n),
            length: shape.zone_size,
            capacity: if conventional { shape.zone_size } else { shape.zone_capacity },
            written: 0,
            condition: if conventional { NOT_WP } else { EMPTY },
        }
    };
    (0..shape.zones).map(zone).collect()
}

/// Condition and written bytes of one zone.
fn state(export: &Export, zone: u64) -> (u64, u64) {
    let zone = zones(&export.device)[zone as usize];
    (zone.condition, zone.written)
}

fn block(shape: &Shape) -> Vec<u8> {
    pattern::bytes(7, 0, shape.block_size as usize)
}

fn management(export: &mut Export, shape: Shape) {
    let zone = shape.sequential(3);
    let manage = |operation| manage(operation, &export.device, &shape, zone, 1).unwrap();
    let disk = Disk::open(&export.device).unwrap();
    let write = |blocks: u64, at: u64| {
        let len = (blocks * u64::from(shape.block_size)) as usize;
        let offset = at * u64::from(shape.block_size);
        disk.write(shape.start(zone) + offset, &pattern::bytes(zone, offset, len)).unwrap();
    };
    let written = |blocks: u64| blocks * u64::from(shape.block_size);

    manage("open");
    assert_eq!(state(export, zone), (EXPLICIT, 0));
    manage("close");
    assert_eq!(state(export, zone), (EMPTY, 0));
    write(2, 0);
    assert_eq!(state(export, zone), (IMPLICIT, written(2)));
    manage("open");
    assert_eq!(state(export, zone), (EXPLICIT, written(2)));
    manage("close");
    assert_eq!(state(export, zone), (CLOSED, written(2)));
    write(1, 2);
    assert_eq!(state(export, zone), (IMPLICIT, written(3)));
    manage("finish");
    assert_eq!(state(export, zone).0, FULL);
    let found = disk.read(shape.start(zone), written(3) as usize).unwrap();
    pattern::check("a finished zone", zone, 0, &found);
    manage("reset");
    assert_eq!(state(export, zone), (EMPTY, 0));
    manage("finish");
    assert_eq!(state(export, zone).0, FULL);
    manage("reset");
    assert_eq!(zones(&export.device), fresh(&shape), "its neighbours");
}

fn ranges(export: &mut Export, shape: Shape) {
    let first = shape.sequential(1);
    let conditions = |export: &Export, range: std::ops::Range<u64>| -> Vec<u64> {
        zones(&export.device)[range.start as usize..range.end as usize]
            .iter()
            .map(|zone| zone.condition)
            .collect()
    };
    manage("open", &export.device, &shape, first, 4).unwrap();
    assert_eq!(
        conditions(export, first - 1..first + 5)[1..],
        [EXPLICIT, EXPLICIT, EXPLICIT, EXPLICIT, EMPTY]
    );
    manage("close", &export.device, &shape, first, 2).unwrap();
    assert_eq!(conditions(export, first..first + 4), [EMPTY, EMPTY, EXPLICIT, EXPLICIT]);
    manage("finish", &export.device, &shape, first + 1, 2).unwrap();
    assert_eq!(conditions(export, first..first + 4), [EMPTY, FULL, FULL, EXPLICIT]);
    manage("reset", &export.device, &shape, first, 2).unwrap();
    assert_eq!(conditions(export, first..first + 4), [EMPTY, EMPTY, FULL, EXPLICIT]);
    reset_all(&export.device);
    assert_eq!(zones(&export.device), fresh(&shape));
}

/// Writes of many sizes through a whole zone.
fn fill(disk: &Disk, shape: &Shape, zone: u64) {
    let mut random = pattern::Random::new(zone);
    let block = u64::from(shape.block_size);
    let mut at = 0;
    while at < shape.zone_capacity {
        let len = (block * (1 + random.below(96))).min(shape.zone_capacity - at);
        let data = pattern::bytes(zone, at, len as usize);
        disk.write(shape.start(zone) + at, &data).unwrap();
        at += len;
    }
}

fn write_and_read(export: &mut Export, shape: Shape) {
    let zone = shape.sequential(5);
    let disk = Disk::open(&export.device).unwrap();
    fill(&disk, &shape, zone);
    assert_eq!(state(export, zone).0, FULL);
    let whole = disk.read(shape.start(zone), shape.zone_capacity as usize).unwrap();
    pattern::check("the zone", zone, 0, &whole);
    let mut random = pattern::Random::new(1);
    let block = u64::from(shape.block_size);
    for _ in 0..50 {
        let len = block * (1 + random.below(64));
        let at = block * random.below((shape.zone_capacity - len) / block);
        let found = disk.read(shape.start(zone) + at, len as usize).unwrap();
        pattern::check("a part", zone, at, &found);
    }
    if export.door().is_some() {
        // null_blk reads as a pattern there.
        let next = disk.read(shape.start(zone + 1), 1 << 16).unwrap();
        assert!(next.iter().all(|&byte| byte == 0), "above the write pointer");
        let gap = (shape.zone_size - shape.zone_capacity).min(1 << 16) as usize;
        if gap > 0 {
            let found = disk.read(shape.start(zone) + shape.zone_capacity, gap).unwrap();
            assert!(found.iter().all(|&byte| byte == 0), "above the capacity");
        }
    }
}

fn after_a_restart(export: &mut Export, shape: Shape) {
    let [full, part] = [shape.sequential(0), shape.sequential(2)];
    let disk = Disk::open(&export.device).unwrap();
    fill(&disk, &shape, full);
    disk.write(shape.start(part), &pattern::bytes(part, 0, 1 << 16)).unwrap();
    drop(disk);
    export.restart();
    assert_eq!(state(export, full).0, FULL);
    let (condition, written) = state(export, part);
    assert_eq!(written, 1 << 16);
    // Nothing stays open over a restart; without one it does.
    assert_eq!(condition, if export.door().is_some() { CLOSED } else { IMPLICIT });
    let disk = Disk::open(&export.device).unwrap();
    let whole = disk.read(shape.start(full), shape.zone_capacity as usize).unwrap();
    pattern::check("the full zone", full, 0, &whole);
    let found = disk.read(shape.start(part), 1 << 16).unwrap();
    pattern::check("the other zone", part, 0, &found);
    disk.write(shape.start(part) + (1 << 16), &pattern::bytes(part, 1 << 16, 1 << 16)).unwrap();
    assert_eq!(state(export, part), (IMPLICIT, 2 << 16));
}

fn off_the_pointer(export: &mut Export, shape: Shape) {
    let zone = shape.sequential(0);
    let disk = Disk::open(&export.device).unwrap();
    let data = block(&shape);
    let size = u64::from(shape.block_size);
    disk.write(shape.start(zone), &data).unwrap();
    disk.write(shape.start(zone) + size, &data).unwrap();
    for off in [0, size, 3 * size, shape.zone_capacity - size] {
        let refused = disk.write(shape.start(zone) + off, &block(&shape));
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(Errno::EIO as i32), "at {off:#x}");
        assert_eq!(state(export, zone), (IMPLICIT, 2 * size), "after a write at {off:#x}");
    }
    // It goes on where it stands.
    disk.write(shape.start(zone) + 2 * size, &data).unwrap();
    assert_eq!(state(export, zone), (IMPLICIT, 3 * size));
    let found = disk.read(shape.start(zone), 3 * data.len()).unwrap();
    assert_eq!(found, data.repeat(3));
}

fn full_and_past(export: &mut Export, shape: Shape) {
    let zone = shape.sequential(0);
    let disk = Disk::open(&export.device).unwrap();
    fill(&disk, &shape, zone);
    let size = u64::from(shape.block_size);
    for at in [0, shape.zone_capacity - size, shape.zone_size - size] {
        disk.write(shape.start(zone) + at, &block(&shape)).expect_err("a write to a full zone");
    }
    let whole = disk.read(shape.start(zone), shape.zone_capacity as usize).unwrap();
    pattern::check("the full zone", zone, 0, &whole);
    assert_eq!(state(export, zone + 1), (EMPTY, 0), "the zone after it");
}

fn too_many_open(export: &mut Export, shape: Shape) {
    let most = u64::from(shape.max_open);
    manage("open", &export.device, &shape, shape.sequential(0), most).unwrap();
    let over = shape.sequential(most);
    let refused = manage("open", &export.device, &shape, over, 1).unwrap_err();
    assert!(refused.contains("Too many references"), "{refused}");
    let disk = Disk::open(&export.device).unwrap();
    let refused = disk.write(shape.start(over), &block(&shape)).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::ETOOMANYREFS as i32), "{refused}");
    assert_eq!(state(export, over), (EMPTY, 0));
    manage("close", &export.device, &shape, shape.sequential(0), 1).unwrap();
    disk.write(shape.start(over), &block(&shape)).unwrap();
    assert_eq!(state(export, over), (IMPLICIT, shape.block_size.into()));
}

fn too_many_active(export: &mut Export, shape: Shape) {
    let most = u64::from(shape.max_active);
    let disk = Disk::open(&export.device).unwrap();
    for n in 0..most {
        // What is only implicitly open makes room for others, and stays active.
        disk.write(shape.start(shape.sequential(n)), &block(&shape)).unwrap();
    }
    let over = shape.sequential(most);
    let refused = disk.write(shape.start(over), &block(&shape)).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::EOVERFLOW as i32), "{refused}");
    let refused = manage("open", &export.device, &shape, over, 1).unwrap_err();
    assert!(refused.contains("Value too large"), "{refused}");
    assert_eq!(state(export, over), (EMPTY, 0));
    manage("reset", &export.device, &shape, shape.sequential(0), 1).unwrap();
    disk.write(shape.start(over), &block(&shape)).unwrap();
}

fn conventional(export: &mut Export, shape: Shape) {
    let disk = Disk::open(&export.device).unwrap();
    let size = u64::from(shape.block_size);
    // Backwards, over the border of two zones, and again.
    for at in [shape.zone_size, shape.zone_size - size, 3 * size, 0, 3 * size] {
        let data = pattern::bytes(at + 1, 0, shape.block_size as usize);
        disk.write(at, &data).unwrap();
        assert_eq!(disk.read(at, data.len()).unwrap(), data);
    }
    let across = pattern::bytes(3, 0, 2 * shape.block_size as usize);
    disk.write(shape.zone_size - size, &across).unwrap();
    assert_eq!(disk.read(shape.zone_size - size, across.len()).unwrap(), across);
    for operation in ["open", "close", "finish", "reset"] {
        let refused = manage(operation, &export.device, &shape, 0, 1);
        refused.expect_err("an operation on a conventional zone");
    }
    assert_eq!(zones(&export.device), fresh(&shape));
    assert_eq!(disk.read(shape.zone_size - size, across.len()).unwrap(), across);
}
