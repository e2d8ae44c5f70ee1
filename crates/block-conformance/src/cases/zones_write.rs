//! Writes to zones: at the pointer, and everywhere else.

use crate::cx::Cx;
use crate::outcome::{Outcome, failed, skip};
use crate::pattern::{pattern, whole};
use block_core::{ErrorKind, RequestFlags, ZoneCondition, ZoneOp};

cases!("zones_write":
    a_write_opens_implicitly_and_moves_the_pointer,
    a_write_keeps_an_explicitly_open_zone_so,
    a_write_opens_a_closed_zone,
    the_capacity_fills_the_zone,
    several_zones_in_turn,
    off_the_pointer,
    across_the_capacity,
    across_the_zone_end,
    above_the_capacity,
    to_a_full_zone,
    a_refused_write_leaves_no_trace,
    conventional_zones_take_writes_anywhere,
    from_a_conventional_into_a_sequential_zone,
    zeroes_move_the_pointer_or_are_refused,
    zeroes_off_the_pointer,
    discard_leaves_the_pointer,
);

async fn a_write_opens_implicitly_and_moves_the_pointer(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    for (i, count) in [1, 3, 1, 4].into_iter().enumerate() {
        let at = [0, 1, 4, 5][i] * unit;
        cx.write(zone.start + at, &pattern(at, count * unit)).await?;
        let written = at + count * unit;
        cx.expect_zone(&zone, ZoneCondition::ImplicitOpen, written, "after a write").await?;
        cx.expect(zone.start + at, &pattern(at, count * unit), "data at the pointer").await?;
    }
    Ok(())
}

async fn a_write_keeps_an_explicitly_open_zone_so(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.manage(ZoneOp::Open, &zone).await?;
    cx.write(zone.start, &pattern(1, unit)).await?;
    cx.expect_zone(&zone, ZoneCondition::ExplicitOpen, unit, "after a write").await
}

async fn a_write_opens_a_closed_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.write(zone.start, &pattern(1, unit)).await?;
    cx.manage(ZoneOp::Close, &zone).await?;
    cx.write(zone.start + unit, &pattern(2, unit)).await?;
    cx.expect_zone(&zone, ZoneCondition::ImplicitOpen, 2 * unit, "after a write").await?;
    cx.expect(zone.start, &pattern(1, unit), "data before the close").await
}

async fn the_capacity_fills_the_zone(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    let data = pattern(1, zone.capacity);
    cx.fill(&zone, &data, 0).await?;
    cx.expect_zone(&zone, ZoneCondition::Full, 0, "written to its capacity").await?;
    cx.expect(zone.start, &data, "a full zone's data").await
}

async fn several_zones_in_turn(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zones = cx.empty_zones(cx.several()?).await?;
    for round in 0..4 {
        for zone in &zones {
            let data = pattern(zone.start + round, 2 * unit);
            cx.write(zone.start + round * 2 * unit, &data).await?;
        }
    }
    for zone in &zones {
        cx.expect_zone(zone, ZoneCondition::ImplicitOpen, 8 * unit, "written in turn").await?;
        for round in 0..4 {
            let data = pattern(zone.start + round, 2 * unit);
            cx.expect(zone.start + round * 2 * unit, &data, "data written in turn").await?;
        }
    }
    Ok(())
}

async fn off_the_pointer(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let data = pattern(1, 2 * unit);
    cx.write(zone.start, &data).await?;
    let before = cx.zones().await?;
    for offset in [0, unit, 3 * unit, 8 * unit] {
        let bufs = whole(&pattern(9, unit));
        let given = zone.start + offset;
        let result = cx.node.write(given, bufs, RequestFlags::empty()).await;
        let error = cx.refused(result, &["write-pointer-mismatch"], "a write off the pointer")?;
        cx.names_zone(&error, &zone)?;
        let shift = cx.profile.error_offset;
        let ErrorKind::WritePointerMismatch { expected, given: named, .. } = error.kind() else {
            return failed("the error has no positions");
        };
        ensure_eq!(
            (*expected, *named),
            (zone.start + 2 * unit + shift, given + shift),
            "expected and given position in '{error}'"
        );
        cx.expect_unchanged(&before, "after a write off the pointer").await?;
    }
    cx.expect(zone.start, &data, "data after writes off the pointer").await?;
    cx.expect_unwritten(zone.start + 2 * unit, 8 * unit, "above the pointer").await
}

async fn across_the_capacity(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let data = pattern(1, zone.capacity);
    for piece in 0..(zone.capacity / unit - 1).div_ceil(64) {
        let (from, to) = (piece * 64 * unit, ((piece + 1) * 64 * unit).min(zone.capacity - unit));
        cx.write(zone.start + from, &data[from as usize..to as usize]).await?;
    }
    if zone.length - (zone.capacity - unit) < 2 * unit && cx.node.length() == zone.end() {
        return skip("the zone ends where the node does");
    }
    let before = cx.zones().await?;
    let bufs = whole(&pattern(2, 2 * unit));
    let at = zone.start + zone.capacity - unit;
    let result = cx.node.write(at, bufs, RequestFlags::empty()).await;
    let error = cx.refused(result, &["zone-boundary"], "a write across the capacity")?;
    cx.names_zone(&error, &zone)?;
    if let ErrorKind::ZoneBoundary { boundary, .. } = error.kind() {
        let expected = zone.start + zone.capacity + cx.profile.error_offset;
        ensure_eq!(*boundary, expected, "boundary in '{error}'");
    }
    cx.expect_unchanged(&before, "after a write across the capacity").await?;
    cx.write(at, &data[data.len() - unit as usize..]).await?;
    cx.expect_zone(&zone, ZoneCondition::Full, 0, "with its last block").await
}

async fn across_the_zone_end(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    if cx.node.length() < zone.end() + unit {
        return skip("there is no zone behind");
    }
    let before = cx.zones().await?;
    let bufs = whole(&pattern(1, zone.length + unit));
    let result = cx.node.write(zone.start, bufs, RequestFlags::empty()).await;
    let error = cx.refused(result, &["zone-boundary"], "a write across two zones")?;
    cx.names_zone(&error, &zone)?;
    cx.expect_unchanged(&before, "after a write across two zones").await
}

async fn above_the_capacity(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    if zone.capacity == zone.length {
        return skip("the capacity is the whole zone");
    }
    let kinds = ["write-pointer-mismatch", "zone-boundary", "zone-full"];
    for filled in [false, true] {
        if filled {
            cx.fill(&zone, &pattern(1, zone.capacity), 0).await?;
        }
        let before = cx.zones().await?;
        let bufs = whole(&pattern(1, unit));
        let at = zone.start + zone.capacity;
        let result = cx.node.write(at, bufs, RequestFlags::empty()).await;
        cx.refused(result, &kinds, "a write above the capacity")?;
        cx.expect_unchanged(&before, "after a write above the capacity").await?;
    }
    Ok(())
}

async fn to_a_full_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.append(&zone, &pattern(1, unit)).await?;
    cx.manage(ZoneOp::Finish, &zone).await?;
    let before = cx.zones().await?;
    for at in [zone.start, zone.start + unit] {
        let result = cx.node.write(at, whole(&pattern(2, unit)), RequestFlags::empty()).await;
        let error = cx.refused(result, &["zone-full"], "a write to a full zone")?;
        cx.names_zone(&error, &zone)?;
    }
    cx.expect_unchanged(&before, "after a write to a full zone").await?;
    cx.expect(zone.start, &pattern(1, unit), "a full zone's data").await
}

async fn a_refused_write_leaves_no_trace(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let result =
        cx.node.write(zone.start + unit, whole(&pattern(1, unit)), RequestFlags::FUA).await;
    cx.refused(result, &["write-pointer-mismatch"], "a write ahead of the pointer")?;
    cx.expect_zone(&zone, ZoneCondition::Empty, 0, "after a refused first write").await?;
    cx.expect_unwritten(zone.start, 4 * unit, "where nothing was written").await?;
    cx.write(zone.start, &pattern(2, 2 * unit)).await?;
    cx.expect(zone.start, &pattern(2, 2 * unit), "data after a refused write").await
}

async fn conventional_zones_take_writes_anywhere(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zones = cx.conventional_zones().await?;
    let before = cx.zones().await?;
    for zone in &zones {
        for at in [zone.length - unit, 0, zone.length / 2 / unit * unit, 0] {
            let data = pattern(zone.start + at, unit);
            cx.write(zone.start + at, &data).await?;
            cx.expect(zone.start + at, &data, "data in a conventional zone").await?;
        }
    }
    for pair in zones.windows(2).filter(|p| p[0].end() == p[1].start) {
        let at = pair[1].start - unit;
        cx.write(at, &pattern(7, 2 * unit)).await?;
        cx.expect(at, &pattern(7, 2 * unit), "data across conventional zones").await?;
    }
    cx.expect_unchanged(&before, "after writes to conventional zones").await
}

async fn from_a_conventional_into_a_sequential_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let last = cx.conventional_zones().await?.pop();
    let before = cx.zones().await?;
    let behind = last.and_then(|l| before.iter().find(|z| z.start == l.end()));
    let Some(behind) = behind.filter(|z| z.condition == ZoneCondition::Empty) else {
        return skip("there is no sequential zone behind a conventional one");
    };
    let at = behind.start - unit;
    let old = cx.read(at, unit).await?;
    let result = cx.node.write(at, whole(&pattern(1, 2 * unit)), RequestFlags::empty()).await;
    cx.refused(result, &["zone-boundary"], "a write from a conventional into a sequential zone")?;
    cx.expect_unchanged(&before, "after that write").await?;
    cx.expect(at, &old, "the conventional zone's last block").await
}

async fn zeroes_move_the_pointer_or_are_refused(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.write(zone.start, &pattern(1, unit)).await?;
    let flags = RequestFlags::empty();
    match cx.node.write_zeroes(zone.start + unit, 3 * unit, flags).await {
        Ok(()) => {
            let open = ZoneCondition::ImplicitOpen;
            cx.expect_zone(&zone, open, 4 * unit, "after write-zeroes").await?;
            cx.expect_zeroes(zone.start + unit, 3 * unit, "written zeroes").await?;
        }
        Err(error) => {
            cx.refused::<()>(Err(error), &["unsupported"], "write-zeroes at the pointer")?;
            cx.expect_zone(&zone, ZoneCondition::ImplicitOpen, unit, "after a refusal").await?;
        }
    }
    let pointer = cx.zone(zone.start).await?.write_pointer.unwrap_or(zone.start);
    cx.write(pointer, &pattern(2, unit)).await?;
    cx.expect(pointer, &pattern(2, unit), "data after write-zeroes").await
}

async fn zeroes_off_the_pointer(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.write(zone.start, &pattern(1, 2 * unit)).await?;
    let before = cx.zones().await?;
    for at in [zone.start, zone.start + 4 * unit] {
        let result = cx.node.write_zeroes(at, unit, RequestFlags::empty()).await;
        let kinds = ["write-pointer-mismatch", "unsupported"];
        cx.refused(result, &kinds, "write-zeroes off the pointer")?;
    }
    cx.expect_unchanged(&before, "after write-zeroes off the pointer").await?;
    cx.expect(zone.start, &pattern(1, 2 * unit), "data under refused zeroes").await
}

async fn discard_leaves_the_pointer(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.write(zone.start, &pattern(1, 4 * unit)).await?;
    let before = cx.zones().await?;
    // Whether it does anything is left open; zones it leaves as they are.
    let _ = cx.node.discard(zone.start, 2 * unit).await;
    cx.expect_unchanged(&before, "after a discard").await?;
    let rest = &pattern(1, 4 * unit)[2 * unit as usize..];
    cx.expect(zone.start + 2 * unit, rest, "data behind a discard").await
}
