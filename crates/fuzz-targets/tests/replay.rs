//! Replays the kept inputs of every fuzz target and many random ones, on any compiler.
//!
//! - `FUZZ_INPUTS=1000000` tries so many random inputs for each target.
//! - `FUZZ_SEED=…` tries the one random input that a failure named.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use fuzz_targets::{TARGETS, Target};
use power_cut::Rng;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|t| t.name == name).unwrap()
}

/// Any bytes; many short, some long.
fn random(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let most = [16, 64, 256, 1024][rng.below(4) as usize];
    let len = rng.below(most);
    // Often few different bytes: then choices repeat, as they do in a story.
    let mask = [0xFF, 0x0F, 0x3F][rng.below(3) as usize];
    (0..len).map(|_| rng.next() as u8 & mask).collect()
}

/// Replays what is kept, and by default so many random inputs.
fn replay(name: &str, inputs: u64) {
    let start = Instant::now();
    let target = target(name);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    let mut attempt = |what: &str, bytes: &[u8]| {
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
        let Ok(outcome) = outcome else { panic!("{name}: a finding, by {what}") };
        assert!(target.outcomes.contains(&outcome), "{name}: unknown outcome {outcome}");
        *reached.entry(outcome).or_default() += 1;
    };
    if let Some(seed) = setting("FUZZ_SEED") {
        return attempt(&format!("FUZZ_SEED={seed}"), &random(seed));
    }
    let mut kept: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    kept.sort();
    for path in &kept {
        attempt(&path.display().to_string(), &fs::read(path).unwrap());
    }
    let inputs = setting("FUZZ_INPUTS").unwrap_or(inputs);
    for seed in 0..inputs {
        attempt(&format!("FUZZ_SEED={seed}"), &random(seed));
    }
    for outcome in target.outcomes {
        assert!(reached.contains_key(outcome), "{name}: nothing came as far as '{outcome}'");
    }
    let line = format!(
        "fuzz {name}: {} kept inputs and {inputs} random ones in {:.1?}: {reached:?}\n",
        kept.len(),
        start.elapsed()
    );
    // Past the capture of the test harness: the numbers are part of what the run shows.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(!kept.is_empty(), "{} is empty", folder.display());
}

#[test]
fn image() {
    replay("image", 600);
}

#[test]
fn options() {
    replay("options", 4000);
}

#[test]
fn report() {
    replay("report", 10_000);
}

#[test]
fn requests() {
    replay("requests", 800);
}

#[test]
fn shell() {
    replay("shell", 1000);
}

#[test]
fn virtio() {
    replay("virtio", 600);
}

#[test]
fn every_target_is_replayed_and_has_a_program() {
    for target in TARGETS {
        let program = format!("../../fuzz/fuzz_targets/{}.rs", target.name);
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(program)).unwrap();
        assert!(text.contains(&format!("fuzz_targets::{}::run", target.name)), "{}", target.name);
    }
    let source = include_str!("replay.rs");
    assert!(TARGETS.iter().all(|t| source.contains(&format!("replay(\"{}\", ", t.name))));
}
