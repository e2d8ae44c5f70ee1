//! The suites.

mod basics;
mod conformance;
mod crowd;
mod differential;
mod errors;
mod large;
mod mapped;
mod native;
mod opening;
mod outside;
mod processes;
mod regular;
mod removal;

use crate::harness::Results;
use crate::nullb;
use crate::subject::{Device, use_threads};

/// The suites that run on each zoned device.
pub async fn run(device: &mut Device, results: &mut Results) {
    use_threads(device.uses_threads());
    if let Some(mut suite) = results.suite(device.name(), "conformance") {
        conformance::run(device, &mut suite).await;
    }
    if let Some(mut suite) = results.suite(device.name(), "basics") {
        basics::run(device, &mut suite).await;
    }
    if let Some(mut suite) = results.suite(device.name(), "opening") {
        opening::run(device, &mut suite).await;
    }
    if let Some(mut suite) = results.suite(device.name(), "errors") {
        errors::run(device, &mut suite).await;
    }
    if let Some(mut suite) = results.suite(device.name(), "outside") {
        outside::run(device, &mut suite).await;
    }
    if let Some(mut suite) = results.suite(device.name(), "processes") {
        processes::run(device, &mut suite).await;
    }
    if let Some(mut suite) = results.suite(device.name(), "differential") {
        differential::run(device, &mut suite).await;
    }
    if let Some(mut suite) = results.suite(device.name(), "crowd") {
        crowd::run(device, &mut suite);
    }
    if device.kind.is_nvme()
        && let Some(mut suite) = results.suite(device.name(), "native-append")
    {
        native::run(device, &mut suite).await;
    }
    if let Some(mut suite) = results.suite(device.name(), "removal") {
        removal::run(device, &mut suite).await;
    }
}

/// The suites that make their own devices.
pub async fn run_once(results: &mut Results) {
    if !nullb::is_present() {
        return;
    }
    use_threads(false);
    if let Some(mut suite) = results.suite("null_blk", "large") {
        large::run(&mut suite).await;
    }
    if let Some(mut suite) = results.suite("device-mapper", "mapped") {
        mapped::run(&mut suite).await;
    }
    if let Some(mut suite) = results.suite("regular", "regular") {
        regular::run(&mut suite).await;
    }
}
