//! Appends, one at a time.

use crate::cx::Cx;
use crate::foreign::foreign;
use crate::outcome::{Outcome, failed, skip};
use crate::pattern::{ODD, in_pieces, pattern, whole};
use block_core::{ErrorKind, IoVec, RequestFlags, Zone, ZoneCondition, ZoneOp};

cases!("zones_append":
    lands_at_the_pointer,
    follows_writes,
    to_several_zones,
    keeps_an_explicitly_open_zone_so,
    fills_the_zone,
    to_the_smaller_last_zone,
    of_odd_segments_and_foreign_memory,
    with_fua,
    to_a_conventional_zone,
    to_a_full_zone,
    of_more_than_fits,
    never_reaches_the_next_zone,
    after_a_reset,
    misaligned,
    above_the_limit,
);

async fn lands_at_the_pointer(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let mut at = zone.start;
    for count in [1, 2, 5, 1, 3] {
        let data = pattern(at, count * unit);
        ensure_eq!(cx.append(&zone, &data).await?, at, "position of an append");
        cx.expect(at, &data, "appended data").await?;
        at += count * unit;
        let written = at - zone.start;
        cx.expect_zone(&zone, ZoneCondition::ImplicitOpen, written, "after an append").await?;
    }
    Ok(())
}

async fn follows_writes(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    for i in 0..6 {
        let (at, data) = (zone.start + i * unit, pattern(i, unit));
        match i % 2 {
            0 => cx.write(at, &data).await?,
            _ => ensure_eq!(cx.append(&zone, &data).await?, at, "position after a write"),
        }
    }
    for i in 0..6 {
        cx.expect(zone.start + i * unit, &pattern(i, unit), "data of writes and appends").await?;
    }
    Ok(())
}

async fn to_several_zones(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zones = cx.empty_zones(cx.several()?).await?;
    for i in 0..4 {
        for zone in &zones {
            let at = cx.append(zone, &pattern(zone.start + i, unit)).await?;
            ensure_eq!(at, zone.start + i * unit, "position of an append in turn");
        }
    }
    for zone in &zones {
        for i in 0..4 {
            let data = pattern(zone.start + i, unit);
            cx.expect(zone.start + i * unit, &data, "data appended in turn").await?;
        }
    }
    Ok(())
}

async fn keeps_an_explicitly_open_zone_so(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.manage(ZoneOp::Open, &zone).await?;
    cx.append(&zone, &pattern(1, unit)).await?;
    cx.expect_zone(&zone, ZoneCondition::ExplicitOpen, unit, "after an append").await?;
    cx.manage(ZoneOp::Close, &zone).await?;
    cx.append(&zone, &pattern(2, unit)).await?;
    cx.expect_zone(&zone, ZoneCondition::ImplicitOpen, 2 * unit, "after close and append").await
}

/// Appends until the zone is full.
async fn append_all(cx: &Cx, zone: &Zone) -> Outcome {
    let step = (64_u64 << 10).next_multiple_of(cx.unit());
    let mut at = 0;
    while at < zone.capacity {
        let len = step.min(zone.capacity - at);
        let position = cx.append(zone, &pattern(at, len)).await?;
        ensure_eq!(position, zone.start + at, "position of an append");
        at += len;
    }
    cx.expect_zone(zone, ZoneCondition::Full, 0, "appended to its capacity").await?;
    let mut at = 0;
    while at < zone.capacity {
        let len = step.min(zone.capacity - at);
        cx.expect(zone.start + at, &pattern(at, len), "data of a zone that was appended full")
            .await?;
        at += len;
    }
    Ok(())
}

async fn fills_the_zone(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    append_all(&cx, &zone).await
}

async fn to_the_smaller_last_zone(cx: Cx) -> Outcome {
    let (size, zones) = (cx.zoned()?.zone_size, cx.zones().await?);
    let last = zones.last().filter(|z| z.length < size && z.condition == ZoneCondition::Empty);
    let Some(last) = last else {
        return skip("the last zone is not smaller, or not sequential");
    };
    append_all(&cx, last).await?;
    let result = cx.node.append(last.start, whole(&pattern(1, cx.unit())), RequestFlags::empty());
    cx.refused(result.await, &["zone-full"], "an append past the node's end")?;
    cx.manage(ZoneOp::Reset, last).await?;
    cx.expect_zone(last, ZoneCondition::Empty, 0, "after a reset").await
}

async fn of_odd_segments_and_foreign_memory(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let data = pattern(1, 16 * unit);
    let flags = RequestFlags::empty();
    let at = cx.node.append(zone.start, in_pieces(&data, &ODD), flags).await?;
    cx.expect(at, &data, "data appended in odd segments").await?;
    let data = pattern(2, 2 * unit);
    let at = cx.node.append(zone.start, IoVec::from(foreign(&data)), flags).await?;
    ensure_eq!(at, zone.start + 16 * unit, "position");
    cx.expect(at, &data, "data appended from foreign memory").await
}

async fn with_fua(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    for i in 0..3 {
        let bufs = whole(&pattern(i, unit));
        let at = cx.node.append(zone.start, bufs, RequestFlags::FUA).await?;
        ensure_eq!(at, zone.start + i * unit, "position of an FUA append");
        cx.expect(at, &pattern(i, unit), "data of an FUA append").await?;
    }
    Ok(())
}

async fn to_a_conventional_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.conventional_zones().await?[0];
    let before = cx.zones().await?;
    let old = cx.read(zone.start, unit).await?;
    let bufs = whole(&pattern(1, unit));
    let result = cx.node.append(zone.start, bufs, RequestFlags::empty()).await;
    let error = cx.refused(result, &["conventional-zone"], "an append to a conventional zone")?;
    cx.names_zone(&error, &zone)?;
    cx.expect_unchanged(&before, "after a refused append").await?;
    cx.expect(zone.start, &old, "the conventional zone's data").await
}

async fn to_a_full_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.append(&zone, &pattern(1, unit)).await?;
    cx.manage(ZoneOp::Finish, &zone).await?;
    let before = cx.zones().await?;
    let bufs = whole(&pattern(2, unit));
    let result = cx.node.append(zone.start, bufs, RequestFlags::empty()).await;
    let error = cx.refused(result, &["zone-full"], "an append to a full zone")?;
    cx.names_zone(&error, &zone)?;
    if let ErrorKind::ZoneFull { remaining, needed, .. } = error.kind() {
        ensure_eq!((*needed, *remaining), (unit, 0), "needed and remaining in '{error}'");
    }
    cx.expect_unchanged(&before, "after a refused append").await
}

async fn of_more_than_fits(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let most = Zone { capacity: zone.capacity - 2 * unit, ..zone };
    cx.fill(&most, &pattern(1, most.capacity), 0).await?;
    let before = cx.zones().await?;
    let bufs = whole(&pattern(2, 3 * unit));
    let result = cx.node.append(zone.start, bufs, RequestFlags::empty()).await;
    let error = cx.refused(result, &["zone-full"], "an append of more than fits")?;
    cx.names_zone(&error, &zone)?;
    let ErrorKind::ZoneFull { remaining, needed, .. } = error.kind() else {
        return failed("the error has no lengths");
    };
    let expected = (3 * unit, 2 * unit);
    ensure_eq!((*needed, *remaining), expected, "needed and remaining in '{error}'");
    cx.expect_unchanged(&before, "after an append of more than fits").await?;
    let at = cx.append(&zone, &pattern(3, 2 * unit)).await?;
    ensure_eq!(at, zone.start + zone.capacity - 2 * unit, "position of what does fit");
    cx.expect_zone(&zone, ZoneCondition::Full, 0, "after what does fit").await
}

async fn never_reaches_the_next_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zones = cx.idle_zones(2).await?;
    let (zone, next) = (zones[0], zones[1]);
    if zone.end() != next.start {
        return skip("there are no two empty zones side by side");
    }
    let zone_now = cx.empty_zone().await?;
    ensure_eq!(zone_now.start, zone.start, "first empty zone");
    append_all(&cx, &zone).await?;
    for _ in 0..3 {
        let bufs = whole(&pattern(9, unit));
        let result = cx.node.append(zone.start, bufs, RequestFlags::empty()).await;
        cx.refused(result, &["zone-full"], "an append to a full zone")?;
    }
    cx.expect_zone(&next, ZoneCondition::Empty, 0, "next to a full one").await?;
    cx.expect_unwritten(next.start, 4 * unit, "the next zone").await
}

async fn after_a_reset(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    for round in 0..4 {
        for i in 0..3 {
            let at = cx.append(&zone, &pattern(round * 10 + i, unit)).await?;
            ensure_eq!(at, zone.start + i * unit, "position in round {round}");
        }
        cx.manage(ZoneOp::Reset, &zone).await?;
    }
    cx.expect_zone(&zone, ZoneCondition::Empty, 0, "after a reset").await
}

async fn misaligned(cx: Cx) -> Outcome {
    if !cx.profile.zones.checks_alignment {
        return skip("alignment is checked by the backend");
    }
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let before = cx.zones().await?;
    for (start, len) in [(unit, unit), (0, unit / 2), (0, 0), (0, unit + 1)] {
        let bufs = whole(&pattern(1, len));
        let result = cx.node.append(zone.start + start, bufs, RequestFlags::empty()).await;
        cx.refused(result, &["misaligned"], "a misaligned append")?;
    }
    cx.expect_unchanged(&before, "after misaligned appends").await
}

async fn above_the_limit(cx: Cx) -> Outcome {
    let limit = cx.zoned()?.max_append_bytes;
    if limit == 0 || !cx.profile.zones.checks_alignment {
        return skip("there is no append limit, or the backend checks it");
    }
    let zone = cx.empty_zone().await?;
    let before = cx.zones().await?;
    let len = (limit + 1).next_multiple_of(cx.unit());
    let result = cx.node.append(zone.start, whole(&pattern(1, len)), RequestFlags::empty()).await;
    cx.refused(result, &["append-too-large"], "an append above the limit")?;
    cx.expect_unchanged(&before, "after an append above the limit").await
}
