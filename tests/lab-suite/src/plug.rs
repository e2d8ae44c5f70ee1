//! Taking devices away and bringing them back.

use crate::subject::{Device, Kind, Subject};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A device that was taken away.
pub struct Plug {
    kind: Kind,
    path: PathBuf,
    /// Kept, so that its folder in configfs goes only now.
    _subject: Subject,
}

impl Plug {
    /// Takes the device away, whoever uses it.
    pub fn pull(device: &Device, subject: &Subject) -> Self {
        let path = subject.path.clone();
        let name = path.file_name().unwrap().to_str().unwrap();
        match device.kind {
            Kind::NullBlk | Kind::NullBlkOdd => subject.null_blk.as_ref().unwrap().unplug(),
            Kind::ScsiDebug => {
                fs::write(format!("/sys/block/{name}/device/delete"), "1").unwrap();
            }
            Kind::Zns | Kind::ZnsSmallBlocks => {
                fs::write(format!("/sys/block/{name}/device/device/remove"), "1").unwrap();
            }
        }
        Self { kind: device.kind, path, _subject: subject.clone() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings it back; null_blk has a new one for each case anyway.
    pub fn push(self) -> Option<Subject> {
        match self.kind {
            Kind::NullBlk | Kind::NullBlkOdd => return None,
            Kind::ScsiDebug => {
                for (host, scan) in glob("/sys/class/scsi_host", "scan") {
                    let driver = fs::read_to_string(host.join("proc_name")).unwrap_or_default();
                    if driver.trim() == "scsi_debug" {
                        fs::write(scan, "- - -").unwrap();
                    }
                }
            }
            Kind::Zns | Kind::ZnsSmallBlocks => fs::write("/sys/bus/pci/rescan", "1").unwrap(),
        }
        let path = find(self.kind).expect("the device comes back");
        Some(Subject { path, null_blk: None })
    }
}

/// The entries of a folder that have a file of this name.
fn glob(folder: &str, name: &str) -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let with_file = entries.map(|e| (e.path(), e.path().join(name)));
    with_file.filter(|(_, file)| file.exists()).collect()
}

/// Waits until the device is there, under whatever name.
pub fn find(kind: Kind) -> Option<PathBuf> {
    for _ in 0..500 {
        let found = glob("/sys/block", "device").into_iter().find_map(|(disk, device)| {
            let is = |attribute: &str, value: &str| {
                fs::read_to_string(device.join(attribute)).is_ok_and(|text| text.trim() == value)
            };
            let ours = match kind {
                Kind::NullBlk | Kind::NullBlkOdd => false,
                Kind::ScsiDebug => is("model", "scsi_debug"),
                // The controllers' numbers in the order of `--device`.
                Kind::Zns => is("serial", "zns1"),
                Kind::ZnsSmallBlocks => is("serial", "zns2"),
            };
            let node = Path::new("/dev").join(disk.file_name()?);
            // It is ready when its zones were counted and its driver lets it be opened.
            let zones = fs::read_to_string(disk.join("queue/nr_zones")).unwrap_or_default();
            let is_ready = || zones.trim() != "0" && fs::File::open(&node).is_ok();
            (ours && is_ready()).then_some(node)
        });
        if found.is_some() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}
