//! Each refusal of the kernel as its own kind, and nothing changed by it.

use crate::harness::Suite;
use crate::subject::{
    Device, NO_FLAGS, data, kind, manage, pattern, read, sequential, unit, zone, zones,
};
use block_core::{ErrorKind, Node, Zone, ZoneCondition, ZoneOp};

/// Fills a zone.
async fn fill(node: &Node, zone: &Zone) {
    let mut at = zone.start;
    while at < zone.writable_end() {
        let len = (zone.writable_end() - at).min(1 << 20);
        node.write(at, data(at, len), NO_FLAGS).await.unwrap();
        at += len;
    }
}

async fn write(node: &Node, at: u64, len: u64) -> block_core::Result<()> {
    node.write(at, data(9, len), NO_FLAGS).await
}

pub async fn run(device: &Device, suite: &mut Suite<'_>) {
    let subject = device.fresh();
    suite
        .case("writes_off_the_pointer", async move {
            let node = subject.open().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            node.append(z.start, data(1, 2 * unit), NO_FLAGS).await.unwrap();
            for at in [z.start, z.start + unit, z.start + 3 * unit] {
                let error = write(&node, at, unit).await.unwrap_err();
                let ErrorKind::WritePointerMismatch { zone, expected, given } = error.kind() else {
                    panic!("{error}");
                };
                assert_eq!((zone.start, *expected, *given), (z.start, z.start + 2 * unit, at));
            }
            assert_eq!(zone(&node, z.start).await.write_pointer, Some(z.start + 2 * unit));
            assert_eq!(read(&node, z.start, 2 * unit).await, pattern(1, 2 * unit));
        })
        .await;

    let subject = device.fresh();
    suite
        .case("a_full_zone_and_the_next_one_untouched", async move {
            let node = subject.open().await;
            let unit = unit(&node);
            let seq = sequential(&node).await;
            let (z, next) = (seq[0], seq[1]);
            fill(&node, &z).await;
            assert_eq!(zone(&node, z.start).await.condition, ZoneCondition::Full);
            for _ in 0..3 {
                assert_eq!(kind(node.append(z.start, data(1, unit), NO_FLAGS).await), "zone-full");
                assert_eq!(kind(write(&node, z.start, unit).await), "zone-full");
                assert_eq!(kind(manage(&node, ZoneOp::Open, &z).await), "zone-full");
            }
            assert_eq!(zone(&node, next.start).await, next);
            manage(&node, ZoneOp::Finish, &seq[2]).await.unwrap();
            assert_eq!(kind(node.append(seq[2].start, data(1, unit), NO_FLAGS).await), "zone-full");
            assert_eq!(zone(&node, seq[3].start).await, seq[3]);
        })
        .await;

    let subject = device.fresh();
    suite
        .case("past_the_capacity_and_the_zone", async move {
            let node = subject.open().await;
            let unit = unit(&node);
            let seq = sequential(&node).await;
            let z = seq[0];
            let mut at = z.start;
            while at < z.writable_end() - unit {
                let len = (z.writable_end() - unit - at).min(1 << 19);
                node.write(at, data(at, len), NO_FLAGS).await.unwrap();
                at += len;
            }
            for _ in 0..2 {
                assert_eq!(kind(write(&node, at, 2 * unit).await), "zone-boundary");
                let append = node.append(z.start, data(1, 2 * unit), NO_FLAGS).await.unwrap_err();
                let ErrorKind::ZoneFull { remaining, .. } = append.kind() else {
                    panic!("{append}")
                };
                assert_eq!(*remaining, unit);
            }
            assert_eq!(zone(&node, seq[1].start).await, seq[1]);
            let last = node.append(z.start, data(1, unit), NO_FLAGS).await.unwrap();
            assert_eq!(last, z.writable_end() - unit);
        })
        .await;

    open_limit(device, suite).await;
    active_limit(device, suite).await;

    let subject = device.fresh();
    suite
        .case("management_of_what_is_no_range_of_zones", async move {
            let node = subject.open().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            let manage = |offset, len| node.manage_zones(ZoneOp::Reset, offset, len);
            assert_eq!(kind(manage(z.start + unit, z.length).await), "misaligned");
            assert_eq!(kind(manage(z.start, unit).await), "misaligned");
            assert_eq!(kind(manage(z.start, 0).await), "misaligned");
            assert_eq!(kind(manage(z.start, node.length() + z.length).await), "out-of-range");
            assert_eq!(kind(manage(z.start, u64::MAX).await), "out-of-range");
            let append = |at, len| node.append(at, data(1, len), NO_FLAGS);
            assert_eq!(kind(append(z.start + unit, unit).await), "misaligned");
            assert_eq!(kind(append(node.length(), unit).await), "out-of-range");
        })
        .await;

    let subject = device.fresh();
    suite
        .case("conventional_zones", async move {
            let node = subject.open().await;
            let unit = unit(&node);
            let all = zones(&node).await;
            let Some(conventional) = all.iter().find(|z| !z.zone_type.is_sequential()) else {
                return;
            };
            for op in ZoneOp::ALL {
                assert_eq!(kind(manage(&node, op, conventional).await), "conventional-zone");
                let behind = &all[all.iter().position(|z| z.zone_type.is_sequential()).unwrap()];
                let len = behind.end() - conventional.start;
                let range = node.manage_zones(op, conventional.start, len).await;
                assert_eq!(kind(range), "conventional-zone");
            }
            let append = node.append(conventional.start, data(1, unit), NO_FLAGS).await;
            assert_eq!(kind(append), "conventional-zone");
            assert_eq!(zones(&node).await, all);
            for at in [4, 0, 2] {
                write(&node, conventional.start + at * unit, unit).await.unwrap();
            }
        })
        .await;
}

async fn open_limit(device: &Device, suite: &mut Suite<'_>) {
    let probe = device.fresh().open().await;
    let limit = probe.limits().zoned.unwrap().max_open_zones;
    drop(probe);
    if limit == 0 {
        return suite.skip("too_many_open", "the device has no limit of open zones");
    }

    let subject = device.fresh();
    suite
        .case("too_many_open", async move {
            let node = subject.open().await;
            let (unit, limits) = (unit(&node), node.limits().zoned.unwrap());
            let seq = sequential(&node).await;
            let limit = limits.max_open_zones as usize;
            assert!(limit > 0 && limit < seq.len(), "the lab's devices have a limit");
            for z in &seq[..limit] {
                manage(&node, ZoneOp::Open, z).await.unwrap();
            }
            let before = zones(&node).await;
            let last = &seq[limit];
            assert_eq!(kind(manage(&node, ZoneOp::Open, last).await), "too-many-open");
            assert_eq!(kind(write(&node, last.start, unit).await), "too-many-open");
            let append = node.append(last.start, data(1, unit), NO_FLAGS).await.unwrap_err();
            let ErrorKind::TooManyOpen { zone, limit: told } = append.kind() else {
                panic!("{append}")
            };
            assert_eq!((zone.start, *told), (last.start, limits.max_open_zones));
            // The kernel cuts this one in pieces, and may tell the error of a later piece.
            assert_eq!(kind(write(&node, last.start, last.capacity).await), "too-many-open");
            assert_eq!(zones(&node).await, before);
            manage(&node, ZoneOp::Close, &seq[0]).await.unwrap();
            node.append(last.start, data(1, unit), NO_FLAGS).await.unwrap();
        })
        .await;

    let subject = device.fresh();
    suite
        .case("open_of_more_than_may_be_open_names_where_it_stopped", async move {
            let node = subject.open().await;
            let seq = sequential(&node).await;
            let limit = node.limits().zoned.unwrap().max_open_zones as usize;
            let len = seq[..=limit].iter().map(|z| z.length).sum();
            let error = node.manage_zones(ZoneOp::Open, seq[0].start, len).await.unwrap_err();
            let ErrorKind::TooManyOpen { zone, .. } = error.kind() else { panic!("{error}") };
            assert_eq!(zone.start, seq[limit].start);
        })
        .await;
}

async fn active_limit(device: &Device, suite: &mut Suite<'_>) {
    let subject = device.fresh();
    let probe = subject.open().await;
    let active = probe.limits().zoned.unwrap().max_active_zones as usize;
    drop(probe);
    if active == 0 {
        return suite.skip("too_many_active", "the device has no limit of active zones");
    }
    suite
        .case("too_many_active", async move {
            let node = subject.open().await;
            let unit = unit(&node);
            let seq = sequential(&node).await;
            for z in &seq[..active] {
                node.append(z.start, data(1, unit), NO_FLAGS).await.unwrap();
                manage(&node, ZoneOp::Close, z).await.unwrap();
            }
            let (last, before) = (&seq[active], zones(&node).await);
            let append = node.append(last.start, data(1, unit), NO_FLAGS).await;
            assert_eq!(kind(append), "too-many-active");
            assert_eq!(kind(write(&node, last.start, unit).await), "too-many-active");
            assert_eq!(kind(manage(&node, ZoneOp::Open, last).await), "too-many-active");
            assert_eq!(zones(&node).await, before);
            manage(&node, ZoneOp::Reset, &seq[0]).await.unwrap();
            node.append(last.start, data(1, unit), NO_FLAGS).await.unwrap();
        })
        .await;
}
