//! Many zones: a report in pieces, and a quick open. And large ones.

use crate::harness::Suite;
use crate::nullb::Spec;
use crate::subject::{NO_FLAGS, Subject, data, pattern, read, zone, zones};
use crate::witness;
use block_core::ZoneOp;
use std::time::{Duration, Instant};

const ZONES: u64 = 100_000;
/// More than anything takes.
const TIMELESS: Duration = Duration::MAX;

/// What comes of it, and the time it took.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let made = work.await;
    (made, started.elapsed())
}

pub async fn run(suite: &mut Suite<'_>) {
    let spec = Spec {
        size: ZONES,
        zone_size: 1,
        zone_capacity: 0,
        conventional: 3,
        max_open: 0,
        max_active: 0,
        ..Spec::SMALL
    };
    let subject = Subject::null_blk(&spec);
    suite
        .case("a_hundred_thousand_zones", async move {
            let (mut opened, mut reported, mut one) = (TIMELESS, TIMELESS, TIMELESS);
            // The least of a few: the machine may do something else meanwhile.
            for _ in 0..4 {
                let (node, took) = timed(subject.open()).await;
                opened = opened.min(took);
                node.close().await.unwrap();
            }
            let (node, took) = timed(subject.open()).await;
            opened = opened.min(took);
            for _ in 0..5 {
                let (all, took) = timed(zones(&node)).await;
                reported = reported.min(took);
                assert_eq!(all.len() as u64, ZONES);
            }
            let started = Instant::now();
            let output = witness::run("blkzone", &["report", subject.device()]);
            let theirs = started.elapsed();
            assert_eq!(output.lines().count() as u64, ZONES);
            let (last, took) = timed(zone(&node, (ZONES - 1) << 20)).await;
            one = one.min(took);
            for _ in 0..4 {
                let (same, took) = timed(zone(&node, last.start)).await;
                one = one.min(took);
                assert_eq!(same, last);
            }
            let started = Instant::now();
            let at = node.append(last.start, data(1, 4096), NO_FLAGS).await.unwrap();
            let first_append = started.elapsed();
            assert_eq!(at, last.start);
            let started = Instant::now();
            node.manage_zones(ZoneOp::Reset, 0, node.length()).await.unwrap();
            let reset = started.elapsed();
            assert_eq!(zone(&node, last.start).await, last);
            let at = node.append(last.start, data(1, 4096), NO_FLAGS).await.unwrap();
            assert_eq!(at, last.start);
            println!(
                "100,000 zones: open {opened:?}, report of all {reported:?} (blkzone, whole \
                 process: {theirs:?}), of one {one:?}, first append {first_append:?}, reset of \
                 everything {reset:?}"
            );
            assert!(one < reported / 5, "a report of one zone does not read them all");
            assert!(opened < reported, "nor does opening");
        })
        .await;

    // Larger than any 32-bit number of bytes.
    let spec = Spec { size: 34 << 10, zone_size: 8 << 10, ..spec };
    let subject = Subject::null_blk(&Spec { conventional: 1, ..spec });
    suite
        .case("zones_of_8_gib", async move {
            let node = subject.open().await;
            let all = zones(&node).await;
            let lengths: Vec<u64> = all.iter().map(|z| z.length >> 30).collect();
            assert_eq!(lengths, [8, 8, 8, 8, 2]);
            for (round, z) in all[1..].iter().enumerate() {
                for i in 0..3 {
                    let at = node.append(z.start, data(i, 4096), NO_FLAGS).await.unwrap();
                    assert_eq!(at, z.start + i * 4096, "round {round}");
                }
            }
            let (third, last) = (all[3], all[4]);
            node.manage_zones(ZoneOp::Finish, third.start, third.length + last.length)
                .await
                .unwrap();
            assert_eq!(zone(&node, third.start).await.write_pointer, Some(third.end()));
            assert_eq!(zone(&node, last.start).await.write_pointer, Some(34 << 30));
            assert_eq!(read(&node, third.start + 4096, 4096).await, pattern(1, 4096));
            node.manage_zones(ZoneOp::Reset, 0, node.length()).await.unwrap();
            assert_eq!(zones(&node).await, all);
        })
        .await;
}
