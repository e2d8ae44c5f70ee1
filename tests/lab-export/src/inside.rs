//! The first process of a guest that is a process itself: it sets the scene, runs the work in a
//! process of its own, and tells how that ended.
//!
//! The guest's root is the other machine's, read-only. One folder of that machine can be written to,
//! and is at another place here, because memory covers the place where it was.

use crate::uml;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The folder that both machines see.
pub const SHARE: &str = "/run/lab";

/// Whether this is such a process.
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// Never returns: the guest ends with the work.
pub fn run() -> ! {
    let mut words = std::env::args().skip(1);
    let number: u32 = words.next().and_then(|word| word.parse().ok()).expect("a number");
    let work: Vec<String> = words.collect();
    let place = |kind: &str, folder: &str, data: Option<&str>| {
        mount(Some(kind), folder, Some(kind), MsFlags::empty(), data)
            .unwrap_or_else(|e| panic!("{kind} on {folder}: {e}"));
    };
    place("proc", "/proc", None);
    place("sysfs", "/sys", None);
    // The folder on the other machine may be anywhere below these.
    for folder in ["/run", "/tmp", "/var/tmp"] {
        place("tmpfs", folder, None);
    }
    fs::create_dir_all("/dev/shm").unwrap();
    place("tmpfs", "/dev/shm", None);
    fs::create_dir(SHARE).unwrap();
    let outside = std::env::var("LAB_FOLDER").expect("a folder");
    place("hostfs", SHARE, Some(&outside));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let ended = Command::new(format!("{SHARE}/lab-export"))
        .args(&work)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/tmp")
        .env("TMPDIR", "/tmp")
        .env("LAB_KERNEL", kernel.trim())
        .env("LAB_LETTERS", SHARE)
        .env("LAB_TABLE", format!("{SHARE}/table-inside"))
        .status()
        .unwrap();
    // A signal has no code.
    let code = ended.code().unwrap_or(128);
    let status = Path::new(SHARE).join(uml::status(number));
    let new = status.with_extension("new");
    fs::write(&new, code.to_string()).unwrap();
    fs::rename(new, status).unwrap();
    nix::unistd::sync();
    let failed = reboot(RebootMode::RB_POWER_OFF);
    panic!("the guest does not end: {failed:?}");
}
