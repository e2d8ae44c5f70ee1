//! The suites.

mod btrfs;
mod f2fs;
mod files;
mod fio;
mod killed;
mod limits;
pub mod lives;
mod load;
mod regular;
mod resize;
mod vduse;
mod vhost_user;
pub mod vmm;
mod zonefs;
mod zones;

use crate::door::{Door, Export};
use crate::shape::{ALL, Shape};
use lab_suite::harness::{Results, Suite};
use std::time::Duration;

/// How long a case may take; a guest is slow, and a stuck one must not stop the rest.
const PATIENCE: Duration = Duration::from_secs(240);

/// A suite on one door and shape.
struct Cases<'a> {
    suite: Suite<'a>,
    door: Door,
    shape: Shape,
}

impl Cases<'_> {
    /// Runs a case on a new empty device.
    fn case(&mut self, name: &str, work: impl FnOnce(&mut Export, Shape) + Send + 'static) {
        let (door, shape) = (self.door, self.shape);
        self.suite.blocking_case(name, PATIENCE, move || {
            let mut export = Export::new(door, &shape);
            work(&mut export, shape);
        });
    }

    /// As [`Cases::case`], for what only a server can show.
    fn server_case(&mut self, name: &str, work: impl FnOnce(&mut Export, Shape) + Send + 'static) {
        if self.door.has_server() {
            self.case(name, work);
        } else {
            self.suite.skip(name, "this door has no server");
        }
    }
}

/// Runs what is wanted.
pub fn run(door: Door, results: &mut Results) {
    type Part = fn(&mut Cases<'_>);
    let parts: [(&'static str, Part); 7] = [
        ("limits", limits::run),
        ("zones", zones::run),
        ("zonefs", zonefs::run),
        ("f2fs", f2fs::run),
        ("btrfs", btrfs::run),
        ("fio", fio::run),
        ("killed", killed::run),
    ];
    for shape in ALL {
        for (name, part) in parts {
            if !uses(name, &shape) {
                continue;
            }
            if let Some(suite) = results.suite(shape.name, name) {
                part(&mut Cases { suite, door, shape });
            }
        }
    }
    if door.has_server()
        && let Some(mut suite) = results.suite("regular", "regular")
    {
        regular::run(door, &mut suite);
    }
    if door.has_server()
        && let Some(mut suite) = results.suite("regular", "resize")
    {
        resize::run(door, &mut suite);
    }
    if door == Door::Vduse
        && let Some(mut suite) = results.suite("vduse", "drivers")
    {
        vduse::run_all(&mut suite);
    }
    if door == Door::Vduse
        && let Some(mut suite) = results.suite("vduse", "vmm")
    {
        vmm::run_all(&mut suite);
    }
    if door == Door::VhostUser
        && let Some(mut suite) = results.suite("vhost-user", "drivers")
    {
        vhost_user::run_all(&mut suite);
    }
}

/// Whether a suite has anything to find on a shape.
fn uses(suite: &str, shape: &Shape) -> bool {
    match suite {
        // It overwrites its tables, for which it needs conventional zones.
        "f2fs" => shape.conventional > 0,
        // They are served alike by the shape without conventional zones.
        "btrfs" | "fio" => shape.conventional == 0 || shape.block_size > 512,
        _ => true,
    }
}
