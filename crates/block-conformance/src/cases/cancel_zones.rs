//! Dropped futures of zone requests: pointers stay right and no zone stays stuck.

use crate::cx::Cx;
use crate::interrupt::{MOMENTS, interrupt};
use crate::outcome::{Outcome, failed};
use crate::pattern::{pattern, whole};
use block_core::{RequestFlags, Zone, ZoneCondition, ZoneOp};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

cases!("cancel_zones":
    appends,
    appends_beside_appends,
    writes_at_the_pointer,
    appends_that_fill_the_zone,
    reports,
    management,
    management_of_several_zones,
    a_crowd,
);

/// Checks that the zone holds, from its start to its pointer, whole appends of these seeds in this
/// order, of which any may be missing; gives how many there are.
async fn expect_some_of(cx: &Cx, zone: &Zone, seeds: &[u64], len: u64) -> Outcome<u64> {
    let now = cx.zone(zone.start).await?;
    let end = match now.condition {
        ZoneCondition::Full => zone.writable_end(),
        _ => now.write_pointer.unwrap_or(zone.start),
    };
    let written = end - zone.start;
    ensure_eq!(written % len, 0, "what the pointer has above whole appends");
    let mut seeds = seeds.iter();
    for at in (zone.start..end).step_by(len as usize) {
        let found = cx.read(at, len).await?;
        ensure!(
            seeds.any(|seed| found == pattern(*seed, len)),
            "below the write pointer {end:#x}, at {at:#x}, there is no whole append in its order"
        );
    }
    cx.expect_unwritten(end, cx.unit().min(zone.end() - end), "above the pointer").await?;
    Ok(written / len)
}

async fn appends(cx: Cx) -> Outcome {
    let (unit, flags) = (cx.unit(), RequestFlags::empty());
    let zone = cx.empty_zone().await?;
    let mut seeds = Vec::new();
    for seed in 1..=12 {
        let moment = MOMENTS[seed as usize % MOMENTS.len()];
        let append = cx.node.append(zone.start, whole(&pattern(seed, 2 * unit)), flags);
        interrupt(append, moment).await;
        seeds.push(seed);
        if seed % 2 == 0 {
            cx.node.settle().await?;
            expect_some_of(&cx, &zone, &seeds, 2 * unit).await?;
        }
    }
    let at = cx.append(&zone, &pattern(100, 2 * unit)).await?;
    seeds.push(100);
    cx.expect(at, &pattern(100, 2 * unit), "an append after dropped ones").await?;
    expect_some_of(&cx, &zone, &seeds, 2 * unit).await?;
    cx.manage(ZoneOp::Reset, &zone).await?;
    cx.expect_zone(&zone, ZoneCondition::Empty, 0, "reset after dropped appends").await
}

/// Appends that are waited for must not suffer from those that are dropped between them.
async fn appends_beside_appends(cx: Cx) -> Outcome {
    let (unit, flags) = (cx.unit(), RequestFlags::empty());
    let zone = cx.empty_zone().await?;
    let mut kept = JoinSet::new();
    for seed in 0..12 {
        let node = Arc::clone(&cx.node);
        kept.spawn(async move {
            let position = node.append(zone.start, whole(&pattern(seed, unit)), flags).await?;
            Ok::<_, block_core::Error>((seed, position))
        });
        let dropped = cx.node.append(zone.start, whole(&pattern(100 + seed, unit)), flags);
        interrupt(dropped, MOMENTS[seed as usize % MOMENTS.len()]).await;
    }
    for result in kept.join_all().await {
        let (seed, position) = result?;
        cx.expect(position, &pattern(seed, unit), "an append beside dropped ones").await?;
    }
    cx.node.settle().await?;
    let pointer = cx.zone(zone.start).await?.write_pointer.unwrap_or(zone.start);
    for at in (zone.start..pointer).step_by(unit as usize) {
        let found = cx.read(at, unit).await?;
        let known = (0..12).chain(100..112).any(|seed| found == pattern(seed, unit));
        ensure!(known, "below the write pointer, at {at:#x}, there is data of no append");
    }
    Ok(())
}

async fn writes_at_the_pointer(cx: Cx) -> Outcome {
    let (unit, flags) = (cx.unit(), RequestFlags::empty());
    let zone = cx.empty_zone().await?;
    for (seed, moment) in (1..).zip(MOMENTS.into_iter().chain(MOMENTS)) {
        let before = cx.zone(zone.start).await?.write_pointer.unwrap_or(zone.start);
        let write = cx.node.write(before, whole(&pattern(seed, 2 * unit)), flags);
        interrupt(write, moment).await;
        cx.node.settle().await?;
        let after = cx.zone(zone.start).await?.write_pointer.unwrap_or(zone.start);
        let done = after == before + 2 * unit;
        ensure!(
            done || after == before,
            "a dropped write of {:#x} bytes moved the pointer from {before:#x} to {after:#x}",
            2 * unit
        );
        if done {
            cx.expect(before, &pattern(seed, 2 * unit), "data below the pointer").await?;
        }
        cx.write(after, &pattern(100 + seed, unit)).await?;
        cx.expect(after, &pattern(100 + seed, unit), "a write after a dropped one").await?;
    }
    Ok(())
}

async fn appends_that_fill_the_zone(cx: Cx) -> Outcome {
    let (unit, flags) = (cx.unit(), RequestFlags::empty());
    let zone = cx.empty_zone().await?;
    let most = Zone { capacity: zone.capacity - 2 * unit, ..zone };
    for moment in MOMENTS {
        cx.fill(&most, &pattern(1, most.capacity), 0).await?;
        let append = cx.node.append(zone.start, whole(&pattern(2, 2 * unit)), flags);
        interrupt(append, moment).await;
        cx.node.settle().await?;
        let full = cx.zone(zone.start).await?.condition == ZoneCondition::Full;
        if !full {
            let at = cx.append(&zone, &pattern(2, 2 * unit)).await?;
            ensure_eq!(at, most.writable_end(), "position of the last append");
        }
        cx.expect_zone(&zone, ZoneCondition::Full, 0, "after the last append").await?;
        cx.expect(most.writable_end(), &pattern(2, 2 * unit), "data of the last append").await?;
        cx.manage(ZoneOp::Reset, &zone).await?;
    }
    Ok(())
}

async fn reports(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    cx.append(&zone, &pattern(1, cx.unit())).await?;
    let before = cx.zones().await?;
    for moment in MOMENTS {
        for _ in 0..8 {
            interrupt(cx.node.report_zones(0, usize::MAX), moment).await;
        }
        cx.expect_unchanged(&before, "after dropped reports").await?;
    }
    Ok(cx.node.settle().await?)
}

async fn management(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    for moment in MOMENTS {
        for (op, to) in [
            (ZoneOp::Open, ZoneCondition::ExplicitOpen),
            (ZoneOp::Close, ZoneCondition::Closed),
            (ZoneOp::Finish, ZoneCondition::Full),
            (ZoneOp::Reset, ZoneCondition::Empty),
        ] {
            cx.manage(ZoneOp::Reset, &zone).await?;
            cx.append(&zone, &pattern(1, 2 * unit)).await?;
            let manage = cx.node.manage_zones(op, zone.start, zone.length);
            interrupt(manage, moment).await;
            cx.node.settle().await?;
            let now = cx.zone(zone.start).await?.condition;
            let old = ZoneCondition::ImplicitOpen;
            ensure!(now == old || now == to, "a dropped {op} left the zone {now}");
            if now != ZoneCondition::Empty {
                cx.expect(zone.start, &pattern(1, 2 * unit), "data of that zone").await?;
            }
            cx.expect_zone(
                &zone,
                now,
                if now == ZoneCondition::Empty { 0 } else { 2 * unit },
                "it",
            )
            .await?;
            cx.manage(op, &zone).await?;
            cx.expect_zone(&zone, to, if op == ZoneOp::Reset { 0 } else { 2 * unit }, "again")
                .await?;
        }
    }
    cx.manage(ZoneOp::Reset, &zone).await?;
    cx.append(&zone, &pattern(2, unit)).await?;
    cx.expect(zone.start, &pattern(2, unit), "data after dropped management").await
}

async fn management_of_several_zones(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zones = cx.empty_zones(cx.several()?).await?;
    for moment in MOMENTS {
        for zone in &zones {
            cx.manage(ZoneOp::Reset, zone).await?;
            cx.append(zone, &pattern(zone.start, 2 * unit)).await?;
        }
        interrupt(cx.node.manage_zones(ZoneOp::Reset, 0, cx.node.length()), moment).await;
        cx.node.settle().await?;
        for zone in &zones {
            let now = cx.zone(zone.start).await?;
            if now.condition == ZoneCondition::Empty {
                cx.expect_zone(zone, ZoneCondition::Empty, 0, "a dropped reset").await?;
                cx.expect_unwritten(zone.start, 2 * unit, "a zone that was reset").await?;
            } else {
                let open = ZoneCondition::ImplicitOpen;
                cx.expect_zone(zone, open, 2 * unit, "a dropped reset").await?;
                cx.expect(zone.start, &pattern(zone.start, 2 * unit), "data of a zone").await?;
            }
        }
    }
    Ok(())
}

/// Many tasks on several zones, aborted at any moment.
async fn a_crowd(cx: Cx) -> Outcome {
    let (unit, flags) = (cx.unit(), RequestFlags::empty());
    let zones = cx.empty_zones(cx.several()?).await?;
    let per_zone = (zones[0].capacity / unit / 2 - 1).min(24);
    for round in 0..6 {
        let mut tasks = JoinSet::new();
        for (zone, seed) in zones.iter().flat_map(|z| (0..per_zone).map(move |seed| (*z, seed))) {
            let node = Arc::clone(&cx.node);
            tasks.spawn(async move {
                let data = pattern(zone.start + seed, unit);
                let position = node.append(zone.start, whole(&data), flags).await?;
                Ok::<_, block_core::Error>((position, data))
            });
        }
        tokio::time::sleep(Duration::from_micros(50 * round)).await;
        tasks.abort_all();
        let mut landed = Vec::new();
        while let Some(task) = tasks.join_next().await {
            if let Ok(result) = task {
                landed.push(result?);
            }
        }
        cx.node.settle().await?;
        for (position, data) in landed {
            cx.expect(position, &data, "an append that returned").await?;
        }
        for zone in &zones {
            let now = cx.zone(zone.start).await?;
            let Some(pointer) = now.write_pointer else {
                return failed("a sequential zone has no write pointer");
            };
            for at in (zone.start..pointer).step_by(unit as usize) {
                let found = cx.read(at, unit).await?;
                let known = (0..per_zone).any(|seed| found == pattern(zone.start + seed, unit));
                ensure!(known, "below the write pointer, at {at:#x}, there is data of no append");
            }
            cx.manage(ZoneOp::Reset, zone).await?;
        }
    }
    Ok(())
}
