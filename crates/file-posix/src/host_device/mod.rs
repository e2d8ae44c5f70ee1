//! Block devices of the host: `host_device`, and `zoned_host_device` for those with zones.

mod factory;
mod open;
mod regular;
mod zones;

pub use factory::{host_device, zoned_host_device};
pub use zones::parse_zone_report;
