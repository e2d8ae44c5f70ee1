//! A block device's queue folder.

use super::attribute::Attribute;
use std::path::{Path, PathBuf};

/// The attributes of a device's queue. A partition has none of its own: its disk's count.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    folder: PathBuf,
    partition: bool,
}

impl Queue {
    /// The queue of the device with these numbers.
    pub(crate) fn of(root: &Path, major: u64, minor: u64) -> Self {
        let device = root.join("dev/block").join(format!("{major}:{minor}"));
        let partition = device.join("partition").exists();
        // The entry is a link: the way up leads from where it points.
        let owner = if partition { device.join("..") } else { device };
        Self { folder: owner.join("queue"), partition }
    }

    /// Whether the device is a partition.
    pub(crate) fn is_partition(&self) -> bool {
        self.partition
    }

    pub(super) fn attribute(&self, name: &str) -> Attribute {
        Attribute::new(&self.folder, name)
    }

    /// The largest transfer in bytes that the device takes in one piece; 0 if it is not told.
    pub(crate) fn max_transfer(&self) -> u64 {
        let soft = self.attribute("max_sectors_kb").number_or(0);
        let hard = self.attribute("max_hw_sectors_kb").number_or(0);
        (if soft == 0 { hard } else { soft }).saturating_mul(1024)
    }

    /// The largest transfer in bytes that the hardware takes in one command; 0 if it is not told.
    pub(crate) fn max_command(&self) -> u64 {
        self.attribute("max_hw_sectors_kb").number_or(0).saturating_mul(1024)
    }

    /// Whether the device takes discards.
    pub(crate) fn discards(&self) -> bool {
        self.attribute("discard_max_bytes").number_or(0) > 0
    }

    /// The logical block size in bytes, where it is told.
    pub(crate) fn logical_block_size(&self) -> Option<u64> {
        self.attribute("logical_block_size").number().ok().filter(|size| size.is_power_of_two())
    }
}
