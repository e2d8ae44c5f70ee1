//! Exported devices as the kernel and its file systems see them.
//!
//! The program runs as root in the kernel lab; see `tests/lab-export/run`. It makes images, exports
//! them through one door, and uses the block device that appears as anybody would.
//!
//! ```sh
//! lab-export DOOR [SUITE…]   all suites, or those of suites or shapes whose names contain one of the
//!                            words; SHAPE/SUITE is one suite on one shape
//! ```
//!
//! Nothing but `door` knows the doors. Door `null_blk` is the kernel's own emulation, without zblk:
//! it proves the suites. Behind door `vhost-user` the suites run in a guest, and the servers outside
//! of it: `outside` and `uml` are the program's part there, `inside` is the guest's first process.
//!
//! Environment: `LAB_ZBLK` names the program, `LAB_ROUNDS` says how often the server is killed,
//! `LAB_SEED` begins the random choices, `LAB_TABLE` names a file for the counts. For guests outside
//! of the lab, `LAB_UML` names their kernel, `LAB_FOLDER` a folder to share with them, in which this
//! program is, and `LAB_IMAGES` one for images and their memory.
#![forbid(unsafe_code)]
// A test program: its panics are failure reports, and its numbers come from small test devices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod disk;
mod door;
mod host;
mod inside;
mod outside;
mod pattern;
mod shape;
mod suites;
mod tools;
mod uml;
mod vhost_user;

use door::Door;
use lab_suite::harness::Results;
use std::process::ExitCode;
use suites::{lives, vmm};

fn main() -> ExitCode {
    if inside::is_first() {
        inside::run();
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| [lives::LOAD, lives::VERIFY].contains(&word.as_str())) {
        lives::live(&words);
        return ExitCode::SUCCESS;
    }
    if words.first().is_some_and(|word| word == vmm::APPEND) {
        vmm::append(&words);
        return ExitCode::SUCCESS;
    }
    let Some(door) = words.first().and_then(|name| Door::named(name)) else {
        eprintln!("usage: lab-export {} [SUITE…]", Door::NAMES.join("|"));
        return ExitCode::from(2);
    };
    if outside::is_here() {
        return outside::run(&words[1..]);
    }
    let mut results = Results::new(words[1..].to_vec());
    suites::run(door, &mut results);
    results.print()
}
