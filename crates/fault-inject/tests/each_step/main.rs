//! Every operation of the drivers that stand on others, with a fault at each of its steps.
//!
//! An operation is run once without faults, which shows what it does. Then, for each kind of fault
//! and for k = 1, 2, …, a fresh stack is made, the operation runs, and the k-th request that it
//! sends to its child meets the fault; until it has no k-th. After each:
//!
//! - the error that comes back, if one does, is the one that was injected;
//! - the zones are as they were, or (where the operation is allowed that) as they should have
//!   become; conditions, pointers and content agree;
//! - the power is cut: what was promised is there, and pointers cover nothing but data;
//! - the next requests to all zones work, then a power cut again, then a flush, after which all is
//!   durable; every other time it is flushed at once, and that, too, makes everything durable;
//! - as many zones can be opened as the report leaves room for;
//! - it settles and closes, a check finds nothing, and opened again all is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod crash;
mod faults;
mod ops;
mod seen;
mod stack;
mod trial;
mod whole;

use crate::faults::FAULTS;
use crate::ops::{OPS, Op};
use crate::stack::Stack;
use crate::trial::{Reference, Setup, Trial};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use tokio::runtime::{Builder, Runtime};

/// Operations that failed, after which no more are tried.
const ENOUGH: usize = 3;

/// No operation has that many steps.
const STEPS: u64 = 500;

/// How often each kind of fault was injected.
pub type Counts = BTreeMap<&'static str, u64>;

/// One thread, so that a seed gives the same again.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Says what was injected, past the capture of the tests' output.
pub fn tell(what: &str, counts: &Counts) {
    let list: Vec<_> = counts.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
    let total: u64 = counts.values().sum();
    let _ = writeln!(std::io::stderr(), "{what}: {total} faults: {}", list.join(", "));
}

/// One operation with every fault at every step.
fn everywhere(stack: Stack, setup: Setup, op: &Op) -> Result<Counts, String> {
    let runtime = runtime();
    let reference = runtime.block_on(Reference::new(stack, setup, op))?;
    let mut counts = Counts::new();
    for (number, fault) in (0..).zip(&FAULTS) {
        for step in 0.. {
            assert!(step < STEPS, "{}: there is no end", op.name);
            // Each step sees both.
            let flush_first = (number + step) % 2 == 0;
            let trial = Trial { stack, setup, op, fault, reference: &reference, flush_first };
            let tried = runtime.block_on(trial.at_step(step));
            let injected =
                tried.map_err(|e| format!("{}, at step {}: {e}", fault.name, step + 1))?;
            if !injected {
                break;
            }
            *counts.entry(fault.name).or_default() += 1;
        }
    }
    Ok(counts)
}

fn all_operations(name: &str, stack: Stack, setups: &[Setup]) {
    let all = setups.iter().flat_map(|s| OPS.iter().map(move |op| (*s, op)));
    let commits = |op: &Op| op.name.starts_with("reset") || op.name.starts_with("finish");
    // Other operations do the same there as elsewhere.
    let work: Vec<_> = all.filter(|(s, op)| *s != Setup::Flushed || commits(op)).collect();
    let work = Mutex::new(work.into_iter());
    let (counts, failures) = (Mutex::new(Counts::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = work.lock().unwrap().next();
                    let Some((setup, op)) = next else { return };
                    if failures.lock().unwrap().len() >= ENOUGH {
                        return;
                    }
                    match everywhere(stack, setup, op) {
                        Ok(some) => {
                            let mut all = counts.lock().unwrap();
                            some.into_iter().for_each(|(k, n)| *all.entry(k).or_default() += n);
                        }
                        Err(e) => {
                            let failure = format!("{setup:?}, {}, {e}", op.name);
                            failures.lock().unwrap().push(failure);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{name}:\n{}", failures.join("\n\n"));
    let counts = counts.into_inner().unwrap();
    assert!(FAULTS.iter().all(|f| counts.contains_key(f.name)), "not all kinds came up");
    tell(name, &counts);
}

#[test]
fn zoned_file_on_a_disk() {
    let setups = [Setup::Flushed, Setup::Used, Setup::Reopened];
    all_operations("zoned-file on a disk", Stack::ImageOnDisk, &setups);
}

#[test]
fn zoned_file_on_a_file() {
    all_operations("zoned-file on a file", Stack::ImageOnFile, &[Setup::Used]);
}

#[test]
fn raw_on_zones() {
    all_operations("raw on zones", Stack::RawOnImage, &[Setup::Used]);
}
