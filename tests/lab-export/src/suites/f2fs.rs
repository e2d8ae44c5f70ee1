//! f2fs: its logs in sequential zones, its tables in conventional ones.

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
    mount.unmount();
    check(&export.device);
}

pub fn make(device: &Path) {
    tools::run("mkfs.f2fs", &["-f", "-m", device.to_str().unwrap()]);
}

pub fn mount(device: &Path) -> Mount {
    Mount::new("f2fs", device, "defaults")
}

/// Without repairs: whatever it finds is a failure.
pub fn check(device: &Path) {
    let said = tools::run("fsck.f2fs", &["--dry-run", device.to_str().unwrap()]);
    assert!(!said.contains("[Fail]"), "fsck.f2fs: {said}");
}
