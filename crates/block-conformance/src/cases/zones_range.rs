//! Management of several zones: as a whole or not at all.

use crate::cx::Cx;
use crate::outcome::{Outcome, skip};
use crate::pattern::pattern;
use block_core::{Zone, ZoneCondition, ZoneOp, ZoneType};

cases!("zones_range":
    several_zones,
    a_range_to_the_end,
    a_conventional_zone_alone,
    a_conventional_zone_in_a_range,
    a_full_zone_in_an_open_range,
    reset_of_everything,
    finish_of_everything,
    close_of_everything,
    open_of_everything_is_all_or_nothing,
    requests_at_once,
);

/// `count` empty zones side by side.
async fn neighbours(cx: &Cx, count: usize) -> Outcome<Vec<Zone>> {
    let zones = cx.empty_zones(count).await?;
    if zones.windows(2).any(|pair| pair[0].end() != pair[1].start) {
        return skip("the empty zones are not side by side");
    }
    Ok(zones)
}

async fn several_zones(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zones = neighbours(&cx, cx.several()?).await?;
    let len = zones.iter().map(|z| z.length).sum();
    for (op, to, written) in [
        (ZoneOp::Open, ZoneCondition::ExplicitOpen, unit),
        (ZoneOp::Close, ZoneCondition::Closed, unit),
        (ZoneOp::Finish, ZoneCondition::Full, 0),
        (ZoneOp::Reset, ZoneCondition::Empty, 0),
    ] {
        if op == ZoneOp::Open {
            for zone in &zones {
                cx.append(zone, &pattern(1, unit)).await?;
            }
        }
        cx.node.manage_zones(op, zones[0].start, len).await?;
        for zone in &zones {
            cx.expect_zone(zone, to, written, &format!("{op} of several zones")).await?;
        }
    }
    for zone in &zones {
        cx.expect_unwritten(zone.start, 2 * unit, "several zones after a reset").await?;
    }
    Ok(())
}

async fn a_range_to_the_end(cx: Cx) -> Outcome {
    let zones = cx.zones().await?;
    let rest = &zones[zones.len().saturating_sub(2)..];
    if rest.len() < 2 || rest.iter().any(|z| z.condition != ZoneCondition::Empty) {
        return skip("the last two zones are not sequential");
    }
    cx.empty_zones(2).await?; // as many are active at once
    for zone in rest {
        cx.append(zone, &pattern(1, cx.unit())).await?;
    }
    let (start, len) = (rest[0].start, cx.node.length() - rest[0].start);
    cx.node.manage_zones(ZoneOp::Finish, start, len).await?;
    for zone in rest {
        cx.expect_zone(zone, ZoneCondition::Full, 0, "finish up to the end").await?;
    }
    cx.node.manage_zones(ZoneOp::Reset, start, len).await?;
    for zone in rest {
        cx.expect_zone(zone, ZoneCondition::Empty, 0, "reset up to the end").await?;
    }
    Ok(())
}

async fn a_conventional_zone_alone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.conventional_zones().await?[0];
    if zone.length == cx.node.length() {
        return skip("the conventional zone is the whole node");
    }
    cx.write(zone.start, &pattern(1, unit)).await?;
    let before = cx.zones().await?;
    for op in ZoneOp::ALL {
        let result = cx.node.manage_zones(op, zone.start, zone.length).await;
        let what = format!("{op} of a conventional zone");
        let error = cx.refused(result, &["conventional-zone"], &what)?;
        cx.names_zone(&error, &zone)?;
    }
    cx.expect_unchanged(&before, "after management of a conventional zone").await?;
    cx.expect(zone.start, &pattern(1, unit), "data of a conventional zone").await
}

async fn a_conventional_zone_in_a_range(cx: Cx) -> Outcome {
    let unit = cx.unit();
    cx.conventional_zones().await?;
    let zones = cx.zones().await?;
    let pair = zones.windows(2).find(|pair| {
        (pair[0].zone_type == ZoneType::Conventional)
            != (pair[1].zone_type == ZoneType::Conventional)
    });
    let Some(&[first, second]) = pair else {
        return skip("no conventional zone is beside a sequential one");
    };
    let (conventional, sequential) = match first.zone_type {
        ZoneType::Conventional => (first, second),
        _ => (second, first),
    };
    let len = first.length + second.length;
    if len == cx.node.length() {
        return skip("the two zones are the whole node");
    }
    cx.append(&sequential, &pattern(1, unit)).await?;
    let before = cx.zones().await?;
    for op in ZoneOp::ALL {
        let result = cx.node.manage_zones(op, first.start, len).await;
        let what = format!("{op} of a range with a conventional zone");
        let error = cx.refused(result, &["conventional-zone"], &what)?;
        cx.names_zone(&error, &conventional)?;
        if cx.profile.zones.all_or_nothing {
            cx.expect_unchanged(&before, &what).await?;
        }
    }
    Ok(())
}

async fn a_full_zone_in_an_open_range(cx: Cx) -> Outcome {
    let zones = neighbours(&cx, 3).await?;
    let len = zones.iter().map(|z| z.length).sum();
    cx.manage(ZoneOp::Finish, &zones[2]).await?;
    let before = cx.zones().await?;
    let result = cx.node.manage_zones(ZoneOp::Open, zones[0].start, len).await;
    let error = cx.refused(result, &["zone-full"], "open of a range with a full zone")?;
    cx.names_zone(&error, &zones[2])?;
    if cx.profile.zones.all_or_nothing {
        cx.expect_unchanged(&before, "open of a range with a full zone").await?;
    }
    Ok(())
}

/// Some data in conventional zones and in a sequential one, then an operation on the whole node.
async fn everything(cx: &Cx, op: ZoneOp) -> Outcome<Zone> {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.append(&zone, &pattern(2, 2 * unit)).await?;
    let conventional = cx.conventional_zones().await.unwrap_or_default();
    for zone in &conventional {
        cx.write(zone.start, &pattern(1, unit)).await?;
    }
    cx.node.manage_zones(op, 0, cx.node.length()).await?;
    for zone in &conventional {
        cx.expect(zone.start, &pattern(1, unit), "conventional data").await?;
        cx.expect_zone(zone, ZoneCondition::NotWritePointer, 0, "conventional zone").await?;
    }
    Ok(zone)
}

async fn reset_of_everything(cx: Cx) -> Outcome {
    let before = cx.zones().await?;
    let zone = everything(&cx, ZoneOp::Reset).await?;
    cx.expect_unchanged(&before, "reset of everything").await?;
    cx.expect_unwritten(zone.start, 4 * cx.unit(), "after a reset of everything").await
}

async fn finish_of_everything(cx: Cx) -> Outcome {
    let zone = everything(&cx, ZoneOp::Finish).await?;
    for zone in cx.zones().await? {
        if zone.zone_type != ZoneType::Conventional {
            cx.expect_zone(&zone, ZoneCondition::Full, 0, "finish of everything").await?;
        }
    }
    cx.expect(zone.start, &pattern(2, 2 * cx.unit()), "data of a finished zone").await
}

async fn close_of_everything(cx: Cx) -> Outcome {
    if cx.profile.zones.close_of_empty_is_error {
        return skip("close of empty zones is an error");
    }
    let zone = everything(&cx, ZoneOp::Close).await?;
    let written = 2 * cx.unit();
    cx.expect_zone(&zone, ZoneCondition::Closed, written, "close of everything").await?;
    for other in cx.zones().await?.iter().filter(|z| z.start != zone.start) {
        let conventional = other.zone_type == ZoneType::Conventional;
        let untouched = conventional || other.condition == ZoneCondition::Empty;
        ensure!(untouched, "close of everything changed {other:?}");
    }
    Ok(())
}

async fn open_of_everything_is_all_or_nothing(cx: Cx) -> Outcome {
    let zoned = cx.zoned()?;
    let before = cx.zones().await?;
    let sequential = before.iter().filter(|z| z.zone_type != ZoneType::Conventional).count() as u32;
    let above = |limit: u32| limit != 0 && sequential > limit;
    let result = cx.node.manage_zones(ZoneOp::Open, 0, cx.node.length()).await;
    if above(zoned.max_open_zones) || above(zoned.max_active_zones) {
        let kinds = ["too-many-open", "too-many-active"];
        cx.refused(result, &kinds, "open of more zones than may be open")?;
        if cx.profile.zones.all_or_nothing {
            cx.expect_unchanged(&before, "a refused open of everything").await?;
        }
        return Ok(());
    }
    result?;
    for zone in before.iter().filter(|z| z.zone_type != ZoneType::Conventional) {
        cx.expect_zone(zone, ZoneCondition::ExplicitOpen, 0, "open of everything").await?;
    }
    Ok(())
}

async fn requests_at_once(cx: Cx) -> Outcome {
    let zones = cx.empty_zones(cx.several()?).await?;
    let cx = std::sync::Arc::new(cx);
    let mut tasks = tokio::task::JoinSet::new();
    for zone in zones {
        let cx = std::sync::Arc::clone(&cx);
        tasks.spawn(async move {
            for _ in 0..8 {
                cx.manage(ZoneOp::Open, &zone).await?;
                let at = cx.append(&zone, &pattern(zone.start, cx.unit())).await?;
                ensure_eq!(at, zone.start, "position in a zone that one task manages");
                cx.manage(ZoneOp::Finish, &zone).await?;
                cx.expect_zone(&zone, ZoneCondition::Full, 0, "one task's zone").await?;
                cx.manage(ZoneOp::Reset, &zone).await?;
                cx.expect_zone(&zone, ZoneCondition::Empty, 0, "one task's zone").await?;
            }
            Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect()
}
