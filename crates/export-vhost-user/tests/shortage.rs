//! A process that has no descriptor left for a while. It is a test binary of its own, because a
//! limit holds for the whole process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[path = "vhost_user/device.rs"]
#[allow(dead_code)]
mod device;

use device::{Served, Spec};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How many descriptors are open.
fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Takes all descriptors of the process but so many, once no more than `idle` are open: what the
/// front end before had is closed in the background.
fn leave(free: usize, idle: usize) -> Vec<File> {
    let end = Instant::now() + Duration::from_secs(120);
    while open() > idle {
        assert!(Instant::now() < end, "{} descriptors are open, not {idle}", open());
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    assert!(taken.len() > free);
    taken.truncate(taken.len() - free);
    taken
}

#[test]
fn a_passing_shortage_of_descriptors_costs_a_connection_and_not_the_server() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
    let device = Served::zoned(Spec::default());
    let idle = open();
    let works = || assert_eq!(device.guest(1).ask(0, 4, 0, &[], 0).status, 0);
    works();
    // One for the front end's side, and none to accept it: it waits until there is one.
    let taken = leave(1, idle);
    let waiting = UnixStream::connect(device.socket()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop((taken, waiting));
    works();
    // One to accept it, and no more: it is left, and may come again.
    let taken = leave(2, idle);
    let mut left = UnixStream::connect(device.socket()).unwrap();
    left.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    assert_eq!(left.read(&mut [0]).unwrap(), 0, "the connection is over");
    drop((taken, left));
    works();
    device.stop();
}
