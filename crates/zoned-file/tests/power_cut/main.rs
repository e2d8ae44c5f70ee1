//! The power is cut at every point of random workloads, and nothing that was promised is lost.
//!
//! A workload is made up from a seed: writes, appends, zeroes and flushes, resets and finishes,
//! several at a time, given up in the middle, closes, kills of the process and of a runtime. Its
//! disk then says what it may hold after a cut at any point (see the crate `power-cut`). Each such
//! content is checked and opened, and compared with what had been promised (see `oracle`); often
//! the image is used again, and cut again.
//!
//! - `POWER_CUT_ROUNDS=100` runs 100 times as many workloads.
//! - `POWER_CUT_SEED=…` runs one workload per device, the one that a failure named.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[path = "../common/mod.rs"]
mod common;
mod conventional;
mod creating;
mod cuts;
mod interrupted;
mod log;
mod observe;
mod oracle;
mod repairing;
mod sectors;
mod session;
mod steps;
mod variants;
mod workload;

use crate::cuts::{Counts, Cutter};
use crate::steps::Big;
use crate::variants::Variant;
use crate::workload::Story;
use power_cut::{Content, PowerCutDisk, Rng};
use std::sync::Mutex;
use std::time::Instant;

/// Steps of a workload, and workloads for each device.
const STEPS: usize = 60;
const WORKLOADS: u64 = 16;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_that_was_promised_is_lost() {
    let start = Instant::now();
    let rounds = setting("POWER_CUT_ROUNDS").unwrap_or(1);
    let variants = variants::all();
    let work = Mutex::new(Vec::new());
    for (number, variant) in (0_u64..).zip(&variants) {
        let seeds: Vec<u64> = match setting("POWER_CUT_SEED") {
            Some(seed) => vec![seed],
            None => (0..WORKLOADS * rounds).map(|n| n * 1000 + number).collect(),
        };
        work.lock().unwrap().extend(seeds.into_iter().map(|seed| (variant, seed)));
    }
    let outcome = Mutex::new(Ok(Counts::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while outcome.lock().unwrap().is_ok()
                    && let Some((variant, seed)) = next(&work)
                {
                    let explored = explore(variant, seed);
                    let mut outcome = outcome.lock().unwrap();
                    match (&mut *outcome, explored) {
                        (Ok(all), Ok(more)) => *all += more,
                        (Ok(_), Err(failure)) => *outcome = Err(failure),
                        (Err(_), _) => {}
                    }
                }
            });
        }
    });
    let counts = outcome.into_inner().unwrap().unwrap_or_else(|failure| panic!("{failure}"));
    eprintln!("{counts:?} in {:.1?}", start.elapsed());
    if setting("POWER_CUT_SEED").is_none() {
        assert!(counts.points >= 20_000, "too few points to mean much: {counts:?}");
    }
}

fn next<T>(work: &Mutex<Vec<T>>) -> Option<T> {
    work.lock().unwrap().pop()
}

/// Runs the workload of a seed and cuts it everywhere. A failure is made smaller, then told.
fn explore(variant: &Variant, seed: u64) -> Result<Counts, String> {
    let image = image(variant);
    let steps = workload::invent(variant, seed, STEPS);
    attempt(variant, &image, seed, &steps).map_err(|first| {
        let fewer = |count| attempt(variant, &image, seed, &steps[..count]).err();
        let shorter = (0..STEPS).find_map(fewer);
        let failure = shorter.unwrap_or(first);
        format!("{}, POWER_CUT_SEED={seed}: {failure}", variant.name)
    })
}

fn image(variant: &Variant) -> Content {
    let disk = PowerCutDisk::new(Content::new(0), 1);
    let made = common::create(&disk, variant.config(), variant.read_only_zones.clone());
    workload::runtime().block_on(made).unwrap();
    disk.live()
}

fn attempt(variant: &Variant, image: &Content, seed: u64, steps: &[Big]) -> Result<Counts, String> {
    let story = match workload::run(variant, image.clone(), seed, steps) {
        Ok(story) => story,
        Err(failed) => {
            let trace = trace(&failed.story, failed.story.disk.points());
            return Err(format!("{} steps: {}\n{trace}", steps.len(), failed.message));
        }
    };
    let mut cutter = Cutter::new(variant, Rng::new(!seed));
    cutter.counts.workloads = 1;
    cutter.counts.requests = story.requests;
    cutter.counts.reopenings = story.reopenings;
    match cutter.cut_everywhere(&story) {
        Ok(()) => Ok(cutter.counts),
        Err((point, message)) => Err(format!(
            "{} steps, cut at point {point} of {}: {message}\n{}",
            steps.len(),
            story.disk.points(),
            trace(&story, point)
        )),
    }
}

/// What the disk was asked before a point.
fn trace(story: &Story, point: usize) -> String {
    let lines = story.disk.trace();
    let numbered = lines.iter().enumerate().take(point);
    let last = numbered.skip(point.saturating_sub(40));
    last.map(|(n, line)| format!("  {n}: {line}\n")).collect()
}
