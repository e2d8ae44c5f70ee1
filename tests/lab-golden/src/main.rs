//! Runs the same commands through qemu-io and through `zblk io`, on the same fresh devices, and
//! lets other programs witness what zblk wrote and reported. For the kernel lab: see
//! `tests/lab-golden/run`.
//!
//! ```sh
//! lab-golden FOLDER ZBLK [--update FILE] [CASE…]
//! ```
//!
//! FOLDER holds `cases` and `differences`; ZBLK is the program. `--update` writes the cases with
//! what they gave to FILE.
#![forbid(unsafe_code)]
// A test program: its panics are failure reports, and its numbers come from small test devices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod compare;
mod device;
mod differences;
mod refusals;
mod script;
mod side_by_side;
mod witnesses;

use device::Programs;
use differences::Differences;
use script::{Case, Part, Script};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

struct Args {
    folder: PathBuf,
    zblk: PathBuf,
    update: Option<PathBuf>,
    wanted: Vec<String>,
}

/// How many tests ended how.
#[derive(Default)]
pub struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Counts {
    /// Notes how a test ended, and says so unless it passed.
    pub fn note(&mut self, name: &str, wrong: &[String]) {
        if wrong.is_empty() {
            self.passed += 1;
            return;
        }
        self.failed += 1;
        println!("FAILED  {name}");
        for what in wrong {
            println!(
                "{}",
                what.trim_end().lines().map(|l| format!("    {l}\n")).collect::<String>()
            );
        }
    }

    /// Notes a test that this kernel cannot have.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        println!("{name} [left out: {why}]");
    }
}

fn main() -> ExitCode {
    let args = arguments();
    let read = |name: &str| std::fs::read_to_string(args.folder.join(name)).unwrap();
    let mut script = Script::parse(&read("cases")).unwrap_or_else(|why| panic!("cases: {why}"));
    let differences = Differences::parse(&read("differences"));
    let differences = differences.unwrap_or_else(|why| panic!("differences: {why}"));
    // The shared folder is slow to run programs from.
    let zblk = std::env::temp_dir().join("zblk");
    std::fs::copy(&args.zblk, &zblk).expect("a copy of zblk");
    let programs = Programs { zblk };
    let started = Instant::now();
    let mut counts = Counts::default();
    let found = run_cases(&script, &differences, &programs, &args.wanted, &mut counts);
    println!("{} cases in {:.0?}", found.len(), started.elapsed());
    if args.wanted.is_empty() {
        counts.note("every difference is seen", &unused(&script, &differences));
    }
    if let Some(file) = &args.update {
        take_over(&mut script, found);
        std::fs::write(file, script.to_string()).unwrap();
    }
    let started = Instant::now();
    let seen = witnesses::run(&programs.zblk, &args.wanted, &mut counts);
    println!("{seen} witness tests in {:.0?}", started.elapsed());
    if is_wanted(&args.wanted, "refusals") {
        let started = Instant::now();
        let ran = refusals::run(&programs.zblk, &mut counts);
        println!("{ran} tests of refusals in {:.0?}", started.elapsed());
    }
    let Counts { passed, failed, skipped } = counts;
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; \
         0 filtered out"
    );
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments() -> Args {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next();
    let (Some(folder), Some(zblk)) = (word(), word()) else {
        panic!("usage: lab-golden FOLDER ZBLK [--update FILE] [CASE…]");
    };
    let mut wanted: Vec<String> = words.collect();
    let update = (wanted.first().map(String::as_str) == Some("--update")).then(|| {
        wanted.remove(0);
        PathBuf::from(wanted.remove(0))
    });
    Args { folder: Path::new(&folder).to_owned(), zblk: zblk.into(), update, wanted }
}

/// Whether a test was asked for by a part of its name.
pub fn is_wanted(wanted: &[String], name: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|word| name.contains(word))
}

fn run_cases(
    script: &Script,
    differences: &Differences,
    programs: &Programs,
    wanted: &[String],
    counts: &mut Counts,
) -> Vec<Case> {
    let mut all = Vec::new();
    let kernel = std::env::var("LAB_KERNEL").expect("the lab names its kernel");
    let is_meant = |case: &&Case| is_wanted(wanted, &case.name) && case.is_for(&kernel);
    for case in script.cases().filter(is_meant) {
        let device = script.device(&case.device).expect("checked when it was read");
        let started = Instant::now();
        let result = side_by_side::run(programs, case, device);
        eprintln!("{:>6.2?}  {}", started.elapsed(), case.name);
        match result {
            Ok(found) => {
                counts.note(&case.name, &side_by_side::judge(case, &found, differences));
                all.push(found);
            }
            Err(why) => counts.skip(&case.name, &why),
        }
    }
    all
}

/// Entries of the list that no case shows.
fn unused(script: &Script, differences: &Differences) -> Vec<String> {
    let is_used = |name: &&str| {
        let mut steps = script.cases().flat_map(|case| &case.steps);
        steps.any(|step| step.reasons.iter().any(|reason| reason == name))
    };
    let unused = differences.names().filter(|name| !is_used(name));
    unused.map(|name| format!("no case shows the difference '{name}'")).collect()
}

fn take_over(script: &mut Script, found: Vec<Case>) {
    for new in found {
        let part = script.parts.iter_mut().find_map(|part| match part {
            Part::Case(case) if case.name == new.name => Some(case),
            _ => None,
        });
        *part.expect("it came from there") = new;
    }
}
