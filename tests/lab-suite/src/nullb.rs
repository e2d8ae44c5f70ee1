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
    ///
    /// Blocks stay at 512 bytes: with 4 KiB (seen on 6.12) the last sectors of a block that was read
    /// into memory which begins within a page came as zeroes. Other devices with such blocks are
    /// right, so null_blk is suspected, which marks what is written by a piece's first sector; that
    /// it is the cause was not proved.
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
        let mut settings = vec![
            ("size", spec.size),
            ("blocksize", u64::from(spec.block_size)),
            ("memory_backed", 1),
        ];
        if spec.zoned {
            settings.extend([("zoned", 1), ("zone_size", spec.zone_size)]);
            if spec.zone_capacity != 0 {
                settings.push(("zone_capacity", spec.zone_capacity));
            }
            settings.extend([
                ("zone_nr_conv", spec.conventional),
                ("zone_max_open", u64::from(spec.max_open)),
                ("zone_max_active", u64::from(spec.max_active)),
            ]);
        } else {
            settings.push(("discard", 1));
        }
        Self::with_settings(settings).unwrap_or_else(|why| panic!("{why}"))
    }

    /// A device with settings named as in configfs. Those of single zones' state are set when the
    /// device is there, all others before. Says which setting this kernel does not have or take.
    pub fn with_settings<'a, V: std::fmt::Display>(
        settings: impl IntoIterator<Item = (&'a str, V)>,
    ) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lab{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(ROOT).join(&name);
        fs::create_dir(&folder).expect("a folder in configfs");
        let mut device = Self { folder, node: PathBuf::new() };
        let mut states = Vec::new();
        for (key, value) in settings {
            if !device.folder.join(key).exists() {
                return Err(format!("this kernel's null_blk has no setting '{key}'"));
            }
            match key {
                "zone_readonly" | "zone_offline" => states.push((key, value)),
                _ => device.must_set(key, value)?,
            }
        }
        device.must_set("power", 1)?;
        device.node = device.wait_for_node(&name)?;
        for (key, value) in states {
            device.must_set(key, value)?;
        }
        Ok(device)
    }

    fn must_set(&self, key: &str, value: impl std::fmt::Display) -> Result<(), String> {
        let value = value.to_string();
        self.try_set(key, &value).map_err(|e| format!("null_blk refuses {key}={value}: {e}"))
    }

    fn wait_for_node(&self, name: &str) -> Result<PathBuf, String> {
        // Newer kernels name the device after the folder, older ones number it.
        let index = fs::read_to_string(self.folder.join("index")).map_err(|e| e.to_string())?;
        let numbered = PathBuf::from(format!("/dev/nullb{}", index.trim()));
        let named = Path::new("/dev").join(name);
        for _ in 0..2000 {
            if let Some(node) = [&named, &numbered].into_iter().find(|n| n.exists()) {
                return Ok(node.clone());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("neither {} nor {} appeared", named.display(), numbered.display()))
    }

    pub fn path(&self) -> &Path {
        &self.node
    }

    pub fn set(&self, name: &str, value: impl std::fmt::Display) {
        self.must_set(name, value).unwrap_or_else(|why| panic!("{why}"));
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
