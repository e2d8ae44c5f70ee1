//! Appends that the device places.

use super::conformance::{battery, profile_of};
use crate::harness::Suite;
use crate::subject::{
    DIRECT, Device, Kind, NO_FLAGS, data, kind, manage, open, options, pattern, read, sequential,
    unit, zone,
};
use block_core::{Options, ZoneOp};
use std::path::Path;

fn native(path: &Path) -> Options {
    options(path).set("append", "native").set("locking", "off")
}

pub async fn run(device: &Device, suite: &mut Suite<'_>) {
    // The blocks' size is nothing to the battery.
    if device.kind == Kind::Zns {
        battery(suite, device, profile_of(device), "native").await;
    }

    let subject = device.fresh();
    suite
        .case("two_nodes_append_to_one_zone", async move {
            let mut tasks = tokio::task::JoinSet::new();
            let first = open(native(&subject.path), DIRECT).await.unwrap();
            let second = open(native(&subject.path), DIRECT).await.unwrap();
            let (unit, z) = (unit(&first), sequential(&first).await[0]);
            for (who, node) in [(0, &first), (1, &second)] {
                for i in 0..4 {
                    let node = node.clone();
                    tasks.spawn(async move {
                        let mut landed = Vec::new();
                        for j in 0..8 {
                            let seed = who * 1000 + i * 100 + j;
                            let at =
                                node.append(z.start, data(seed, unit), NO_FLAGS).await.unwrap();
                            landed.push((at, seed));
                        }
                        landed
                    });
                }
            }
            let mut all: Vec<(u64, u64)> = tasks.join_all().await.into_iter().flatten().collect();
            all.sort_unstable();
            assert_eq!(all.len(), 64);
            for (i, (at, seed)) in (0..).zip(&all) {
                assert_eq!(*at, z.start + i * unit, "side by side");
                assert_eq!(read(&first, *at, unit).await, pattern(*seed, unit));
            }
        })
        .await;

    let subject = device.fresh();
    suite
        .case("writes_and_native_appends_in_one_zone", async move {
            let ours = open(native(&subject.path), DIRECT).await.unwrap();
            let emulated = options(&subject.path).set("append", "emulated").set("locking", "off");
            let theirs = open(emulated, DIRECT).await.unwrap();
            let (unit, z) = (unit(&ours), sequential(&ours).await[0]);
            let mut at = z.start;
            for round in 0..6 {
                // A write through the kernel, an append past it, and each from both nodes.
                for (node, append) in [
                    (&ours, false),
                    (&ours, true),
                    (&theirs, true),
                    (&ours, true),
                    (&theirs, false),
                ] {
                    let bufs = data(round, unit);
                    if append {
                        let landed = node.append(z.start, bufs, NO_FLAGS).await.unwrap();
                        assert_eq!(landed, at, "round {round}");
                    } else {
                        node.write(at, bufs, NO_FLAGS).await.unwrap();
                    }
                    assert_eq!(read(&theirs, at, unit).await, pattern(round, unit));
                    at += unit;
                }
            }
            assert_eq!(zone(&ours, z.start).await.write_pointer, Some(at));
        })
        .await;

    let subject = device.fresh();
    suite
        .case("refusals", async move {
            let node = open(native(&subject.path), DIRECT).await.unwrap();
            let unit = unit(&node);
            let seq = sequential(&node).await;
            manage(&node, ZoneOp::Finish, &seq[0]).await.unwrap();
            assert_eq!(kind(node.append(seq[0].start, data(1, unit), NO_FLAGS).await), "zone-full");
            let limits = node.limits().zoned.unwrap();
            assert!(limits.max_append_bytes > 0, "a native append has a limit");
            let too_long = limits.max_append_bytes + unit;
            let append = node.append(seq[1].start, data(1, too_long), NO_FLAGS).await;
            assert_eq!(kind(append), "append-too-large");
            for z in &seq[1..=limits.max_open_zones.max(1) as usize] {
                manage(&node, ZoneOp::Open, z).await.unwrap();
            }
            if limits.max_open_zones != 0 {
                let last = seq[limits.max_open_zones as usize + 1];
                let append = node.append(last.start, data(1, unit), NO_FLAGS).await;
                assert_eq!(kind(append), "too-many-open");
            }
            // Finished by somebody else, of whom the node knows nothing.
            crate::witness::blkzone("finish", subject.device(), &seq[1]);
            assert_eq!(kind(node.append(seq[1].start, data(1, unit), NO_FLAGS).await), "zone-full");
        })
        .await;
}
