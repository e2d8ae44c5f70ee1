//! What the kernel knows of the device is what `zblk info` says.

use super::Cases;
use crate::disk::{Disk, attribute, number};
use crate::door::{Door, Export};
use crate::host;
use crate::shape::Shape;
use serde_json::Value;

pub fn run(cases: &mut Cases<'_>) {
    cases.case("sysfs_says_what_was_made", |export, shape| {
        compare(export, &Expected::of_shape(&shape));
    });
    cases.server_case("sysfs_says_what_zblk_info_says", |export, _| {
        export.stop();
        let expected = Expected::of_info(export);
        export.start();
        compare(export, &expected);
    });
    cases.server_case("read_only", |export, shape| read_only(export.door().unwrap(), shape));
    cases.server_case("a_second_server_of_the_same_name_is_refused", |export, shape| {
        let refused = export.rival();
        eprintln!("   {refused}");
        compare(export, &Expected::of_shape(&shape));
    });
    if cases.door.has_serial() {
        cases.case("serial_number", |export, shape| {
            export.stop();
            let door = export.door().unwrap();
            let image = export.take_image();
            let named = Export::of_zoned(door, image, &["--serial", "lab-4711"]);
            assert_eq!(attribute(&named.device, "serial"), "lab-4711");
            compare(&named, &Expected::of_shape(&shape));
        });
    }
}

/// Bytes, except for counts.
#[derive(Debug)]
struct Expected {
    length: u64,
    block_size: u64,
    write_granularity: u64,
    zone_size: u64,
    zones: u64,
    max_open: u64,
    max_active: u64,
    /// 0 = any.
    max_append: u64,
}

impl Expected {
    fn of_shape(shape: &Shape) -> Self {
        Self {
            length: shape.length(),
            block_size: shape.block_size.into(),
            write_granularity: shape.block_size.into(),
            zone_size: shape.zone_size,
            zones: shape.zones,
            max_open: shape.max_open.into(),
            max_active: shape.max_active.into(),
            max_append: 0,
        }
    }

    fn of_info(export: &Export) -> Self {
        let image = export.image().expect("an image");
        let text = host::zblk(&["info", "--json", image.to_str().unwrap()]);
        let info: Value = serde_json::from_str(&text).unwrap();
        let of = |value: &Value, name: &str| {
            value[name].as_u64().unwrap_or_else(|| panic!("{name}: {text}"))
        };
        let zoned = &info["zoned"];
        Self {
            length: of(&info, "length"),
            block_size: of(&info, "block_size"),
            write_granularity: of(zoned, "write_granularity"),
            zone_size: of(zoned, "zone_size"),
            zones: of(zoned, "nr_zones"),
            max_open: of(zoned, "max_open_zones"),
            max_active: of(zoned, "max_active_zones"),
            max_append: of(zoned, "max_append_bytes"),
        }
    }
}

fn compare(export: &Export, expected: &Expected) {
    let device = &export.device;
    assert_eq!(attribute(device, "queue/zoned"), "host-managed");
    let of = |name: &str| number(device, name);
    let bytes = |name: &str| of(name) * 512;
    assert_eq!(bytes("size"), expected.length, "size");
    assert_eq!(of("queue/logical_block_size"), expected.block_size, "block size");
    assert_eq!(of("queue/zone_write_granularity"), expected.write_granularity, "granularity");
    assert_eq!(bytes("queue/chunk_sectors"), expected.zone_size, "zone size");
    assert_eq!(of("queue/nr_zones"), expected.zones, "number of zones");
    assert_eq!(of("queue/max_open_zones"), expected.max_open, "most open zones");
    assert_eq!(of("queue/max_active_zones"), expected.max_active, "most active zones");
    let append = of("queue/zone_append_max_bytes");
    assert!(append >= expected.block_size, "no append");
    if expected.max_append != 0 {
        assert!(append <= expected.max_append, "append of {append}");
    }
    assert_eq!(of("ro"), 0, "read-only");
    if export.door().is_some() {
        assert_eq!(of("queue/discard_max_bytes"), 0, "discard on a host-managed device");
        assert_eq!(attribute(device, "queue/write_cache"), "write back");
    }
}

fn read_only(door: Door, shape: Shape) {
    let mut export = Export::new(door, &shape);
    let zone = shape.sequential(0);
    let block = shape.block_size as usize;
    let data = crate::pattern::bytes(1, 0, block);
    let disk = Disk::open(&export.device).unwrap();
    disk.write(shape.start(zone), &data).unwrap();
    drop(disk);
    export.stop();
    let image = export.take_image();
    let export = Export::of_zoned(door, image, &["--read-only"]);
    assert_eq!(number(&export.device, "ro"), 1);
    let disk = Disk::open_read_only(&export.device).unwrap();
    assert_eq!(disk.read(shape.start(zone), block).unwrap(), data);
    assert_eq!(crate::disk::zones(&export.device)[zone as usize].written, block as u64);
    let refused = Disk::open(&export.device)
        .and_then(|disk| disk.write(shape.start(zone) + block as u64, &data));
    refused.expect_err("a write to a read-only device");
    crate::disk::manage("reset", &export.device, &shape, zone, 1)
        .expect_err("a reset of a read-only device");
    assert_eq!(disk.read(shape.start(zone), block).unwrap(), data);
}
