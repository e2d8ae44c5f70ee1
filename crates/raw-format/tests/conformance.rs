//! The battery, on raw over everything and through all kinds of window.
#![allow(clippy::expect_used)] // In helpers of tests.

use block_conformance::memory::{MemoryConfig, MemoryDriver, MemoryZoned, MemoryZonedConfig};
use block_conformance::{Fresh, OpenMode, Profile, check};
use block_core::{BlockDriver, ChildNeeds, ChildRole, Node, Result};
use null_driver::{Null, NullConfig};
use raw_format::{Raw, Window};
use std::sync::Arc;

fn raw_over(driver: Box<dyn BlockDriver>, window: Window, mode: OpenMode) -> Result<Arc<Node>> {
    let needs = ChildNeeds {
        role: ChildRole::Filtered,
        write: mode == OpenMode::Writable,
        share_write: false,
        carries_zones: true,
    };
    let child = Node::new("child", driver).attach(needs, "raw")?;
    Ok(Node::new("raw", Box::new(Raw::new(child, window)?)))
}

fn window(offset: u64, size: Option<u64>) -> Window {
    Window { offset, size }
}

fn check_memory(name: &str, profile: Profile, lag: u32, window: Window) {
    let config = MemoryConfig { lag, ..MemoryConfig::default() };
    check(name, profile, move || async move {
        let driver = MemoryDriver::new(config);
        let store = driver.store();
        let node = raw_over(Box::new(driver), window, OpenMode::Writable);
        Fresh::new(node.expect("opens")).with_reopen(move |mode| {
            let store = store.clone();
            async move { raw_over(Box::new(MemoryDriver::open(store, config)), window, mode) }
        })
    });
}

#[test]
fn over_memory() {
    check_memory("raw over memory", Profile::regular(), 0, Window::default());
}

#[test]
fn over_memory_that_lags() {
    check_memory("raw over memory that lags", Profile::regular(), 3, Window::default());
}

#[test]
fn a_window_of_memory() {
    let window = window(1 << 20, Some(2 << 20));
    check_memory("raw window of memory", Profile::fixed(), 0, window);
}

#[test]
fn a_window_up_to_the_end_of_memory() {
    check_memory("raw end of memory", Profile::fixed(), 3, window(512, None));
}

#[test]
fn over_null() {
    check("raw over null", Profile::forgetful(), || async {
        let null = Null::new(NullConfig::default());
        let node = raw_over(Box::new(null), Window::default(), OpenMode::Writable);
        Fresh::new(node.expect("opens"))
    });
}

fn check_zoned(name: &str, config: MemoryZonedConfig, window: Window) {
    let mut profile = Profile::zoned();
    profile.error_offset = window.offset;
    let report = check(name, profile, move || async move {
        let driver = MemoryZoned::new(config);
        let (store, damage) = (driver.store(), driver.damage());
        let node = raw_over(Box::new(driver), window, OpenMode::Writable);
        Fresh::new(node.expect("opens"))
            .with_reopen(move |mode| {
                let (store, mut config) = (store.clone(), config);
                config.read_only = mode == OpenMode::ReadOnly;
                async move { raw_over(Box::new(MemoryZoned::open(store, config)), window, mode) }
            })
            .with_set_condition(move |_, index, condition| {
                damage.set_condition(index + window.offset / config.zone_size, condition);
                async { Ok(()) }
            })
    });
    assert!(report.passed() >= 60, "{report:#}");
}

const ZONE: u64 = 256 << 10;

#[test]
fn over_zoned_memory() {
    check_zoned("raw over zoned memory", MemoryZonedConfig::default(), Window::default());
}

#[test]
fn over_zoned_memory_that_lags() {
    let config = MemoryZonedConfig { lag: 2, ..MemoryZonedConfig::default() };
    check_zoned("raw over zoned memory that lags", config, Window::default());
}

#[test]
fn a_window_that_is_all_of_zoned_memory() {
    let config = MemoryZonedConfig::default();
    check_zoned("raw window of all zones", config, window(0, Some(config.length)));
}

#[test]
fn a_window_from_the_second_zone_on() {
    let config = MemoryZonedConfig::default();
    check_zoned("raw from zone 1 on", config, window(ZONE, None));
}

#[test]
fn a_window_of_the_first_zones() {
    let config = MemoryZonedConfig::default();
    check_zoned("raw of the first ten zones", config, window(0, Some(10 * ZONE)));
}

#[test]
fn a_window_in_the_middle() {
    let config = MemoryZonedConfig { lag: 2, ..MemoryZonedConfig::default() };
    check_zoned("raw of zones 1 to 9", config, window(ZONE, Some(9 * ZONE)));
}

#[test]
fn a_window_without_conventional_zones() {
    let config = MemoryZonedConfig::default();
    check_zoned("raw from zone 3 on", config, window(3 * ZONE, None));
}

#[test]
fn a_window_of_zones_of_odd_size() {
    let config = MemoryZonedConfig {
        length: 12 * (192 << 10) + (96 << 10),
        zone_size: 192 << 10,
        zone_capacity: 160 << 10,
        ..MemoryZonedConfig::default()
    };
    check_zoned("raw of zones of 192 KiB", config, window(192 << 10, None));
}
