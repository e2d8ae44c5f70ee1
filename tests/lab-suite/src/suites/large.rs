//! 100,000 zones: a report in pieces, and a quick open.

use crate::harness::Suite;
use crate::nullb::Spec;
use crate::subject::{NO_FLAGS, Subject, data, zone, zones};
use crate::witness;
use block_core::ZoneOp;
use std::time::Instant;

const ZONES: u64 = 100_000;

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
            let started = Instant::now();
            let node = subject.open().await;
            let opened = started.elapsed();
            let started = Instant::now();
            let all = zones(&node).await;
            let reported = started.elapsed();
            assert_eq!(all.len() as u64, ZONES);
            let started = Instant::now();
            let output = witness::run("blkzone", &["report", subject.device()]);
            let theirs = started.elapsed();
            assert_eq!(output.lines().count() as u64, ZONES);
            let started = Instant::now();
            let last = zone(&node, (ZONES - 1) << 20).await;
            let one = started.elapsed();
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
        })
        .await;
}
