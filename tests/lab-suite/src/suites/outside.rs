//! Somebody else writes to the zones, resets and finishes them while we use them.
//!
//! `blkzone` opens devices exclusively, so that it needs a node that allows that.

use crate::harness::Suite;
use crate::subject::{Device, NO_FLAGS, data, kind, pattern, read, sequential, unit, zone};
use crate::witness::{blkzone, dd_write};

pub async fn run(device: &Device, suite: &mut Suite<'_>) {
    let subject = device.fresh();
    suite
        .case("an_append_finds_the_pointer_that_moved", async move {
            let node = subject.open_unlocked().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            node.append(z.start, data(1, unit), NO_FLAGS).await.unwrap();
            assert!(dd_write(subject.device(), z.start + unit, &pattern(2, 3 * unit)));
            let at = node.append(z.start, data(3, unit), NO_FLAGS).await.unwrap();
            assert_eq!(at, z.start + 4 * unit);
            assert_eq!(read(&node, z.start + unit, 3 * unit).await, pattern(2, 3 * unit));
            assert_eq!(read(&node, at, unit).await, pattern(3, unit));
        })
        .await;

    let subject = device.fresh();
    suite
        .case("as_much_written_by_somebody_else_is_not_taken_for_ours", async move {
            let node = subject.open_unlocked().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            node.append(z.start, data(1, unit), NO_FLAGS).await.unwrap();
            for round in 0..3 {
                let pointer = zone(&node, z.start).await.write_pointer.unwrap();
                let theirs = pattern(100 + round, unit);
                assert!(dd_write(subject.device(), pointer, &theirs));
                let at = node.append(z.start, data(round, unit), NO_FLAGS).await.unwrap();
                assert_eq!(at, pointer + unit);
                assert_eq!(read(&node, pointer, unit).await, theirs);
                assert_eq!(read(&node, at, unit).await, pattern(round, unit));
            }
        })
        .await;

    let subject = device.fresh();
    suite
        .case("the_same_bytes_of_somebody_else_are_not_taken_for_ours", async move {
            let node = subject.open_unlocked().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            node.append(z.start, data(1, unit), NO_FLAGS).await.unwrap();
            assert!(dd_write(subject.device(), z.start + unit, &pattern(2, unit)));
            // Both wrote this record: it must be there twice.
            let at = node.append(z.start, data(2, unit), NO_FLAGS).await.unwrap();
            assert_eq!(at, z.start + 2 * unit);
            assert_eq!(read(&node, z.start + unit, 2 * unit).await, {
                let record = pattern(2, unit);
                [record.clone(), record].concat()
            });
            assert!(dd_write(subject.device(), z.start + 3 * unit, &pattern(3, unit)));
            let stale = node.write(z.start + 3 * unit, data(3, unit), NO_FLAGS).await;
            assert_eq!(kind(stale), "write-pointer-mismatch");
        })
        .await;

    let subject = device.fresh();
    suite
        .case("a_write_is_judged_by_the_pointer_that_moved", async move {
            let node = subject.open_unlocked().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            node.append(z.start, data(1, unit), NO_FLAGS).await.unwrap();
            assert!(dd_write(subject.device(), z.start + unit, &pattern(2, unit)));
            let stale = node.write(z.start + unit, data(3, unit), NO_FLAGS).await;
            assert_eq!(kind(stale), "write-pointer-mismatch");
            assert!(dd_write(subject.device(), z.start + 2 * unit, &pattern(2, unit)));
            node.write(z.start + 3 * unit, data(4, unit), NO_FLAGS).await.unwrap();
            assert_eq!(read(&node, z.start + 3 * unit, unit).await, pattern(4, unit));
        })
        .await;

    let subject = device.fresh();
    suite
        .case("a_reset_behind_our_back", async move {
            let node = subject.open_unlocked().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            node.append(z.start, data(1, 3 * unit), NO_FLAGS).await.unwrap();
            blkzone("reset", subject.device(), &z);
            let at = node.append(z.start, data(2, unit), NO_FLAGS).await.unwrap();
            assert_eq!(at, z.start);
            blkzone("reset", subject.device(), &z);
            node.write(z.start, data(3, unit), NO_FLAGS).await.unwrap();
            assert_eq!(read(&node, z.start, unit).await, pattern(3, unit));
        })
        .await;

    let subject = device.fresh();
    suite
        .case("a_finish_behind_our_back_and_a_reset_after_it", async move {
            let node = subject.open_unlocked().await;
            let unit = unit(&node);
            let seq = sequential(&node).await;
            let z = seq[0];
            node.append(z.start, data(1, unit), NO_FLAGS).await.unwrap();
            blkzone("finish", subject.device(), &z);
            assert_eq!(kind(node.append(z.start, data(2, unit), NO_FLAGS).await), "zone-full");
            assert_eq!(zone(&node, seq[1].start).await, seq[1], "nothing went to the next zone");
            // We know it is full; that it is not any more we find out.
            blkzone("reset", subject.device(), &z);
            let at = node.append(z.start, data(3, unit), NO_FLAGS).await.unwrap();
            assert_eq!(at, z.start);
        })
        .await;

    let subject = device.fresh();
    suite
        .case("a_zone_that_was_written_before_it_is_opened_here", async move {
            let first = subject.open_unlocked().await;
            let (unit, z) = (unit(&first), sequential(&first).await[0]);
            first.close().await.unwrap();
            drop(first);
            assert!(dd_write(subject.device(), z.start, &pattern(1, 2 * unit)));
            let node = subject.open_unlocked().await;
            let at = node.append(z.start, data(2, unit), NO_FLAGS).await.unwrap();
            assert_eq!(at, z.start + 2 * unit);
        })
        .await;

    let subject = device.fresh();
    suite
        .case("appends_in_a_crowd_with_somebody_else", async move {
            let node = subject.open_unlocked().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            let device = subject.device().to_owned();
            let other = node.clone();
            let somebody = tokio::task::spawn_blocking(move || {
                let runtime = tokio::runtime::Handle::current();
                let mut landed = Vec::new();
                for i in 0..10_u64 {
                    let now = runtime.block_on(zone(&other, z.start));
                    let at = now.write_pointer.unwrap();
                    if dd_write(&device, at, &pattern(500 + i, unit)) {
                        landed.push((at, 500 + i));
                    }
                }
                landed
            });
            let mut ours = Vec::new();
            for i in 0..60_u64 {
                let at = node.append(z.start, data(i, unit), NO_FLAGS).await.unwrap();
                ours.push((at, i));
            }
            let theirs = somebody.await.unwrap();
            let mut all: Vec<_> = ours.into_iter().chain(theirs).collect();
            all.sort_unstable();
            for (i, (at, seed)) in (0..).zip(&all) {
                assert_eq!(*at, z.start + i * unit, "side by side");
                assert_eq!(read(&node, *at, unit).await, pattern(*seed, unit), "at {at:#x}");
            }
        })
        .await;
}
