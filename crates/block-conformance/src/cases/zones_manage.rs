//! Management of one zone: every operation in every condition.

use crate::cx::Cx;
use crate::outcome::{Outcome, skip};
use crate::pattern::pattern;
use block_core::{Zone, ZoneCondition, ZoneOp};

cases!("zones_manage":
    open,
    open_of_a_full_zone,
    close,
    finish,
    reset,
    a_whole_life,
    the_smaller_last_zone,
    other_zones_are_untouched,
);

/// The conditions from which a host can ask for something, and how to get there.
const FROM: [ZoneCondition; 5] = [
    ZoneCondition::Empty,
    ZoneCondition::ImplicitOpen,
    ZoneCondition::ExplicitOpen,
    ZoneCondition::Closed,
    ZoneCondition::Full,
];

/// Brings an empty zone into a condition with `written` bytes of data (none if it is empty).
async fn bring(cx: &Cx, zone: &Zone, to: ZoneCondition) -> Outcome<u64> {
    let written = 2 * cx.unit();
    if to == ZoneCondition::Empty {
        return Ok(0);
    }
    cx.append(zone, &pattern(1, written)).await?;
    match to {
        ZoneCondition::ExplicitOpen => cx.manage(ZoneOp::Open, zone).await?,
        ZoneCondition::Closed => cx.manage(ZoneOp::Close, zone).await?,
        ZoneCondition::Full => cx.manage(ZoneOp::Finish, zone).await?,
        _ => {}
    }
    cx.expect_zone(zone, to, written, "on the way").await?;
    Ok(written)
}

async fn expect_data(cx: &Cx, zone: &Zone, written: u64) -> Outcome {
    cx.expect(zone.start, &pattern(1, written), "data of a managed zone").await?;
    cx.expect_unwritten(zone.start + written, cx.unit(), "above it").await
}

async fn open(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    for from in FROM {
        if from == ZoneCondition::Full {
            continue;
        }
        let written = bring(&cx, &zone, from).await?;
        for _ in 0..2 {
            cx.manage(ZoneOp::Open, &zone).await?;
            let what = format!("open of a zone that was {from}");
            cx.expect_zone(&zone, ZoneCondition::ExplicitOpen, written, &what).await?;
        }
        expect_data(&cx, &zone, written).await?;
        cx.manage(ZoneOp::Reset, &zone).await?;
    }
    Ok(())
}

async fn open_of_a_full_zone(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    let written = bring(&cx, &zone, ZoneCondition::Full).await?;
    let result = cx.node.manage_zones(ZoneOp::Open, zone.start, zone.length).await;
    let error = cx.refused(result, &["zone-full"], "open of a full zone")?;
    cx.names_zone(&error, &zone)?;
    cx.expect_zone(&zone, ZoneCondition::Full, 0, "after a refused open").await?;
    expect_data(&cx, &zone, written).await
}

async fn close(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    for from in FROM {
        let written = bring(&cx, &zone, from).await?;
        let habits = &cx.profile.zones;
        let (to, is_error) = match from {
            ZoneCondition::Empty => (from, habits.close_of_empty_is_error),
            ZoneCondition::Full => (from, habits.close_of_full_is_error),
            _ => (ZoneCondition::Closed, false),
        };
        for _ in 0..2 {
            let result = cx.node.manage_zones(ZoneOp::Close, zone.start, zone.length).await;
            ensure_eq!(result.is_err(), is_error, "whether close of a {from} zone is an error");
            let what = format!("close of a zone that was {from}");
            cx.expect_zone(&zone, to, written, &what).await?;
        }
        expect_data(&cx, &zone, written).await?;
        cx.manage(ZoneOp::Reset, &zone).await?;
    }
    // Opened and never written: nothing is left to be closed.
    cx.manage(ZoneOp::Open, &zone).await?;
    cx.manage(ZoneOp::Close, &zone).await?;
    cx.expect_zone(&zone, ZoneCondition::Empty, 0, "close of an untouched open zone").await
}

async fn finish(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    for from in FROM {
        let written = bring(&cx, &zone, from).await?;
        for _ in 0..2 {
            cx.manage(ZoneOp::Finish, &zone).await?;
            let what = format!("finish of a zone that was {from}");
            cx.expect_zone(&zone, ZoneCondition::Full, 0, &what).await?;
        }
        expect_data(&cx, &zone, written).await?;
        cx.manage(ZoneOp::Reset, &zone).await?;
    }
    Ok(())
}

async fn reset(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    for from in FROM {
        let written = bring(&cx, &zone, from).await?;
        for _ in 0..2 {
            cx.manage(ZoneOp::Reset, &zone).await?;
            let what = format!("reset of a zone that was {from}");
            cx.expect_zone(&zone, ZoneCondition::Empty, 0, &what).await?;
        }
        cx.expect_unwritten(zone.start, written + cx.unit(), "a reset zone").await?;
    }
    Ok(())
}

async fn a_whole_life(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    for round in 0..3 {
        let data = pattern(round, zone.capacity);
        cx.manage(ZoneOp::Open, &zone).await?;
        cx.write(zone.start, &data[..unit as usize]).await?;
        cx.manage(ZoneOp::Close, &zone).await?;
        cx.fill(&zone, &data, unit).await?;
        cx.expect_zone(&zone, ZoneCondition::Full, 0, "at the end of its life").await?;
        cx.expect(zone.start, &data, "data of a whole life").await?;
        cx.manage(ZoneOp::Reset, &zone).await?;
        cx.expect_zone(&zone, ZoneCondition::Empty, 0, "after a whole life").await?;
    }
    Ok(())
}

async fn the_smaller_last_zone(cx: Cx) -> Outcome {
    let (size, zones) = (cx.zoned()?.zone_size, cx.zones().await?);
    let last = zones.last().filter(|z| z.length < size && z.condition == ZoneCondition::Empty);
    let Some(last) = last else {
        return skip("the last zone is not smaller, or not sequential");
    };
    cx.manage(ZoneOp::Open, last).await?;
    cx.expect_zone(last, ZoneCondition::ExplicitOpen, 0, "open of the last zone").await?;
    cx.append(last, &pattern(1, cx.unit())).await?;
    cx.manage(ZoneOp::Close, last).await?;
    cx.expect_zone(last, ZoneCondition::Closed, cx.unit(), "close of the last zone").await?;
    cx.manage(ZoneOp::Finish, last).await?;
    cx.expect_zone(last, ZoneCondition::Full, 0, "finish of the last zone").await?;
    cx.manage(ZoneOp::Reset, last).await?;
    cx.expect_zone(last, ZoneCondition::Empty, 0, "reset of the last zone").await?;
    cx.expect_unwritten(last.start, last.length, "the last zone after a reset").await
}

async fn other_zones_are_untouched(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zones = cx.empty_zones(3).await?;
    for zone in &zones {
        cx.append(zone, &pattern(zone.start, 2 * unit)).await?;
    }
    let before = cx.zones().await?;
    for op in ZoneOp::ALL {
        cx.manage(op, &zones[1]).await?;
        for now in cx.zones().await? {
            let same = before.contains(&now);
            ensure!(same || now.start == zones[1].start, "{op} of another zone changed {now:?}");
        }
    }
    for zone in [zones[0], zones[2]] {
        cx.expect(zone.start, &pattern(zone.start, 2 * unit), "data of a neighbour").await?;
    }
    Ok(())
}
