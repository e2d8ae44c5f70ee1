//! Tests that tell how a device behaves.

mod management;
mod restart;
mod shapes;
mod writing;

use crate::{Geometry, GeometryConfig, ZoneModel};
use block_core::{ZoneCondition, ZoneId};

/// Two conventional zones, then sequential ones of 0x6000 bytes (not a power of two), of which
/// 0x4000 can be written; the last, zone 7, has only 0x2000 bytes.
const CONFIG: GeometryConfig = GeometryConfig {
    size: 0x6000 * 7 + 0x2000,
    zone_size: 0x6000,
    zone_capacity: Some(0x4000),
    conventional: 2,
    block_size: 0x1000,
    max_open: 2,
    max_active: 3,
};

const LAST: u64 = 7;

fn device() -> ZoneModel {
    ZoneModel::new(Geometry::new(&CONFIG).unwrap())
}

/// The same zones without limits.
fn unlimited() -> ZoneModel {
    let config = GeometryConfig { max_open: 0, max_active: 0, ..CONFIG };
    ZoneModel::new(Geometry::new(&config).unwrap())
}

fn start(index: u64) -> u64 {
    index * CONFIG.zone_size
}

fn id(index: u64) -> ZoneId {
    ZoneId { index, start: start(index) }
}

fn condition(model: &ZoneModel, index: u64) -> ZoneCondition {
    model.zone(index).unwrap().condition
}

/// Asserts on an error's variant and values, by what it prints for a developer.
#[track_caller]
fn refused<T: std::fmt::Debug>(
    result: Result<T, block_core::ErrorKind>,
    expected: &block_core::ErrorKind,
) {
    assert_eq!(format!("{:?}", result.unwrap_err()), format!("{expected:?}"));
}
