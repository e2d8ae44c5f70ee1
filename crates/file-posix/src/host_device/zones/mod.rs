//! What a zoned device adds: reports, management, and the write pointers.
//!
//! - `shape`: which zone lies where;
//! - `report`: asking the kernel, and `parse`: what its answer may say;
//! - `track`: what is known about each zone, and `admit`: what a zone takes;
//! - `target`: the device as the zones' queues see it;
//! - `manage`: open, close, finish, reset;
//! - `native`: appends that the device places;
//! - `refusal`: the kernel's errors as typed ones;
//! - `device` is what they share, `driver` the node.

mod admit;
mod device;
mod driver;
mod manage;
mod native;
mod parse;
mod refusal;
mod report;
mod shape;
mod target;
mod track;

pub(super) use driver::driver;
pub use report::parse_zone_report;
