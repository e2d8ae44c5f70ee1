//! Tests of the host device drivers against real kernels with zoned block drivers.
//!
//! The program runs as root in the kernel lab, which names the devices in its environment; see
//! `tests/lab-suite/run`. It makes and destroys data on those devices.
//!
//! ```sh
//! lab-suite [SUITE…]   all suites, or those of suites or devices whose names contain one of the
//!                      words; DEVICE/SUITE is one suite on one device
//! ```
//!
//! Environment: `LAB_SEED` runs one random sequence instead of the usual ones, `LAB_ROUNDS` says how
//! often devices are removed, `LAB_SECONDS` how many seconds each crowd works, `LAB_TABLE` names a
//! file for the counts.
#![forbid(unsafe_code)]
// A test program: its panics are failure reports, and its numbers come from small test devices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod child;
mod plug;
mod subject;
mod suites;

use lab_suite::harness::Results;
use lab_suite::{harness, nullb, witness};
use subject::Device;

fn main() -> std::process::ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.first().is_some_and(|word| word == child::WORD) {
        return child::run(&wanted[1..]);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut results = Results::new(wanted);
    runtime.block_on(async {
        for mut device in Device::present() {
            suites::run(&mut device, &mut results).await;
        }
        suites::run_once(&mut results).await;
    });
    results.print()
}
