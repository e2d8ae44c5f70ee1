//! Real kills: `zblk` and the example record store get SIGKILL at random moments, and their images
//! are looked at afterwards. Most images live on from kill to kill.
//!
//! A kill is the end of a process and no power cut: the kernel keeps what was written and not
//! flushed. What a cut of the power may leave is the matter of the crate `power-cut`.
//!
//! - `KILLS=20` kills 20 times as often.
//! - `KILLS_SEED=…` makes the same choices again: the same requests, the same number of answers
//!   before the kill. When exactly it hits stays the machine's secret.
//!
//! The programs under test are this executable itself, under other names: never a stale build.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod create;
mod export;
mod io;
mod model;
mod process;
mod repair;
#[allow(missing_docs)]
#[path = "../../crates/block-backend/examples/record_store/store.rs"]
mod store;
mod writers;

use libtest_mimic::{Arguments, Trial};
use power_cut::Rng;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().map(PathBuf::from);
    match called_as.as_deref().and_then(|path| path.file_name()).and_then(OsStr::to_str) {
        Some("zblk") => return zblk::main(),
        Some("record-store") => return writers::main(),
        _ => {}
    }
    let trial = |name, kills, run: fn(Rng, u64) -> String| {
        Trial::test(name, move || {
            told(name, kills, run);
            Ok(())
        })
    };
    let trials = vec![
        trial("zblk io is killed", 100, io::kill),
        trial("the record store is killed", 100, writers::kill),
        trial("zblk export vhost-user is killed", 40, export::kill),
        trial("zblk create is killed", 20, create::kill),
        trial("zblk check --repair is killed", 20, repair::kill),
    ];
    // One at a time: who shares the processors is seldom killed where it hurts.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn told(name: &str, kills: u64, run: fn(Rng, u64) -> String) {
    let start = Instant::now();
    let seed = setting("KILLS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let kills = kills * setting("KILLS").unwrap_or(1);
    // Said first, so that a failure has it too.
    eprintln!("{name} {kills} times, KILLS_SEED={seed}");
    let outcome = run(Rng::new(seed), kills);
    eprintln!("{name}: {outcome}, in {:.1?}", start.elapsed());
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
