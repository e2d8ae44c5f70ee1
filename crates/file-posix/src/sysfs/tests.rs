//! The helpers on trees that look like sysfs.

use super::{Queue, ZonedQueue, zoned};
use block_core::{ErrorKind, Result, ZonedModel};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A disk that is zoned in every way, with a partition.
const DISK: [(&str, &str); 10] = [
    ("zoned", "host-managed\n"),
    ("chunk_sectors", "32768\n"),
    ("nr_zones", "64\n"),
    ("max_open_zones", "8\n"),
    ("max_active_zones", "16\n"),
    ("zone_append_max_bytes", "131072\n"),
    ("zone_write_granularity", "4096\n"),
    ("logical_block_size", "512\n"),
    ("max_sectors_kb", "512\n"),
    ("max_hw_sectors_kb", "1024\n"),
];

const FACTS: ZonedQueue = ZonedQueue {
    model: ZonedModel::HostManaged,
    zone_size: 32768 * 512,
    nr_zones: 64,
    max_open: 8,
    max_active: 16,
    max_append: 131_072,
    write_granularity: 4096,
};

struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(TempDir::new().unwrap());
        let disk = tree.path("devices/pci0/block/sda");
        fs::create_dir_all(disk.join("queue")).unwrap();
        fs::create_dir_all(disk.join("sda1")).unwrap();
        fs::write(disk.join("sda1/partition"), "1\n").unwrap();
        fs::create_dir_all(tree.path("dev/block")).unwrap();
        symlink("../../devices/pci0/block/sda", tree.path("dev/block/8:0")).unwrap();
        symlink("../../devices/pci0/block/sda/sda1", tree.path("dev/block/8:1")).unwrap();
        for (name, value) in DISK {
            tree.set(name, value);
        }
        tree
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn set(&self, name: &str, value: &str) {
        fs::write(self.attribute(name), value).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.attribute(name)).unwrap();
    }

    fn attribute(&self, name: &str) -> PathBuf {
        self.path("devices/pci0/block/sda/queue").join(name)
    }

    fn queue(&self, minor: u64) -> Queue {
        Queue::of(self.0.path(), 8, minor)
    }

    fn zoned(&self) -> Result<Option<ZonedQueue>> {
        zoned(&self.queue(0))
    }

    fn refusal(&self) -> (&'static str, String) {
        let error = self.zoned().unwrap_err();
        (error.kind().name(), error.to_string())
    }
}

#[test]
fn a_zoned_disk_tells_everything() {
    let tree = Tree::new();
    assert_eq!(tree.zoned().unwrap(), Some(FACTS));
    let queue = tree.queue(0);
    assert_eq!((queue.max_transfer(), queue.max_command()), (512 << 10, 1 << 20));
    assert!(!queue.is_partition());
    assert_eq!(queue.logical_block_size(), Some(512));
}

#[test]
fn a_partition_looks_at_its_disk() {
    let tree = Tree::new();
    let queue = tree.queue(1);
    assert!(queue.is_partition());
    assert_eq!(zoned(&queue).unwrap(), Some(FACTS));
}

#[test]
fn device_mapper_has_a_queue_of_its_own() {
    let tree = Tree::new();
    let queue = tree.path("devices/virtual/block/dm-0/queue");
    fs::create_dir_all(&queue).unwrap();
    symlink("../../devices/virtual/block/dm-0", tree.path("dev/block/253:0")).unwrap();
    for (name, value) in [("zoned", "host-managed"), ("chunk_sectors", "8"), ("nr_zones", "3")] {
        fs::write(queue.join(name), value).unwrap();
    }
    let found = zoned(&Queue::of(tree.0.path(), 253, 0)).unwrap().unwrap();
    assert_eq!((found.zone_size, found.nr_zones), (4096, 3));
    assert_eq!((found.max_open, found.max_active, found.max_append), (0, 0, 0));
    assert_eq!(found.write_granularity, 512);
}

#[test]
fn the_models() {
    let tree = Tree::new();
    tree.set("zoned", "none\n");
    assert_eq!(tree.zoned().unwrap(), None);
    tree.set("zoned", "host-aware\n");
    assert_eq!(tree.zoned().unwrap().unwrap().model, ZonedModel::HostAware);
    tree.remove("zoned");
    assert_eq!(tree.zoned().unwrap(), None, "a kernel without zones");
    assert_eq!(zoned(&tree.queue(99)).unwrap(), None, "no such device");
    assert_eq!(zoned(&Queue::of(Path::new("/nonexistent"), 8, 0)).unwrap(), None, "no sysfs");
}

#[test]
fn a_model_that_cannot_be_understood_is_not_taken_for_none() {
    let tree = Tree::new();
    for nonsense in ["", "\n", "host-confused\n", "none none"] {
        tree.set("zoned", nonsense);
        assert_eq!(tree.refusal().0, "invalid-device", "{nonsense:?}");
    }
    assert!(tree.refusal().1.contains("queue/zoned"), "{}", tree.refusal().1);
}

#[test]
fn size_and_number_of_zones_are_required() {
    for name in ["chunk_sectors", "nr_zones"] {
        let tree = Tree::new();
        for nonsense in ["0\n", "", "  \n", "-1\n", "12 34", "0x10", "99999999999999999999", "\0"] {
            tree.set(name, nonsense);
            let (kind, message) = tree.refusal();
            assert_eq!(kind, "invalid-device", "{name} {nonsense:?}");
            assert!(message.contains(name), "{message}");
        }
        tree.remove(name);
        let (kind, message) = tree.refusal();
        assert_eq!(kind, "invalid-device");
        assert!(message.contains("does not have it"), "{message}");
    }
}

#[test]
fn a_zone_size_that_no_offset_reaches_is_refused() {
    let tree = Tree::new();
    tree.set("chunk_sectors", &u64::MAX.to_string());
    assert_eq!(tree.refusal().0, "invalid-device");
    // 4 GiB and more are fine.
    tree.set("chunk_sectors", "16777216");
    assert_eq!(tree.zoned().unwrap().unwrap().zone_size, 8 << 30);
    // And need not be powers of two.
    tree.set("chunk_sectors", "24");
    assert_eq!(tree.zoned().unwrap().unwrap().zone_size, 24 * 512);
}

#[test]
fn limits_that_are_not_told_are_no_limits() {
    let tree = Tree::new();
    for nonsense in [Some(""), Some("many\n"), None] {
        for name in ["max_open_zones", "max_active_zones", "zone_append_max_bytes"] {
            nonsense.map_or_else(|| tree.remove(name), |value| tree.set(name, value));
        }
        let found = tree.zoned().unwrap().unwrap();
        assert_eq!((found.max_open, found.max_active, found.max_append), (0, 0, 0));
    }
}

#[test]
fn the_granularity_falls_back_to_the_logical_block_size() {
    let tree = Tree::new();
    let granularity = || tree.zoned().unwrap().unwrap().write_granularity;
    tree.set("logical_block_size", "1024");
    for nonsense in ["", "0", "1000", "x"] {
        tree.set("zone_write_granularity", nonsense);
        assert_eq!(granularity(), 1024, "{nonsense:?}");
    }
    tree.remove("zone_write_granularity");
    assert_eq!(granularity(), 1024);
    tree.remove("logical_block_size");
    assert_eq!(granularity(), 512);
}

#[test]
fn the_transfer_limit_falls_back_to_the_hardware_s() {
    let tree = Tree::new();
    tree.set("max_sectors_kb", "");
    assert_eq!(tree.queue(0).max_transfer(), 1 << 20);
    tree.remove("max_hw_sectors_kb");
    assert_eq!(tree.queue(0).max_transfer(), 0);
}

#[test]
fn an_attribute_that_cannot_be_read_is_an_io_error() {
    let tree = Tree::new();
    tree.remove("zoned");
    fs::create_dir(tree.attribute("zoned")).unwrap();
    assert_eq!(tree.refusal().0, "io", "reading a folder fails");

    let tree = Tree::new();
    fs::set_permissions(tree.attribute("nr_zones"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(tree.attribute("nr_zones")).is_ok() {
        drop(writeln!(
            std::io::stderr(),
            "NOT TESTED: permission denied, because this user may read everything"
        ));
        return;
    }
    let error = tree.zoned().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Io(e) if e.kind() == std::io::ErrorKind::PermissionDenied)
    );
}

#[test]
fn an_endless_attribute_is_not_read_to_its_end() {
    let tree = Tree::new();
    tree.remove("nr_zones");
    symlink("/dev/zero", tree.attribute("nr_zones")).unwrap();
    assert_eq!(tree.refusal().0, "invalid-device");
}
