//! zonefs: each zone a file.

use super::Cases;
use crate::disk::Disk;
use crate::door::Export;
use crate::pattern;
use crate::shape::Shape;
use crate::tools::Mount;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub fn run(cases: &mut Cases<'_>) {
    cases.case("files_are_zones", files);
}

fn files(export: &mut Export, shape: Shape) {
    make(&export.device);
    let mount = mount(&export.device);
    // Zone 0 holds the super block and is no file.
    let [conventional, sequential] =
        [shape.conventional.saturating_sub(1), shape.zones - shape.conventional.max(1)];
    assert_eq!(count(&mount.path().join("cnv")), conventional);
    assert_eq!(count(&mount.path().join("seq")), sequential);
    for file in 0..4 {
        append(&seq(&mount, file), file, 0, 1 << 18);
    }
    append(&seq(&mount, 1), 1, 1 << 18, shape.zone_capacity - (1 << 18));
    let full = std::fs::metadata(seq(&mount, 1)).unwrap().len();
    assert_eq!(full, shape.zone_capacity);
    // Truncating to nothing is a reset, to the whole a finish.
    truncate(&seq(&mount, 2), 0);
    append(&seq(&mount, 2), 22, 0, 1 << 16);
    truncate(&seq(&mount, 3), shape.zone_capacity);
    if conventional > 0 {
        // A file of a conventional zone has its length and keeps it.
        let file =
            std::fs::OpenOptions::new().write(true).open(mount.path().join("cnv/0")).unwrap();
        file.write_all_at(&pattern::bytes(99, 0, 1 << 18), 0).unwrap();
    }
    mount.unmount();

    export.restart();
    let mount = self::mount(&export.device);
    check(&seq(&mount, 0), 0, 1 << 18);
    check(&seq(&mount, 1), 1, shape.zone_capacity);
    check(&seq(&mount, 2), 22, 1 << 16);
    assert_eq!(std::fs::metadata(seq(&mount, 3)).unwrap().len(), shape.zone_capacity);
    assert_eq!(std::fs::metadata(seq(&mount, 4)).unwrap().len(), 0);
    if conventional > 0 {
        let found = std::fs::read(mount.path().join("cnv/0")).unwrap();
        pattern::check("the conventional zone", 99, 0, &found[..1 << 18]);
    }
    append(&seq(&mount, 0), 0, 1 << 18, 1 << 18);
    check(&seq(&mount, 0), 0, 2 << 18);
    mount.unmount();
}

fn mount(device: &Path) -> Mount {
    Mount::new("zonefs", device, "explicit-open")
}

fn seq(mount: &Mount, file: u64) -> std::path::PathBuf {
    mount.path().join(format!("seq/{file}"))
}

fn count(folder: &Path) -> u64 {
    // Without such zones there is no folder.
    std::fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
}

/// Appends to a file of a sequential zone, which takes direct writes at its end only.
fn append(file: &Path, seed: u64, from: u64, len: u64) {
    let disk = Disk::open(file).unwrap();
    let end = from + len;
    let mut at = from;
    while at < end {
        let part = (end - at).min(1 << 17);
        disk.write(at, &pattern::bytes(seed, at, part as usize)).unwrap();
        at += part;
    }
    disk.flush().unwrap();
}

fn truncate(file: &Path, len: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(len).unwrap();
}

fn check(file: &Path, seed: u64, len: u64) {
    let found = std::fs::read(file).unwrap();
    assert_eq!(found.len() as u64, len, "{}", file.display());
    pattern::check(&file.display().to_string(), seed, 0, &found);
}

/// Makes the file system: a super block at the start of the first zone, as the kernel's
/// fs/zonefs/zonefs.h lays it out. Debian has no package with the program that does it.
fn make(device: &Path) {
    let mut block = vec![0_u8; 4096];
    block[0..4].copy_from_slice(&0x5a4f_4653_u32.to_le_bytes());
    block[8..11].copy_from_slice(b"lab");
    block[72..88].copy_from_slice(b"0123456789abcdef");
    let checksum = crc32(&block);
    block[4..8].copy_from_slice(&checksum.to_le_bytes());
    let disk = Disk::open(device).unwrap();
    disk.write(0, &block).unwrap();
    disk.flush().unwrap();
}

/// The kernel's `crc32(~0, …)`: IEEE 802.3, reflected, not inverted at the end.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
