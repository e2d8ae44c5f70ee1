//! The limits of open and active zones.

use crate::cx::Cx;
use crate::outcome::{Outcome, failed, skip};
use crate::pattern::{pattern, whole};
use block_core::{ErrorKind, RequestFlags, Zone, ZoneCondition, ZoneOp};

cases!("zones_resources":
    more_explicitly_open_zones_than_allowed,
    a_write_where_all_open_zones_are_explicit,
    implicitly_open_zones_make_room,
    the_longest_unwritten_zone_makes_room,
    more_active_zones_than_allowed,
    what_gives_resources_back,
);

/// As many empty zones as may be open, and one more; and the limit.
async fn one_more_than_open(cx: &Cx) -> Outcome<(Vec<Zone>, Zone, u32)> {
    let zoned = cx.zoned()?;
    let (open, active) = (zoned.max_open_zones, zoned.max_active_zones);
    if open == 0 || (active != 0 && active <= open) {
        return skip("there is no limit of open zones below that of active ones");
    }
    let mut zones = cx.idle_zones(open as usize + 1).await?;
    match zones.pop() {
        Some(last) => Ok((zones, last, open)),
        None => skip("no zones"),
    }
}

/// As many empty zones as may be active, and one more; and the limit.
async fn one_more_than_active(cx: &Cx) -> Outcome<(Vec<Zone>, Zone, u32)> {
    let limit = cx.zoned()?.max_active_zones;
    if limit == 0 {
        return skip("there is no limit of active zones");
    }
    let mut zones = cx.idle_zones(limit as usize + 1).await?;
    match zones.pop() {
        Some(last) => Ok((zones, last, limit)),
        None => skip("no zones"),
    }
}

async fn more_explicitly_open_zones_than_allowed(cx: Cx) -> Outcome {
    let (zones, last, allowed) = one_more_than_open(&cx).await?;
    for zone in &zones {
        cx.manage(ZoneOp::Open, zone).await?;
    }
    let before = cx.zones().await?;
    let result = cx.node.manage_zones(ZoneOp::Open, last.start, last.length).await;
    let error = cx.refused(result, &["too-many-open"], "one more open than allowed")?;
    cx.names_zone(&error, &last)?;
    if let ErrorKind::TooManyOpen { limit, .. } = error.kind() {
        ensure_eq!(*limit, allowed, "limit in '{error}'");
    }
    cx.expect_unchanged(&before, "after a refused open").await?;
    cx.manage(ZoneOp::Open, &zones[0]).await // needs nothing more
}

async fn a_write_where_all_open_zones_are_explicit(cx: Cx) -> Outcome {
    let (zones, last, _) = one_more_than_open(&cx).await?;
    for zone in &zones {
        cx.manage(ZoneOp::Open, zone).await?;
    }
    let before = cx.zones().await?;
    let (flags, data) = (RequestFlags::empty(), pattern(1, cx.unit()));
    let write = cx.node.write(last.start, whole(&data), flags).await;
    cx.refused(write, &["too-many-open"], "a write to one more zone")?;
    let append = cx.node.append(last.start, whole(&data), flags).await;
    let error = cx.refused(append, &["too-many-open"], "an append to one more zone")?;
    cx.names_zone(&error, &last)?;
    cx.expect_unchanged(&before, "after refused writes").await?;
    cx.expect_unwritten(last.start, cx.unit(), "after refused writes").await?;
    cx.append(&zones[0], &data).await?;
    Ok(())
}

async fn implicitly_open_zones_make_room(cx: Cx) -> Outcome {
    let (zones, last, limit) = one_more_than_open(&cx).await?;
    let unit = cx.unit();
    for zone in &zones {
        cx.append(zone, &pattern(zone.start, unit)).await?;
    }
    let (bufs, flags) = (whole(&pattern(1, unit)), RequestFlags::empty());
    let result = cx.node.append(last.start, bufs, flags).await;
    if !cx.profile.zones.closes_implicitly {
        cx.refused(result, &["too-many-open"], "an append to one more zone")?;
        return Ok(());
    }
    result?;
    let now = cx.zones().await?;
    let open = now.iter().filter(|z| z.condition.is_open()).count();
    ensure!(open <= limit as usize, "{open} zones are open where {limit} may be");
    cx.expect_zone(&last, ZoneCondition::ImplicitOpen, unit, "the last written").await?;
    for zone in &zones {
        let at = cx.append(zone, &pattern(2, unit)).await?;
        ensure_eq!(at, zone.start + unit, "position in a zone that made room");
        cx.expect(zone.start, &pattern(zone.start, unit), "data that made room").await?;
    }
    Ok(())
}

async fn the_longest_unwritten_zone_makes_room(cx: Cx) -> Outcome {
    let (zones, last, _) = one_more_than_open(&cx).await?;
    if zones.len() < 2 || !cx.profile.zones.closes_implicitly {
        return skip("only one zone may be open, or none is closed implicitly");
    }
    let unit = cx.unit();
    for zone in &zones {
        cx.append(zone, &pattern(1, unit)).await?;
    }
    // The first one is written again, so the second one has to go.
    cx.append(&zones[0], &pattern(2, unit)).await?;
    cx.append(&last, &pattern(1, unit)).await?;
    cx.expect_zone(&zones[1], ZoneCondition::Closed, unit, "the longest unwritten").await?;
    cx.expect_zone(&zones[0], ZoneCondition::ImplicitOpen, 2 * unit, "written again").await
}

async fn more_active_zones_than_allowed(cx: Cx) -> Outcome {
    let (zones, last, allowed) = one_more_than_active(&cx).await?;
    let (unit, flags) = (cx.unit(), RequestFlags::empty());
    for zone in &zones {
        cx.append(zone, &pattern(1, unit)).await?;
        cx.manage(ZoneOp::Close, zone).await?;
    }
    let before = cx.zones().await?;
    let append = cx.node.append(last.start, whole(&pattern(1, unit)), flags).await;
    let error = cx.refused(append, &["too-many-active"], "an append to one more zone")?;
    cx.names_zone(&error, &last)?;
    if let ErrorKind::TooManyActive { limit, .. } = error.kind() {
        ensure_eq!(*limit, allowed, "limit in '{error}'");
    }
    let write = cx.node.write(last.start, whole(&pattern(1, unit)), flags).await;
    cx.refused(write, &["too-many-active"], "a write to one more zone")?;
    let open = cx.node.manage_zones(ZoneOp::Open, last.start, last.length).await;
    cx.refused(open, &["too-many-active"], "open of one more zone")?;
    cx.expect_unchanged(&before, "after refusals").await?;
    cx.append(&zones[0], &pattern(2, unit)).await?; // active already
    Ok(())
}

async fn what_gives_resources_back(cx: Cx) -> Outcome {
    let (zones, last, _) = one_more_than_active(&cx).await?;
    let unit = cx.unit();
    for give_back in ["finish", "reset", "filling it"] {
        cx.node.manage_zones(ZoneOp::Reset, 0, cx.node.length()).await?;
        for zone in &zones {
            cx.append(zone, &pattern(1, unit)).await?;
            cx.manage(ZoneOp::Close, zone).await?;
        }
        match give_back {
            "finish" => cx.manage(ZoneOp::Finish, &zones[0]).await?,
            "reset" => cx.manage(ZoneOp::Reset, &zones[0]).await?,
            _ if zones[0].capacity > 64 << 20 => continue,
            _ => cx.fill(&zones[0], &pattern(1, zones[0].capacity), unit).await?,
        }
        if let Err(e) = cx.append(&last, &pattern(2, unit)).await {
            return failed(format!("{give_back} did not give back an active resource: {e:?}"));
        }
    }
    Ok(())
}
