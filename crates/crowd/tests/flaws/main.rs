//! A crowd finds out devices that lose, misplace, repeat or hold up what they are given.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

mod flawed;

use block_backend::BlockBackend;
use block_backend::block_core::Node;
use block_conformance::memory::{MemoryZoned, MemoryZonedConfig};
use crowd::{Counts, Crowd, Expects};
use flawed::{Flaw, Flawed};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(700);

/// Only what never ends is found by waiting: a step of any other device takes long where the machine
/// has other work.
fn expects(flaw: Flaw) -> Expects {
    match flaw {
        Flaw::FlushesForever | Flaw::AppendsForever => {
            Expects { patience: Duration::from_secs(2), ..Expects::ALL }
        }
        _ => Expects::ALL,
    }
}

/// What a crowd says of a device with this flaw.
async fn verdict(flaw: Flaw, seed: u64, length: Duration) -> Result<Counts, String> {
    let memory = MemoryZoned::new(MemoryZonedConfig { lag: 3, ..MemoryZonedConfig::default() });
    let node = Node::new("flawed", Box::new(Flawed::new(flaw, memory)));
    let limit = if seed.is_multiple_of(2) { 0 } else { 5 };
    let disk = BlockBackend::builder().max_in_flight(limit).on_node(&node).unwrap();
    let crowd = Crowd::new(&disk, expects(flaw)).await?;
    let counts = crowd.work(16, seed, length).await?;
    disk.settle().await.map_err(|e| e.to_string())?;
    crowd.verify(&disk).await?;
    disk.close().await.map_err(|e| e.to_string())?;
    Ok(counts)
}

#[tokio::test]
async fn a_device_without_a_flaw_passes() {
    for seed in 0..3 {
        let mut counts = Counts::new();
        // Longer where the machine has other work.
        for length in [SHORT, 3 * SHORT, 20 * SHORT] {
            counts = verdict(Flaw::None, seed, length).await.unwrap();
            assert!(!counts.contains_key("failed as expected"), "{counts:?}");
            if crowd::missing(&counts).is_empty() {
                break;
            }
        }
        assert!(crowd::missing(&counts).is_empty(), "{counts:?}");
    }
}

/// Not every run must meet a flaw that only some schedules show; a few runs must.
async fn found_out(flaw: Flaw, by: &[&str]) {
    let mut seen = Vec::new();
    for seed in 0..20 {
        // Longer and longer: some schedules are rare where the machine has other work.
        match verdict(flaw, seed, SHORT * (1 + seed as u32 / 4)).await {
            Err(why) if by.iter().any(|word| why.contains(word)) => return,
            Err(why) => panic!("{flaw:?} is found out, but by: {why}"),
            Ok(counts) => seen.push(counts),
        }
    }
    panic!("{flaw:?} was never found out: {seen:?}");
}

#[tokio::test]
async fn lost_acknowledgements() {
    found_out(Flaw::LosesAppends, &["lies on", "lost", "is not what is read"]).await;
    found_out(Flaw::LosesWrites, &["lies on", "lost", "is not what is read"]).await;
}

#[tokio::test]
async fn wrong_places() {
    let words =
        ["lies on", "not where it landed", "in the place of", "is not what is read", "lost"];
    found_out(Flaw::TellsAnotherPlace, &words).await;
}

#[tokio::test]
async fn wrong_data() {
    let words = ["garbage at", "is not what is read", "expected after"];
    found_out(Flaw::TurnsABitOver, &words).await;
    found_out(Flaw::ReadsOneBlockOff, &["is not what is read", "garbage at", "of another", "lost"])
        .await;
}

#[tokio::test]
async fn what_is_done_twice_or_too_late() {
    found_out(Flaw::AppendsTwice, &["twice there", "not where it landed"]).await;
    found_out(
        Flaw::WorksOnAfterSettle,
        &["of another life", "is not what is read", "lies on", "it was reset"],
    )
    .await;
}

#[tokio::test]
async fn resets() {
    found_out(Flaw::ForgetsResets, &["it was reset, and is"]).await;
    found_out(
        Flaw::ResetsTheNextZoneToo,
        &["lies on", "lost", "is not what is read", "in the place of"],
    )
    .await;
}

#[tokio::test]
async fn errors_without_a_reason() {
    found_out(Flaw::Fails, &["appends: "]).await;
}

#[tokio::test]
async fn what_is_stuck_is_told() {
    found_out(Flaw::FlushesForever, &["stuck: flushes", "stuck: drains"]).await;
    found_out(Flaw::AppendsForever, &["stuck: appends", "stuck: drains"]).await;
}
