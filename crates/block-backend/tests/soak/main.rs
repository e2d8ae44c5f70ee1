//! Many tasks at once on one emulated device, while requests are given up and time out, and the
//! storage below is slow, fails, tears writes and loses answers. Nothing that was acknowledged is
//! lost or twice there, each thing is where it was said to be, and nothing gets stuck.
//!
//! - `SOAK_SECONDS=3600` runs that long; 20 seconds by default.
//! - `SOAK_SEED=…` starts from that seed, which is printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use block_backend::block_core::graph::{Graph, Inherited};
use block_backend::block_core::{BlockDriver, ChildNeeds, ChildRole, Node, Options};
use block_backend::image::{CreateOptions, GeometryConfig, check_zoned, create_zoned};
use block_backend::{BlockBackend, Error, ErrorKind, standard_drivers};
use crowd::{Counts, Crowd, Expects};
use fault_inject::{Action, Failure, FaultHandle, FaultInject, Ops, Rule, When};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const GEOMETRY: GeometryConfig = GeometryConfig {
    size: 24 << 18,
    zone_size: 1 << 18,
    zone_capacity: Some(200 << 10),
    conventional: 0,
    block_size: 4096,
    max_open: 6,
    max_active: 14,
};

const TASKS: u64 = 24;
/// How long one image is used.
const SESSION: Duration = Duration::from_secs(4);
/// How long the end of a session may take; the crowd itself says who is stuck after 60 seconds.
const PATIENCE: Duration = Duration::from_secs(90);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn needs() -> ChildNeeds {
    ChildNeeds { role: ChildRole::Filtered, write: true, share_write: false, carries_zones: true }
}

fn slow(when: When, jitter_us: u64) -> Action {
    Action::Delay { by: Duration::ZERO, jitter: Duration::from_micros(jitter_us), when }
}

const fn eio(when: When) -> Action {
    Action::Fail { error: Failure::IO, when }
}

/// What happens to the storage below the device.
fn below(seed: u64) -> Vec<Rule> {
    let full = Action::Fail { error: Failure::NoSpace, when: When::Before };
    let short = Action::Short { bytes: None, error: Failure::IO };
    let rules = [
        Rule::new("late answer", slow(When::After, 3000)).probability(0.2),
        Rule::new("late request", slow(When::Before, 2000)).probability(0.1),
        Rule::new("EIO", eio(When::Before)).probability(0.01),
        Rule::new("EIO after the effect", eio(When::After)).probability(0.01),
        Rule::new("EIO of a flush", eio(When::Before)).on(Ops::FLUSH).probability(0.05),
        Rule::new("ENOSPC", full).on(Ops::WRITE).probability(0.01),
        Rule::new("short", short).on(Ops::WRITE | Ops::READ).probability(0.01),
        Rule::new("torn", Action::Torn { error: Failure::IO }).on(Ops::WRITE).probability(0.01),
    ];
    rules.into_iter().map(|rule| rule.seed(seed)).collect()
}

/// What happens between the device and its users.
fn above(seed: u64) -> Vec<Rule> {
    let rules = [
        Rule::new("late answer", slow(When::After, 2000)).probability(0.1),
        Rule::new("EIO", eio(When::Before)).on(Ops::APPEND | Ops::READ).probability(0.01),
        Rule::new("EIO after the effect", eio(When::After)).on(Ops::APPEND).probability(0.01),
    ];
    rules.into_iter().map(|rule| rule.seed(seed)).collect()
}

/// Nothing fails but by these rules.
fn is_injected(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io(_) | ErrorKind::NoSpace(_))
        && error.to_string().contains("injected by the rule")
}

const EXPECTS: Expects = Expects { failure: is_injected, ..Expects::ALL };

struct Stack {
    disk: BlockBackend,
    faults: [FaultHandle; 2],
}

fn filter(
    graph: &Graph,
    name: &str,
    child: &Arc<Node>,
    rules: Vec<Rule>,
) -> (Arc<Node>, FaultHandle) {
    let (driver, faults) = FaultInject::new(child.attach(needs(), name).unwrap());
    rules.into_iter().for_each(|rule| faults.add(rule).unwrap());
    let driver: Box<dyn BlockDriver> = Box::new(driver);
    (graph.add(Some(name), driver).unwrap(), faults)
}

impl Stack {
    async fn open(path: &Path, seed: u64) -> Self {
        let graph = Graph::new(standard_drivers());
        let file = Options::driver("file").set("filename", path.to_str().unwrap());
        let file = graph.open_options(file, Inherited::default()).await.unwrap();
        let (storage, faults_below) = filter(&graph, "storage", &file, Vec::new());
        let image = Options::driver("zoned-file").set("file", "storage");
        let image = graph.open_options(image, Inherited::default()).await.unwrap();
        drop(storage);
        // Opening is another test's concern.
        below(seed).into_iter().for_each(|rule| faults_below.add(rule).unwrap());
        let (top, faults_above) = filter(&graph, "users", &image, above(seed));
        let disk = BlockBackend::builder().graph(&graph).on_node(&top).unwrap();
        Self { disk, faults: [faults_below, faults_above] }
    }
}

/// Everything on one image, from its making to its last check.
async fn session(folder: &Path, seed: u64, length: Duration) -> Result<Counts, String> {
    let path = folder.join(format!("{seed}.zbd"));
    let failed = |e: block_backend::Error| e.to_string();
    create_zoned(&path, &CreateOptions::new(GEOMETRY), false).await.map_err(failed)?;
    let Stack { disk, faults } = Stack::open(&path, seed).await;
    let crowd = Crowd::new(&disk, EXPECTS).await?;
    let end = async {
        let mut counts = crowd.work(TASKS, seed, length).await?;
        for (kind, injected) in faults.iter().flat_map(FaultHandle::all_counts) {
            let kind = KINDS.iter().find(|k| **k == kind).ok_or("an unknown kind")?;
            *counts.entry(kind).or_default() += injected.fired;
        }
        faults.iter().for_each(FaultHandle::clear);
        disk.settle().await.map_err(failed)?;
        let records = crowd.verify(&disk).await?;
        disk.close().await.map_err(failed)?;
        drop(disk);
        let text = path.to_str().unwrap();
        let report = check_zoned(text, false).await.map_err(failed)?;
        if !report.clean || !report.findings.is_empty() {
            return Err(format!("a check finds {report:?}"));
        }
        let again = BlockBackend::open(text).await.map_err(failed)?;
        if crowd.verify(&again).await? != records {
            return Err("other records than before the close".to_owned());
        }
        again.close().await.map_err(failed)?;
        Ok(counts)
    };
    let ended = tokio::time::timeout(length + PATIENCE, end).await;
    let counts = ended.map_err(|_| "stuck".to_owned())??;
    std::fs::remove_file(&path).map_err(|e| e.to_string())?;
    Ok(counts)
}

const KINDS: [&str; 8] = [
    "late answer",
    "late request",
    "EIO",
    "EIO after the effect",
    "EIO of a flush",
    "ENOSPC",
    "short",
    "torn",
];

fn runtime(seed: u64) -> Runtime {
    let mut builder = match seed % 2 {
        0 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build().unwrap()
}

#[test]
fn many_tasks_on_failing_storage() {
    let length = Duration::from_secs(setting("SOAK_SECONDS").unwrap_or(20));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut seed = setting("SOAK_SEED").unwrap_or(now);
    let (start, first, mut sessions) = (Instant::now(), seed, 0);
    let mut counts = Counts::new();
    // In memory where there is such a place: what a disk makes slow, the rules do.
    let memory = Path::new("/dev/shm");
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = TempDir::new_in(if memory.is_dir() { memory } else { disk }).unwrap();
    // A machine that does little meanwhile gets more time, until everything happened once.
    while start.elapsed() < length || (!crowd::missing(&counts).is_empty() && sessions < 50) {
        let rest = length.saturating_sub(start.elapsed()).clamp(Duration::from_secs(1), SESSION);
        let runtime = runtime(seed);
        match runtime.block_on(session(folder.path(), seed, rest)) {
            Ok(some) => crowd::add(&mut counts, some),
            Err(e) => panic!("SOAK_SEED={seed}: {e}"),
        }
        seed += 1;
        sessions += 1;
    }
    let missing = crowd::missing(&counts);
    assert!(missing.is_empty(), "there was nothing of {missing:?}: {counts:?}");
    let list: Vec<_> = counts.iter().map(|(what, n)| format!("{n} {what}")).collect();
    let list = list.join(", ");
    let told = format!("{sessions} images from SOAK_SEED={first} on, {TASKS} tasks each: {list}");
    let _ = writeln!(std::io::stderr(), "{told}");
}
