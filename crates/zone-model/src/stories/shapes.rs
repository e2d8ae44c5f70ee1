//! Geometries: which are possible, and where the zones lie.

use super::{CONFIG, LAST, device, refused, start};
use crate::{Geometry, GeometryConfig, MAX_ZONES};
use block_core::{ErrorKind, ZoneType};

#[track_caller]
fn impossible(config: GeometryConfig, says: &str) {
    match Geometry::new(&config) {
        Err(ErrorKind::InvalidOption(message)) => {
            assert!(message.contains(says), "{message:?} does not say {says:?}");
        }
        other => panic!("{config:?} gave {other:?}"),
    }
}

#[test]
fn impossible_geometries_are_refused_by_name() {
    let with = |change: fn(&mut GeometryConfig)| {
        let mut config = CONFIG;
        change(&mut config);
        config
    };
    impossible(with(|c| c.size = 0), "size is 0");
    impossible(with(|c| c.size += 512), "not a multiple of the block size");
    impossible(with(|c| c.size = 1 << 63), "largest file offset");
    impossible(with(|c| c.size = u64::MAX), "largest file offset");
    impossible(with(|c| c.zone_size = 0), "zone size is 0");
    impossible(with(|c| c.zone_size += 1), "zone size 0x6001 is not");
    impossible(with(|c| c.zone_size = 1 << 63), "zone size 0x80");
    impossible(with(|c| c.zone_capacity = Some(0)), "zone capacity is 0");
    impossible(with(|c| c.zone_capacity = Some(0x7000)), "above the zone size");
    impossible(with(|c| c.zone_capacity = Some(0x3fff)), "zone capacity 0x3fff");
    impossible(with(|c| c.conventional = 9), "9 conventional zones");
    impossible(with(|c| c.conventional = u64::MAX), "conventional zones");
    impossible(with(|c| c.block_size = 0), "block size 0");
    impossible(with(|c| c.block_size = 256), "block size 256");
    impossible(with(|c| c.block_size = 3000), "block size 3000");
    impossible(with(|c| c.block_size = 1 << 17), "block size 131072");
    impossible(with(|c| c.max_open = 4), "max open 4 is above max active 3");
    impossible(
        GeometryConfig {
            size: (MAX_ZONES + 1) * 512,
            zone_size: 512,
            zone_capacity: None,
            block_size: 512,
            ..CONFIG
        },
        "at most",
    );
}

#[test]
fn unusual_geometries_are_possible() {
    let possible = |change: fn(&mut GeometryConfig)| {
        let mut config = CONFIG;
        change(&mut config);
        Geometry::new(&config).unwrap()
    };
    let all_conventional = possible(|c| c.conventional = 8);
    assert_eq!(all_conventional.conventional_end(), CONFIG.size);
    let one_zone = possible(|c| {
        c.zone_size = 1 << 62;
        c.conventional = 0;
        c.zone_capacity = None;
    });
    assert_eq!(one_zone.nr_zones(), 1);
    assert_eq!(one_zone.span(0).unwrap().length, CONFIG.size);
    let huge = possible(|c| {
        c.size = i64::MAX.unsigned_abs() & !0xfff;
        c.zone_size = 1 << 42;
    });
    assert_eq!(huge.nr_zones(), 1 << 21);
    assert_eq!(huge.span((1 << 21) - 1).unwrap().end(), huge.size());
    // More than there are zones to open: simply never reached.
    possible(|c| c.max_active = 1000);
}

#[test]
fn a_limit_of_active_zones_limits_open_ones_too() {
    let config = GeometryConfig { max_open: 0, ..CONFIG };
    let geometry = Geometry::new(&config).unwrap();
    assert_eq!(geometry.limits().max_open_zones, 3);
    assert_eq!(geometry.config(), config, "as it was given");
}

#[test]
fn zones_lie_side_by_side() {
    let geometry = *device().geometry();
    let mut end = 0;
    for index in 0..geometry.nr_zones() {
        let span = geometry.span(index).unwrap();
        assert_eq!((span.index, span.start), (index, end));
        assert_eq!(geometry.index_of(span.start), Some(index));
        assert_eq!(geometry.index_of(span.end() - 1), Some(index));
        end = span.end();
    }
    assert_eq!(end, geometry.size());
    for beyond in [end, end + 1, u64::MAX] {
        assert_eq!(geometry.index_of(beyond), None);
    }
    for beyond in [geometry.nr_zones(), u64::MAX] {
        assert_eq!(geometry.span(beyond), None);
    }
}

#[test]
fn capacity_is_for_sequential_zones_and_cut_by_the_end() {
    let geometry = *device().geometry();
    let of = |index| geometry.span(index).unwrap();
    assert_eq!(of(0).zone_type, ZoneType::Conventional);
    assert_eq!((of(1).length, of(1).capacity), (0x6000, 0x6000));
    assert_eq!(of(2).zone_type, ZoneType::SequentialWriteRequired);
    assert_eq!((of(2).length, of(2).capacity), (0x6000, 0x4000));
    assert_eq!((of(LAST).length, of(LAST).capacity), (0x2000, 0x2000));
}

#[test]
fn a_management_range_covers_whole_zones() {
    let geometry = *device().geometry();
    let size = geometry.size();
    assert_eq!(geometry.zone_range(0, size).unwrap(), 0..8);
    assert_eq!(geometry.zone_range(start(2), 0x6000).unwrap(), 2..3);
    assert_eq!(geometry.zone_range(start(2), 0xc000).unwrap(), 2..4);
    assert_eq!(geometry.zone_range(start(6), 0x8000).unwrap(), 6..8);
    assert_eq!(geometry.zone_range(start(7), 0x2000).unwrap(), 7..8);

    let misaligned = |what, given| ErrorKind::Misaligned { what, given, required: 0x6000 };
    let out = ErrorKind::OutOfRange { length: size };
    refused(geometry.zone_range(0x1000, 0x6000), &misaligned("zone offset", 0x1000));
    refused(geometry.zone_range(0, 0), &misaligned("length", 0));
    refused(geometry.zone_range(0, 0x7000), &misaligned("length", 0x7000));
    refused(geometry.zone_range(start(7), 0x1000), &misaligned("length", 0x1000));
    refused(geometry.zone_range(start(7), 0x6000), &out);
    refused(geometry.zone_range(start(8), 0x6000), &out);
    refused(geometry.zone_range(start(2), u64::MAX), &out);
}
