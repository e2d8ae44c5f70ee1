//! What only vhost-user has: a driver that comes and goes, and a server that does.

use super::PATIENCE;
use super::killed::wait_for;
use crate::disk::{self, Disk};
use crate::door::{Door, Export};
use crate::pattern;
use crate::shape::ALL;
use lab_suite::harness::Suite;

pub fn run_all(suite: &mut Suite<'_>) {
    suite.blocking_case("the_driver_leaves_and_comes_back", PATIENCE, driver_comes_back);
    suite.blocking_case("the_server_is_told_to_end_below_a_guest", PATIENCE, server_ends);
    suite.blocking_case("two_devices", PATIENCE, two_devices);
}

/// A device of the first shape with something in its third zone.
fn written() -> (Export, u64, Vec<u8>) {
    let shape = ALL[0];
    let export = Export::new(Door::VhostUser, &shape);
    let at = shape.start(2);
    let data = pattern::bytes(at, 0, 1 << 16);
    Disk::open(&export.device).unwrap().write(at, &data).unwrap();
    (export, at, data)
}

fn check(export: &Export, at: u64, data: &[u8]) {
    assert_eq!(disk::zones(&export.device)[2].written, data.len() as u64);
    let disk = Disk::open(&export.device).unwrap();
    assert_eq!(disk.read(at, data.len()).unwrap(), data);
}

fn driver_comes_back() {
    let (mut export, at, data) = written();
    for _ in 0..3 {
        export.change_driver();
        check(&export, at, &data);
    }
    let disk = Disk::open(&export.device).unwrap();
    disk.write(at + data.len() as u64, &data).unwrap();
    disk.flush().unwrap();
    drop(disk);
    export.stop();
}

fn server_ends() {
    let (mut export, at, data) = written();
    let device = export.device.clone();
    export.end();
    // The kernel learns of it, and takes the disk away.
    wait_for(|| !device.exists());
    export.start();
    check(&export, at, &data);
}

fn two_devices() {
    let [(mut first, at, data), (second, other_at, other_data)] = [written(), written()];
    assert_ne!(first.device, second.device);
    first.restart();
    check(&first, at, &data);
    check(&second, other_at, &other_data);
}
