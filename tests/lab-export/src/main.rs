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
//! it proves the suites.
//!
//! Environment: `LAB_ZBLK` names the program, `LAB_ROUNDS` says how often the server is killed,
//! `LAB_SEED` begins the random choices, `LAB_TABLE` names a file for the counts.
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
mod pattern;
mod shape;
mod suites;
mod tools;

use door::Door;
use lab_suite::harness::Results;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(door) = words.next().as_deref().and_then(Door::named) else {
        eprintln!("usage: lab-export {} [SUITE…]", Door::NAMES.join("|"));
        return ExitCode::from(2);
    };
    let mut results = Results::new(words.collect());
    suites::run(door, &mut results);
    results.print()
}
