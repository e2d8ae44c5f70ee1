//! What sysfs tells of a device on the vDPA bus.

use std::fs;
use std::path::{Path, PathBuf};

const DEVICES: &str = "/sys/bus/vdpa/devices";

/// What the kernel has made of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// No driver has taken it.
    No,
    /// `virtio_vdpa` has, and no disk came of it, so far.
    Virtio,
    /// It is a disk of this kernel.
    Disk(PathBuf),
    /// `vhost_vdpa` has: a VMM can open this node.
    Vhost(PathBuf),
}

/// Whether a device of this name is on the bus.
pub(crate) fn is_there(name: &str) -> bool {
    Path::new(DEVICES).join(name).exists()
}

/// Which driver has the device.
pub(crate) fn bound(name: &str) -> Bound {
    look(&Path::new(DEVICES).join(name))
}

fn look(device: &Path) -> Bound {
    let mut bound = Bound::No;
    for child in children(device) {
        if child.starts_with("vhost-vdpa-") {
            return Bound::Vhost(Path::new("/dev").join(child));
        }
        if !child.starts_with("virtio") {
            continue;
        }
        if let Some(disk) = children(&device.join(&child).join("block")).first() {
            return Bound::Disk(Path::new("/dev").join(disk));
        }
        bound = Bound::Virtio;
    }
    bound
}

fn children(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_drivers_traces_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path();
        assert_eq!(look(&device.join("missing")), Bound::No);
        fs::create_dir(device.join("power")).unwrap();
        assert_eq!(look(device), Bound::No);
        fs::create_dir_all(device.join("virtio3")).unwrap();
        assert_eq!(look(device), Bound::Virtio);
        fs::create_dir_all(device.join("virtio3/block/vdb")).unwrap();
        assert_eq!(look(device), Bound::Disk("/dev/vdb".into()));
        fs::remove_dir_all(device.join("virtio3")).unwrap();
        fs::create_dir_all(device.join("vhost-vdpa-2")).unwrap();
        assert_eq!(look(device), Bound::Vhost("/dev/vhost-vdpa-2".into()));
    }
}
