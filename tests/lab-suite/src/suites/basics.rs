//! The reference scenario, and what other programs see of what we do.

use crate::harness::Suite;
use crate::subject::{
    Device, NO_FLAGS, data, manage, pattern, read, sequential, unit, zone, zones,
};
use crate::witness::{as_reported, blkzone_report, dd_read, dd_write};
use block_core::{ErrorKind, Node, RequestFlags, ZoneCondition, ZoneOp};

pub async fn run(device: &Device, suite: &mut Suite<'_>) {
    let subject = device.fresh();
    // ZBC: a zone that is closed untouched is empty again. NVMe: it is closed.
    let closed = match device.kind.is_nvme() {
        true => ZoneCondition::Closed,
        false => ZoneCondition::Empty,
    };
    suite
        .case("reference_scenario", async move { reference(&*subject.open().await, closed).await })
        .await;

    let subject = device.fresh();
    suite
        .case("dd_reads_what_we_write_and_we_read_what_dd_writes", async move {
            let node = subject.open().await;
            let (unit, zone) = (unit(&node), sequential(&node).await[0]);
            node.write(zone.start, data(1, 4 * unit), NO_FLAGS).await.unwrap();
            let at = node.append(zone.start, data(2, 2 * unit), NO_FLAGS).await.unwrap();
            assert_eq!(at, zone.start + 4 * unit);
            let device = subject.device();
            assert_eq!(dd_read(device, zone.start, 4 * unit), pattern(1, 4 * unit));
            assert_eq!(dd_read(device, at, 2 * unit), pattern(2, 2 * unit));
            assert!(dd_write(device, at + 2 * unit, &pattern(3, unit)));
            assert_eq!(read(&node, at + 2 * unit, unit).await, pattern(3, unit));
        })
        .await;

    let subject = device.fresh();
    suite
        .case("blkzone_report_agrees", async move {
            let node = subject.open().await;
            let unit = unit(&node);
            let seq = sequential(&node).await;
            node.append(seq[0].start, data(1, unit), NO_FLAGS).await.unwrap();
            node.append(seq[1].start, data(1, 3 * unit), NO_FLAGS).await.unwrap();
            manage(&node, ZoneOp::Close, &seq[1]).await.unwrap();
            manage(&node, ZoneOp::Open, &seq[2]).await.unwrap();
            manage(&node, ZoneOp::Finish, &seq[3]).await.unwrap();
            let theirs = blkzone_report(subject.device());
            let ours = zones(&node).await;
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(&as_reported(ours, theirs), theirs);
            }
        })
        .await;

    let subject = device.fresh();
    suite
        .case("fua_and_flush", async move {
            let node = subject.open().await;
            let (unit, zone) = (unit(&node), sequential(&node).await[0]);
            let at = node.append(zone.start, data(1, unit), RequestFlags::FUA).await.unwrap();
            node.write(at + unit, data(2, unit), RequestFlags::FUA).await.unwrap();
            node.flush().await.unwrap();
            assert_eq!(read(&node, at, unit).await, pattern(1, unit));
        })
        .await;

    let subject = device.fresh();
    suite
        .case("many_zones_and_depths_at_once", async move {
            let node = subject.open().await;
            let unit = unit(&node);
            let limit = node.limits().zoned.unwrap().max_open_zones;
            let count = if limit == 0 { 4 } else { limit as usize };
            let seq: Vec<_> = sequential(&node).await.into_iter().take(count).collect();
            let mut tasks = tokio::task::JoinSet::new();
            for zone in &seq {
                for i in 0..16_u64 {
                    let (node, zone) = (node.clone(), *zone);
                    tasks.spawn(async move {
                        let bufs = data(zone.start + i, unit);
                        (zone, i, node.append(zone.start, bufs, NO_FLAGS).await.unwrap())
                    });
                }
            }
            for (zone, i, at) in tasks.join_all().await {
                assert_eq!(read(&node, at, unit).await, pattern(zone.start + i, unit));
            }
            for zone in seq {
                let now = crate::subject::zone(&node, zone.start).await;
                assert_eq!(now.write_pointer, Some(zone.start + 16 * unit));
            }
        })
        .await;

    let subject = device.fresh();
    suite
        .case("resets_and_finishes_beside_appends", async move {
            let node = subject.open().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            let mut tasks = tokio::task::JoinSet::new();
            for task in 0..4_u64 {
                let node = node.clone();
                tasks.spawn(async move {
                    for i in 0..20 {
                        match node.append(z.start, data(task, unit), NO_FLAGS).await {
                            Ok(at) => assert!((z.start..z.writable_end()).contains(&at)),
                            Err(e) => assert_eq!(e.kind().name(), "zone-full", "{e}"),
                        }
                        if task == 0 && i % 5 == 4 {
                            manage(&node, ZoneOp::Finish, &z).await.unwrap();
                            manage(&node, ZoneOp::Reset, &z).await.unwrap();
                        }
                    }
                });
            }
            tasks.join_all().await;
            // What is believed and what is on the device are the same.
            let pointer = zone(&node, z.start).await.write_pointer.unwrap();
            let at = node.append(z.start, data(9, unit), NO_FLAGS).await.unwrap();
            assert_eq!(at, pointer);
            assert_eq!(read(&node, at, unit).await, pattern(9, unit));
        })
        .await;

    let subject = device.fresh();
    suite
        .case("write_zeroes_and_discard_keep_the_pointer_right", async move {
            let node = subject.open().await;
            let (unit, first) = (unit(&node), sequential(&node).await[0]);
            node.write_zeroes(first.start, 300 * unit.min(512), NO_FLAGS)
                .await
                .or_else(|e| match e.kind() {
                    ErrorKind::Misaligned { .. } => Ok(()),
                    _ => Err(e),
                })
                .unwrap();
            let before = zone(&node, first.start).await.write_pointer.unwrap();
            node.write_zeroes(before, 8 * unit, NO_FLAGS).await.unwrap();
            let at = node.append(first.start, data(1, unit), NO_FLAGS).await.unwrap();
            assert_eq!(at, before + 8 * unit);
            let refused = node.discard(first.start, unit).await.unwrap_err();
            assert_eq!(refused.kind().name(), "unsupported");
            node.append(first.start, data(2, unit), NO_FLAGS).await.unwrap();
        })
        .await;
}

/// The scenario of the reference implementation's own test.
async fn reference(node: &Node, closed: ZoneCondition) {
    let all = zones(node).await;
    assert_eq!(node.report_zones(0, 1).await.unwrap(), all[..1]);
    assert_eq!(node.report_zones(0, 10).await.unwrap(), all[..10]);
    let last = *all.last().unwrap();
    assert_eq!(node.report_zones(last.start, 1).await.unwrap(), [last]);
    assert_eq!(node.report_zones(node.length(), 1).await.unwrap(), []);
    let seq = sequential(node).await;
    let (first, second) = (seq[0], seq[1]);
    let condition = |z: block_core::Zone| async move { zone(node, z.start).await.condition };
    for z in [first, second, last] {
        manage(node, ZoneOp::Open, &z).await.unwrap();
        assert_eq!(condition(z).await, ZoneCondition::ExplicitOpen);
    }
    for z in [first, last] {
        manage(node, ZoneOp::Close, &z).await.unwrap();
        assert_eq!(condition(z).await, closed);
        manage(node, ZoneOp::Reset, &z).await.unwrap();
    }
    manage(node, ZoneOp::Finish, &second).await.unwrap();
    let finished = zone(node, second.start).await;
    assert_eq!(finished.condition, ZoneCondition::Full);
    assert_eq!(finished.write_pointer, Some(second.end()));
    manage(node, ZoneOp::Reset, &second).await.unwrap();
    assert_eq!(condition(second).await, ZoneCondition::Empty);
    for z in [first, second] {
        for (round, relative) in [(0, 0), (1, 0x3000)] {
            let mut bufs = data(round, 0x1000);
            bufs.append(data(round + 7, 0x2000));
            let at = node.append(z.start, bufs, NO_FLAGS).await.unwrap();
            assert_eq!(at, z.start + relative);
        }
        assert_eq!(condition(z).await, ZoneCondition::ImplicitOpen);
    }
}
