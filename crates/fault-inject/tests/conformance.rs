//! The battery: without rules the filter is not there; with delays it is a slow device.
#![allow(clippy::unwrap_used, clippy::expect_used)] // In helpers of tests.

use block_conformance::memory::{MemoryConfig, MemoryDriver, MemoryZoned, MemoryZonedConfig};
use block_conformance::{Fresh, OpenMode, Profile, check};
use block_core::{
    BlockDriver, ChildNeeds, ChildRole, ErrorKind, Graph, Inherited, Node, Options, Registry,
    Result,
};
use fault_inject::{Action, Rule, When};
use fault_inject::{FaultInject, fault_inject};
use file_posix::file;
use power_cut::{Content, PowerCutDisk};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zoned_file::{CreateOptions, GeometryConfig, create, zoned_file, zoned_file_needs};

const KIB: u64 = 1024;

/// Everything that zones can differ in.
const GEOMETRY: GeometryConfig = GeometryConfig {
    size: 11 * 256 * KIB + 100 * KIB,
    zone_size: 256 * KIB,
    zone_capacity: Some(192 * KIB),
    conventional: 2,
    block_size: 4096,
    max_open: 4,
    max_active: 6,
};

/// Every request takes up to half a millisecond longer.
fn slow(when: When) -> Vec<Rule> {
    let action = Action::Delay { by: Duration::ZERO, jitter: Duration::from_micros(500), when };
    vec![Rule::new("slow", action).seed(11)]
}

fn over(driver: Box<dyn BlockDriver>, rules: Vec<Rule>, mode: OpenMode) -> Result<Arc<Node>> {
    let needs = ChildNeeds {
        role: ChildRole::Filtered,
        write: mode == OpenMode::Writable,
        share_write: false,
        carries_zones: true,
    };
    let child = Node::new("child", driver).attach(needs, "faults")?;
    let (driver, faults) = FaultInject::new(child);
    rules.into_iter().try_for_each(|rule| faults.add(rule))?;
    Ok(Node::new("faults", Box::new(driver)))
}

fn on_memory(name: &str, profile: Profile, rules: Vec<Rule>) {
    check(name, profile, move || {
        let rules = rules.clone();
        async move {
            let config = MemoryConfig::default();
            let driver = MemoryDriver::new(config);
            let store = driver.store();
            let node = over(Box::new(driver), rules.clone(), OpenMode::Writable);
            Fresh::new(node.unwrap()).with_reopen(move |mode| {
                let (store, rules) = (store.clone(), rules.clone());
                async move { over(Box::new(MemoryDriver::open(store, config)), rules, mode) }
            })
        }
    });
}

fn on_zoned_memory(name: &str, profile: Profile, rules: Vec<Rule>) {
    let report = check(name, profile, move || {
        let rules = rules.clone();
        async move {
            let config = MemoryZonedConfig::default();
            let driver = MemoryZoned::new(config);
            let (store, damage) = (driver.store(), driver.damage());
            let node = over(Box::new(driver), rules.clone(), OpenMode::Writable);
            Fresh::new(node.unwrap())
                .with_reopen(move |mode| {
                    let (store, rules, mut config) = (store.clone(), rules.clone(), config);
                    config.read_only = mode == OpenMode::ReadOnly;
                    async move { over(Box::new(MemoryZoned::open(store, config)), rules, mode) }
                })
                .with_set_condition(move |_, index, condition| {
                    damage.set_condition(index, condition);
                    async { Ok(()) }
                })
        }
    });
    assert!(report.passed() >= 60, "{report:#}");
}

#[test]
fn without_rules_on_memory() {
    on_memory("fault-inject over memory", Profile::regular(), Vec::new());
}

#[test]
fn without_rules_on_zoned_memory() {
    on_zoned_memory("fault-inject over zoned memory", Profile::zoned(), Vec::new());
}

#[test]
fn answers_that_come_late_from_memory() {
    on_memory("fault-inject, late answers, memory", Profile::regular(), slow(When::After));
}

#[test]
fn answers_that_come_late_from_zoned_memory() {
    let rules = slow(When::After);
    on_zoned_memory("fault-inject, late answers, zoned memory", Profile::zoned(), rules);
}

#[test]
fn requests_that_are_held_back_from_memory() {
    on_memory("fault-inject, late requests, memory", Profile::regular(), slow(When::Before));
}

/// A rule that never fires: every request goes the long way.
fn idle() -> Vec<Rule> {
    let action = Action::Hang { when: When::Before };
    vec![Rule::new("never", action).skip(u64::MAX)]
}

#[test]
fn a_rule_that_never_fires_changes_nothing() {
    on_zoned_memory("fault-inject, idle rule, zoned memory", Profile::zoned(), idle());
}

/// A zone out of service by the filter is one out of service.
#[test]
fn zones_out_of_service() {
    let report = check("fault-inject, zones out of service", Profile::zoned(), || async {
        let driver = MemoryZoned::new(MemoryZonedConfig::default());
        let child = Node::new("child", Box::new(driver)).attach(
            ChildNeeds {
                role: ChildRole::Filtered,
                write: true,
                share_write: false,
                carries_zones: true,
            },
            "faults",
        );
        let (driver, faults) = FaultInject::new(child.unwrap());
        let node = Node::new("faults", Box::new(driver));
        Fresh::new(node).with_set_condition(move |node, index, condition| {
            let faults = faults.clone();
            async move {
                let retire = Action::Retire { condition, zone: Some(index) };
                faults.add(Rule::new("retire", retire))?;
                node.report_zones(0, 0).await?;
                faults.remove("retire");
                Ok(())
            }
        })
    });
    assert!(report.passed() >= 50, "{report:#}");
}

fn faults_over(child: Options, rules: &[(&str, &str)]) -> Options {
    let options = Options::driver("fault-inject").child("file", child);
    match rules.is_empty() {
        true => options,
        false => {
            let slow = rules.iter().fold(Options::default(), |o, (key, value)| o.set(key, *value));
            options.child("rules", Options::default().child("slow", slow))
        }
    }
}

const LATE: &[(&str, &str)] = &[("action", "delay"), ("jitter-us", "500")];

fn on_a_zoned_image_in_memory(name: &str, rules: &'static [(&str, &str)]) {
    let report = check(name, Profile::zoned(), move || async move {
        let disk = PowerCutDisk::new(Content::new(0), 5);
        let node = Node::new("disk", Box::new(disk.clone()));
        let child = node.attach(zoned_file_needs(true), "create").unwrap();
        create(&child, &CreateOptions::new(GEOMETRY)).await.unwrap();
        let open = move |mode| {
            let disk = disk.clone();
            async move {
                let graph = Graph::new(Registry::new().with(zoned_file()).with(fault_inject()));
                let _disk = graph.add(Some("disk"), Box::new(disk))?;
                let image = Options::driver("zoned-file").set("file", "disk");
                graph.open_options(faults_over(image, rules), inherited(mode)).await
            }
        };
        Fresh::new(open(OpenMode::Writable).await.unwrap()).with_reopen(open)
    });
    assert!(report.passed() >= 60, "{report:#}");
}

fn inherited(mode: OpenMode) -> Inherited {
    Inherited { read_only: mode == OpenMode::ReadOnly, ..Inherited::default() }
}

#[test]
fn on_a_zoned_image() {
    on_a_zoned_image_in_memory("fault-inject over zoned-file", &[]);
}

#[test]
fn late_on_a_zoned_image() {
    on_a_zoned_image_in_memory("fault-inject, late answers, zoned-file", LATE);
}

async fn open_file(
    path: &Path,
    mode: OpenMode,
    zoned: bool,
    rules: &[(&str, &str)],
) -> Result<Arc<Node>> {
    let text = path.to_str().unwrap();
    loop {
        let registry = Registry::new().with(file()).with(zoned_file()).with(fault_inject());
        let file = Options::driver("file").set("filename", text);
        let child = match zoned {
            true => Options::driver("zoned-file").child("file", file),
            false => file,
        };
        let options = faults_over(child, rules);
        match Graph::new(registry).open_options(options, inherited(mode)).await {
            // Requests that were dropped hold the file, and its lock, until they have ended.
            Err(error) if matches!(error.kind(), ErrorKind::Busy(_)) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            opened => return opened,
        }
    }
}

fn in_a_file(name: &str, zoned: bool, rules: &'static [(&str, &str)]) {
    let profile = if zoned { Profile::zoned() } else { Profile::regular() };
    check(name, profile, move || async move {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let length = if zoned { 0 } else { 8 << 20 };
        file_posix::create(&path, length, false).await.unwrap();
        if zoned {
            let node = Graph::new(Registry::new().with(file()))
                .open_options(
                    Options::driver("file").set("filename", path.to_str().unwrap()),
                    Inherited::default(),
                )
                .await
                .unwrap();
            let child = node.attach(zoned_file_needs(true), "create").unwrap();
            create(&child, &CreateOptions::new(GEOMETRY)).await.unwrap();
        }
        let node = open_file(&path, OpenMode::Writable, zoned, rules).await.unwrap();
        Fresh::new(node).keeping(folder).with_reopen(move |mode| {
            let path = path.clone();
            async move { open_file(&path, mode, zoned, rules).await }
        })
    });
}

#[test]
fn on_a_plain_file() {
    in_a_file("fault-inject over file", false, &[]);
}

#[test]
fn late_on_a_plain_file() {
    in_a_file("fault-inject, late answers, file", false, LATE);
}

#[test]
fn on_a_zoned_image_in_a_file() {
    in_a_file("fault-inject over zoned-file in a file", true, &[]);
}

#[test]
fn late_on_a_zoned_image_in_a_file() {
    in_a_file("fault-inject, late answers, zoned-file in a file", true, LATE);
}
