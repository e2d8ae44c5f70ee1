//! The devices in memory keep the whole contract, in all their variants.

use block_conformance::memory::{
    MemoryConfig, MemoryDriver, MemoryStore, MemoryZoned, MemoryZonedConfig, MemoryZonedStore,
};
use block_conformance::{Fresh, OpenMode, Profile, Report, check};
use block_core::{Limits, Node};
use std::sync::Arc;

fn regular_node(driver: MemoryDriver) -> Arc<Node> {
    Node::new("memory", Box::new(driver))
}

fn check_regular(name: &str, config: MemoryConfig) -> Report {
    check(name, Profile::regular(), move || async move {
        let driver = MemoryDriver::new(config);
        let store = driver.store();
        Fresh::new(regular_node(driver))
            .with_reopen(move |mode| reopen(store.clone(), config, mode))
    })
}

async fn reopen(
    store: MemoryStore,
    mut config: MemoryConfig,
    mode: OpenMode,
) -> block_core::Result<Arc<Node>> {
    config.limits.read_only = mode == OpenMode::ReadOnly;
    Ok(regular_node(MemoryDriver::open(store, config)))
}

#[test]
fn regular() {
    let report = check_regular("memory", MemoryConfig::default());
    assert!(report.passed() >= 50, "{report:#}");
}

#[test]
fn regular_that_lags() {
    let lag = 3;
    check_regular("memory that lags", MemoryConfig { lag, ..MemoryConfig::default() });
}

#[test]
fn regular_of_4k_blocks_without_discard() {
    let limits = Limits {
        block_size: 4096,
        request_alignment: 4096,
        memory_alignment: 512,
        discard: false,
        ..Limits::unaligned()
    };
    check_regular("memory of 4k blocks", MemoryConfig { limits, ..MemoryConfig::default() });
}

fn zoned_node(driver: MemoryZoned) -> Arc<Node> {
    Node::new("memory-zoned", Box::new(driver))
}

fn check_zoned(name: &str, profile: Profile, config: MemoryZonedConfig) -> Report {
    check(name, profile, move || async move {
        let driver = MemoryZoned::new(config);
        let store = driver.store();
        let damage = driver.damage();
        Fresh::new(zoned_node(driver))
            .with_reopen(move |mode| reopen_zoned(store.clone(), config, mode))
            .with_set_condition(move |_, index, condition| {
                let damage = damage.clone();
                async move {
                    damage.set_condition(index, condition);
                    Ok(())
                }
            })
    })
}

async fn reopen_zoned(
    store: MemoryZonedStore,
    mut config: MemoryZonedConfig,
    mode: OpenMode,
) -> block_core::Result<Arc<Node>> {
    config.read_only = mode == OpenMode::ReadOnly;
    Ok(zoned_node(MemoryZoned::open(store, config)))
}

fn strict() -> Profile {
    let mut profile = Profile::zoned();
    profile.zones.checks_alignment = true;
    profile
}

#[test]
fn zoned() {
    let config = MemoryZonedConfig { max_append_bytes: 64 << 10, ..MemoryZonedConfig::default() };
    let report = check_zoned("zoned memory", strict(), config);
    assert!(report.passed() >= 120, "{report:#}");
}

#[test]
fn zoned_that_lags() {
    let config = MemoryZonedConfig { lag: 2, ..MemoryZonedConfig::default() };
    check_zoned("zoned memory that lags", strict(), config);
}

#[test]
fn zoned_without_conventional_zones_or_limits() {
    let config = MemoryZonedConfig {
        length: 10 * (192 << 10),
        zone_size: 192 << 10, // no power of two
        zone_capacity: 192 << 10,
        conventional: 0,
        block_size: 4096,
        max_open_zones: 0,
        max_active_zones: 0,
        ..MemoryZonedConfig::default()
    };
    check_zoned("zoned memory without limits", strict(), config);
}

#[test]
fn zoned_with_one_zone() {
    let config = MemoryZonedConfig {
        length: 64 << 10,
        zone_size: 64 << 10,
        zone_capacity: 32 << 10,
        conventional: 0,
        max_open_zones: 1,
        max_active_zones: 1,
        ..MemoryZonedConfig::default()
    };
    check_zoned("zoned memory of one zone", strict(), config);
}
