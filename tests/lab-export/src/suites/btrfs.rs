//! btrfs: all of its writes are appends.

use super::Cases;
use super::files::Tree;
use crate::door::Export;
use crate::pattern::Random;
use crate::shape::Shape;
use crate::tools::{self, Mount};
use std::path::Path;

pub fn run(cases: &mut Cases<'_>) {
    cases.case("made_filled_checked_and_verified", story);
}

fn story(export: &mut Export, _: Shape) {
    make(&export.device);
    let mut random = Random::new(super::killed::seed());
    let mut tree = Tree::default();
    let mount = mount(&export.device);
    tree.fill(mount.path(), &mut random, 32 << 20);
    mount.unmount();
    check(&export.device);

    export.restart();
    let mount = self::mount(&export.device);
    tree.verify(mount.path());
    tree.fill(mount.path(), &mut random, 16 << 20);
    mount.unmount();
    tools::drop_caches();
    let mount = self::mount(&export.device);
    assert!(tree.verify(mount.path()) > 10, "hardly a file is left");
    let said = tools::run("btrfs", &["scrub", "start", "-B", mount.path().to_str().unwrap()]);
    assert!(said.contains("no errors found"), "scrub: {said}");
    mount.unmount();
    check(&export.device);
}

pub fn make(device: &Path) {
    tools::run(
        "mkfs.btrfs",
        &["-f", "-O", "zoned", "-d", "single", "-m", "single", device.to_str().unwrap()],
    );
}

pub fn mount(device: &Path) -> Mount {
    Mount::new("btrfs", device, "defaults")
}

pub fn check(device: &Path) {
    tools::run("btrfs", &["check", "--readonly", device.to_str().unwrap()]);
}
