//! What the kernel tells about a block device's queue in sysfs.
//!
//! Every function takes the root of the tree, `/sys` or a folder that looks like it.

mod attribute;
mod queue;
mod zoned;

pub(crate) use queue::Queue;
pub(crate) use zoned::{ZonedQueue, zoned};

/// Where sysfs is mounted.
pub(crate) const ROOT: &str = "/sys";

#[cfg(test)]
mod tests;
