//! An image that becomes larger below a device in use.

use super::PATIENCE;
use super::files::Tree;
use super::killed::{seed, wait_for};
use crate::disk::{Disk, number};
use crate::door::{Door, Export};
use crate::host;
use crate::pattern::{self, Random};
use crate::shape::ALL;
use crate::tools::{self, Mount};
use lab_suite::harness::Suite;
use std::time::Duration;

const LENGTH: u64 = 64 << 20;
const PIECE: usize = 64 << 10;

pub fn run(door: Door, suite: &mut Suite<'_>) {
    let mut case = |name: &str, work: fn(Door)| {
        suite.blocking_case(name, PATIENCE, move || work(door));
    };
    if changes(door) {
        case("grows_while_it_is_open", grows);
        case("grows_below_a_mounted_ext4", ext4);
    } else {
        case("keeps_its_size_where_the_kernel_cannot_change_it", keeps);
    }
    case("an_image_that_was_cut", cut);
    case("a_zoned_device_keeps_its_size", zoned);
}

/// Whether this kernel takes another size: with ublk, from Linux 6.16 on.
fn changes(door: Door) -> bool {
    if !matches!(door, Door::Ublk | Door::UblkRecover) {
        return true;
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0_u32));
    (numbers.next(), numbers.next()) >= (Some(6), Some(16))
}

fn export(door: Door) -> Export {
    let image = host::image_path();
    host::make_file(&image, LENGTH);
    let export = Export::of_regular(door, image, &[]);
    assert_eq!(size(&export), LENGTH);
    export
}

fn size(export: &Export) -> u64 {
    number(&export.device, "size") * 512
}

fn set_length(export: &Export, length: u64) {
    host::set_length(export.image().unwrap(), length);
}

fn grow(export: &mut Export, length: u64) {
    set_length(export, length);
    export.look_again();
    wait_for(|| size(export) == length);
}

fn write(disk: &Disk, offset: u64) {
    disk.write(offset, &pattern::bytes(seed(), offset, PIECE)).unwrap();
}

fn check(disk: &Disk, offset: u64) {
    let found = disk.read(offset, PIECE).unwrap();
    pattern::check(&format!("at {offset:#x}"), seed(), offset, &found);
}

fn grows(door: Door) {
    let mut export = export(door);
    let disk = Disk::open(&export.device).unwrap();
    let last = |length: u64| length - PIECE as u64;
    write(&disk, last(LENGTH));
    disk.write(last(2 * LENGTH), &[0; PIECE]).expect_err("a write beyond the end");
    for length in [2 * LENGTH, 5 * LENGTH] {
        grow(&mut export, length);
        assert_eq!(disk.read(last(length), PIECE).unwrap(), vec![0; PIECE]);
        write(&disk, last(length));
        // It crosses what was the end.
        write(&disk, LENGTH - 4096);
    }
    disk.flush().unwrap();
    drop(disk);
    export.restart();
    assert_eq!(size(&export), 5 * LENGTH);
    let disk = Disk::open(&export.device).unwrap();
    for offset in [last(2 * LENGTH), last(5 * LENGTH), LENGTH - 4096] {
        check(&disk, offset);
    }
}

fn ext4(door: Door) {
    let mut export = export(door);
    let device = export.device.to_str().unwrap().to_owned();
    tools::run("mkfs.ext4", &["-q", &device]);
    let mut random = Random::new(seed());
    let mut tree = Tree::default();
    let mut mount = Mount::new("ext4", &export.device, "defaults");
    tree.fill(mount.path(), &mut random, 16 << 20);
    grow(&mut export, 4 * LENGTH);
    if door == Door::VhostUser {
        // This guest's kernel lets nobody open a mounted device to write, not even to resize it.
        mount.unmount();
        tools::run("fsck.ext4", &["-fp", &device]);
        tools::run("resize2fs", &[&device]);
        mount = Mount::new("ext4", &export.device, "defaults");
    } else {
        tools::run("resize2fs", &[&device]);
    }
    // More than there was room for.
    tree.fill(mount.path(), &mut random, 96 << 20);
    mount.unmount();
    export.restart();
    tools::run("fsck.ext4", &["-fn", export.device.to_str().unwrap()]);
    let mount = Mount::new("ext4", &export.device, "defaults");
    assert!(tree.verify(mount.path()) > 10, "hardly a file is left");
    mount.unmount();
}

/// A server that was told to look, and has: it does what it is asked after that.
fn looked(export: &mut Export) {
    export.look_again();
    std::thread::sleep(Duration::from_millis(500));
}

fn keeps(door: Door) {
    let mut export = export(door);
    set_length(&export, 2 * LENGTH);
    looked(&mut export);
    assert_eq!(size(&export), LENGTH);
    let disk = Disk::open(&export.device).unwrap();
    write(&disk, 0);
    disk.flush().unwrap();
    drop(disk);
    export.restart();
    assert_eq!(size(&export), 2 * LENGTH, "a new device");
    check(&Disk::open(&export.device).unwrap(), 0);
}

fn cut(door: Door) {
    let mut export = export(door);
    let disk = Disk::open(&export.device).unwrap();
    write(&disk, 0);
    disk.flush().unwrap();
    set_length(&export, LENGTH / 2);
    looked(&mut export);
    assert_eq!(size(&export), LENGTH);
    check(&disk, 0);
    // As long as it was, the image can be used as before.
    set_length(&export, LENGTH);
    looked(&mut export);
    write(&disk, LENGTH - PIECE as u64);
    disk.flush().unwrap();
    check(&disk, LENGTH - PIECE as u64);
    drop(disk);
    export.stop();
}

fn zoned(door: Door) {
    let shape = ALL[0];
    let mut export = Export::new(door, &shape);
    assert_eq!(size(&export), shape.length());
    let at = shape.start(2);
    let disk = Disk::open(&export.device).unwrap();
    looked(&mut export);
    assert_eq!(size(&export), shape.length());
    write(&disk, at);
    disk.flush().unwrap();
    check(&disk, at);
    drop(disk);
    export.stop();
}
