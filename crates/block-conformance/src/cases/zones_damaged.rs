//! Zones that failed: read-only and offline.

use crate::cx::Cx;
use crate::outcome::{Outcome, skip};
use crate::pattern::{pattern, whole};
use block_core::{IoBufMut, RequestFlags, ZoneCondition, ZoneOp};

cases!("zones_damaged":
    a_read_only_zone,
    an_offline_zone,
    a_range_with_a_damaged_zone,
    everything_but_damaged_zones,
);

async fn a_read_only_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    if zone.length == cx.node.length() {
        return skip("the zone is the whole node");
    }
    cx.append(&zone, &pattern(1, 2 * unit)).await?;
    cx.set_condition(&zone, ZoneCondition::ReadOnly).await?;
    cx.expect_zone(&zone, ZoneCondition::ReadOnly, 0, "made read-only").await?;
    let flags = RequestFlags::empty();
    let write = cx.node.write(zone.start + 2 * unit, whole(&pattern(2, unit)), flags).await;
    let error = cx.refused(write, &["zone-read-only"], "a write to a read-only zone")?;
    cx.names_zone(&error, &zone)?;
    let append = cx.node.append(zone.start, whole(&pattern(2, unit)), flags).await;
    cx.refused(append, &["zone-read-only"], "an append to a read-only zone")?;
    for op in ZoneOp::ALL {
        let result = cx.node.manage_zones(op, zone.start, zone.length).await;
        cx.refused(result, &["zone-read-only"], &format!("{op} of a read-only zone"))?;
    }
    cx.expect_zone(&zone, ZoneCondition::ReadOnly, 0, "after refusals").await?;
    cx.expect(zone.start, &pattern(1, 2 * unit), "data of a read-only zone").await
}

async fn an_offline_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    if zone.length == cx.node.length() {
        return skip("the zone is the whole node");
    }
    cx.append(&zone, &pattern(1, 2 * unit)).await?;
    cx.set_condition(&zone, ZoneCondition::Offline).await?;
    cx.expect_zone(&zone, ZoneCondition::Offline, 0, "made offline").await?;
    let read = cx.node.read(zone.start, IoBufMut::zeroed(unit as usize).into()).await;
    let error = cx.refused(read, &["zone-offline"], "a read of an offline zone")?;
    cx.names_zone(&error, &zone)?;
    let flags = RequestFlags::empty();
    let write = cx.node.write(zone.start + 2 * unit, whole(&pattern(2, unit)), flags).await;
    cx.refused(write, &["zone-offline"], "a write to an offline zone")?;
    let append = cx.node.append(zone.start, whole(&pattern(2, unit)), flags).await;
    cx.refused(append, &["zone-offline"], "an append to an offline zone")?;
    for op in ZoneOp::ALL {
        let result = cx.node.manage_zones(op, zone.start, zone.length).await;
        cx.refused(result, &["zone-offline"], &format!("{op} of an offline zone"))?;
    }
    cx.expect_zone(&zone, ZoneCondition::Offline, 0, "after refusals").await
}

async fn a_range_with_a_damaged_zone(cx: Cx) -> Outcome {
    let zones = cx.empty_zones(3).await?;
    if zones.windows(2).any(|pair| pair[0].end() != pair[1].start) {
        return skip("the empty zones are not side by side");
    }
    let len = zones.iter().map(|z| z.length).sum();
    if len == cx.node.length() {
        return skip("the three zones are the whole node");
    }
    cx.append(&zones[0], &pattern(1, cx.unit())).await?;
    for (damage, kind) in
        [(ZoneCondition::ReadOnly, "zone-read-only"), (ZoneCondition::Offline, "zone-offline")]
    {
        cx.set_condition(&zones[1], damage).await?;
        let before = cx.zones().await?;
        for op in ZoneOp::ALL {
            let result = cx.node.manage_zones(op, zones[0].start, len).await;
            let what = format!("{op} of a range with a zone that is {damage}");
            let error = cx.refused(result, &[kind], &what)?;
            cx.names_zone(&error, &zones[1])?;
            if cx.profile.zones.all_or_nothing {
                cx.expect_unchanged(&before, &what).await?;
            }
        }
    }
    Ok(())
}

async fn everything_but_damaged_zones(cx: Cx) -> Outcome {
    let zones = cx.idle_zones(3).await?;
    cx.append(&zones[2], &pattern(1, cx.unit())).await?;
    cx.set_condition(&zones[0], ZoneCondition::ReadOnly).await?;
    cx.set_condition(&zones[1], ZoneCondition::Offline).await?;
    for (op, to) in [(ZoneOp::Finish, ZoneCondition::Full), (ZoneOp::Reset, ZoneCondition::Empty)] {
        cx.node.manage_zones(op, 0, cx.node.length()).await?;
        let what = format!("{op} of everything");
        cx.expect_zone(&zones[0], ZoneCondition::ReadOnly, 0, &what).await?;
        cx.expect_zone(&zones[1], ZoneCondition::Offline, 0, &what).await?;
        cx.expect_zone(&zones[2], to, 0, &what).await?;
    }
    Ok(())
}
