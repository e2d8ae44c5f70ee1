//! An image without zones.

use super::PATIENCE;
use super::files::Tree;
use crate::disk::{attribute, number};
use crate::door::{Door, Export};
use crate::host;
use crate::pattern::Random;
use crate::tools::{self, Mount};
use lab_suite::harness::Suite;

const LENGTH: u64 = 64 << 20;

pub fn run(door: Door, suite: &mut Suite<'_>) {
    suite.blocking_case("ext4_on_a_raw_image", PATIENCE, move || ext4(door));
}

fn ext4(door: Door) {
    let image = host::image_path();
    host::make_file(&image, LENGTH);
    let mut export = Export::of_regular(door, image, &[]);
    assert_eq!(attribute(&export.device, "queue/zoned"), "none");
    assert_eq!(number(&export.device, "size") * 512, LENGTH);
    tools::run("mkfs.ext4", &["-q", export.device.to_str().unwrap()]);
    let mut random = Random::new(super::killed::seed());
    let mut tree = Tree::default();
    let mount = Mount::new("ext4", &export.device, "defaults");
    tree.fill(mount.path(), &mut random, 16 << 20);
    tools::run("fstrim", &[mount.path().to_str().unwrap()]);
    mount.unmount();
    export.restart();
    tools::run("fsck.ext4", &["-fn", export.device.to_str().unwrap()]);
    let mount = Mount::new("ext4", &export.device, "defaults");
    assert!(tree.verify(mount.path()) > 10, "hardly a file is left");
    mount.unmount();
}
