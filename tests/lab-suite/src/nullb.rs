//! null_blk devices, made and removed through configfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const ROOT: &str = "/sys/kernel/config/nullb";

/// A device's settings; sizes in MB, 0 = none or no limit.
#[derive(Clone, Debug)]
pub struct Spec {
    pub size: u64,
    pub zoned: bool,
    pub zone_size: u64,
    pub zone_capacity: u64,
    pub conventional: u64,
    pub max_open: u32,
    pub max_active: u32,
    pub block_size: u32,
}

impl Spec {
    /// Twelve small zones of which two are conventional, with a capacity below the size.
    pub const SMALL: Self = Self {
        size: 24,
        zoned: true,
        zone_size: 2,
        zone_capacity: 1,
        conventional: 2,
        max_open: 4,
        max_active: 6,
        block_size: 512,
    };

    /// The last zone is smaller, which the kernel does not combine with a capacity.
    pub const SMALLER_LAST: Self = Self { size: 23, zone_capacity: 0, ..Self::SMALL };

    /// No zones.
    pub const REGULAR: Self = Self {
        size: 16,
        zoned: false,
        zone_size: 0,
        zone_capacity: 0,
        conventional: 0,
        max_open: 0,
        max_active: 0,
        block_size: 512,
    };
}

/// A device, which is removed when this is dropped.
#[derive(Debug)]
pub struct NullBlk {
    folder: PathBuf,
    node: PathBuf,
}

/// Whether the module is there.
pub fn is_present() -> bool {
    Path::new(ROOT).is_dir()
}

impl NullBlk {
    pub fn new(spec: &Spec) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lab{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(ROOT).join(&name);
        fs::create_dir(&folder).expect("a folder in configfs");
        let mut device = Self { folder, node: PathBuf::new() };
        device.set("size", spec.size);
        device.set("blocksize", spec.block_size);
        device.set("memory_backed", 1);
        if device.folder.join("discard").exists() && !spec.zoned {
            device.set("discard", 1);
        }
        if spec.zoned {
            device.set("zoned", 1);
            device.set("zone_size", spec.zone_size);
            if spec.zone_capacity != 0 {
                device.set("zone_capacity", spec.zone_capacity);
            }
            device.set("zone_nr_conv", spec.conventional);
            device.set("zone_max_open", spec.max_open);
            device.set("zone_max_active", spec.max_active);
        }
        device.set("power", 1);
        // Newer kernels name the device after the folder, older ones number it.
        let index = fs::read_to_string(device.folder.join("index")).expect("an index");
        let numbered = PathBuf::from(format!("/dev/nullb{}", index.trim()));
        let named = Path::new("/dev").join(&name);
        for _ in 0..200 {
            if let Some(node) = [&named, &numbered].into_iter().find(|n| n.exists()) {
                device.node = node.clone();
                return device;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("neither {} nor {} appeared", named.display(), numbered.display());
    }

    pub fn path(&self) -> &Path {
        &self.node
    }

    pub fn set(&self, name: &str, value: impl std::fmt::Display) {
        if let Err(e) = self.try_set(name, &value.to_string()) {
            panic!("null_blk refuses {name}={value}: {e}");
        }
    }

    pub fn try_set(&self, name: &str, value: &str) -> std::io::Result<()> {
        fs::write(self.folder.join(name), value)
    }

    /// Whether zones can be made read-only and offline.
    pub fn can_damage(&self) -> bool {
        self.folder.join("zone_offline").exists()
    }

    /// Takes the device away while it is in use.
    pub fn unplug(&self) {
        self.set("power", 0);
    }
}

impl Drop for NullBlk {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}
