//! An emulated zoned block device on any child node: the state machine of `zone-model`, ordered by
//! `zone-queue`, kept in the crash-safe image format that docs/src/image-format.md specifies.
//!
//! - [`zoned_file`] registers the driver `zoned-file`, whose one option is `file`, the child.
//! - [`create()`] makes an image on a node.
//! - [`check()`] verifies an image, and repairs what can be repaired.
//!
//! What a flush or FUA promised survives kill -9 and power loss; nothing else of a write pointer
//! does. Open zones come back closed. Reads above a write pointer give zeroes.
#![forbid(unsafe_code)]

mod check;
mod commit;
mod create;
mod device;
mod driver;
mod extents;
mod factory;
mod format;
mod load;
mod manage;
mod target;

pub use check::{CheckReport, Finding, check};
pub use create::{CreateOptions, Created, create};
pub use driver::ZonedFile;
pub use factory::{zoned_file, zoned_file_needs};
pub use zone_model::GeometryConfig;
