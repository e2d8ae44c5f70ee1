//! What is there after the storage was opened again.

use crate::cx::{Cx, End};
use crate::outcome::Outcome;
use crate::pattern::{pattern, whole};
use crate::subject::OpenMode;
use block_core::{RequestFlags, ZoneCondition, ZoneOp};

cases!("persistence":
    data_survives_a_close,
    flushed_data_survives_a_drop,
    fua_data_survives_a_drop,
    zeroes_survive,
    the_length_survives,
    zones_survive_a_close,
    flushed_zones_survive_a_drop,
    fua_appends_survive_a_drop,
    a_reset_survives,
    an_old_storage_goes_on,
);

async fn data_survives_a_close(cx: Cx) -> Outcome {
    let len = 8 * cx.unit();
    let areas = cx.areas(len).await?;
    for area in &areas {
        cx.write(area.start, &pattern(area.start, len)).await?;
    }
    let cx = cx.reopen(End::Close, OpenMode::Writable).await?;
    for area in &areas {
        cx.expect(area.start, &pattern(area.start, len), "data after a close").await?;
    }
    Ok(())
}

async fn flushed_data_survives_a_drop(cx: Cx) -> Outcome {
    let len = 8 * cx.unit();
    let areas = cx.areas(len).await?;
    for area in &areas {
        cx.write(area.start, &pattern(area.start, len)).await?;
    }
    cx.node.flush().await?;
    let cx = cx.reopen(End::Drop, OpenMode::Writable).await?;
    for area in &areas {
        cx.expect(area.start, &pattern(area.start, len), "flushed data after a drop").await?;
    }
    Ok(())
}

async fn fua_data_survives_a_drop(cx: Cx) -> Outcome {
    let len = 8 * cx.unit();
    let areas = cx.areas(len).await?;
    for area in &areas {
        let bufs = whole(&pattern(area.start, len));
        cx.node.write(area.start, bufs, RequestFlags::FUA).await?;
    }
    let cx = cx.reopen(End::Drop, OpenMode::Writable).await?;
    for area in &areas {
        cx.expect(area.start, &pattern(area.start, len), "FUA data after a drop").await?;
    }
    Ok(())
}

async fn zeroes_survive(cx: Cx) -> Outcome {
    let len = 8 * cx.unit();
    let area = cx.rewritable(len).await?;
    cx.write(area.start, &pattern(1, len)).await?;
    cx.node.flush().await?;
    cx.node.write_zeroes(area.start, len / 2, RequestFlags::FUA).await?;
    let cx = cx.reopen(End::Drop, OpenMode::Writable).await?;
    cx.expect_zeroes(area.start, len / 2, "FUA zeroes after a drop").await?;
    let rest = &pattern(1, len)[len as usize / 2..];
    cx.expect(area.start + len / 2, rest, "data after the zeroes").await
}

async fn the_length_survives(cx: Cx) -> Outcome {
    let (length, limits) = (cx.node.length(), *cx.limits());
    let cx = cx.reopen(End::Close, OpenMode::Writable).await?;
    ensure_eq!(cx.node.length(), length, "length after a reopen");
    ensure_eq!(*cx.limits(), limits, "limits after a reopen");
    Ok(())
}

/// Zones in every condition that a host can bring about, then a reopen.
async fn zones_survive(cx: Cx, end: End) -> Outcome {
    let unit = cx.unit();
    cx.empty_zones(3).await?; // as many are active at once
    let zones = cx.idle_zones(4).await?;
    let (finished, closed, implicit, explicit) = (zones[0], zones[1], zones[2], zones[3]);
    let data = pattern(1, 3 * unit);
    cx.append(&finished, &data).await?;
    cx.manage(ZoneOp::Finish, &finished).await?;
    cx.append(&closed, &data).await?;
    cx.manage(ZoneOp::Close, &closed).await?;
    cx.append(&implicit, &data).await?;
    cx.manage(ZoneOp::Open, &explicit).await?;
    cx.node.flush().await?;
    let before = cx.zones().await?;
    let cx = cx.reopen(end, OpenMode::Writable).await?;
    if cx.profile.zones.reopen_closes_zones {
        for (zone, condition, written) in [
            (&finished, ZoneCondition::Full, 0),
            (&closed, ZoneCondition::Closed, 3 * unit),
            (&implicit, ZoneCondition::Closed, 3 * unit),
            (&explicit, ZoneCondition::Empty, 0),
        ] {
            cx.expect_zone(zone, condition, written, "after a reopen").await?;
        }
    }
    for (now, before) in cx.zones().await?.iter().zip(&before) {
        ensure_eq!(now.write_pointer, before.write_pointer, "write pointer after a reopen");
        ensure_eq!(now.capacity, before.capacity, "capacity after a reopen");
    }
    for zone in [finished, closed, implicit] {
        cx.expect(zone.start, &data, "zone data after a reopen").await?;
        let end = zone.start + 3 * unit;
        cx.expect_unwritten(end, unit, "above the pointer after a reopen").await?;
    }
    Ok(())
}

async fn zones_survive_a_close(cx: Cx) -> Outcome {
    zones_survive(cx, End::Close).await
}

async fn flushed_zones_survive_a_drop(cx: Cx) -> Outcome {
    zones_survive(cx, End::Drop).await
}

async fn fua_appends_survive_a_drop(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    for i in 0..4 {
        let bufs = whole(&pattern(i, unit));
        cx.node.append(zone.start, bufs, RequestFlags::FUA).await?;
    }
    let cx = cx.reopen(End::Drop, OpenMode::Writable).await?;
    let now = cx.zone(zone.start).await?;
    let pointer = Some(zone.start + 4 * unit);
    ensure_eq!(now.write_pointer, pointer, "write pointer after FUA appends and a drop");
    for i in 0..4 {
        cx.expect(zone.start + i * unit, &pattern(i, unit), "an FUA append").await?;
    }
    Ok(())
}

async fn a_reset_survives(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.append(&zone, &pattern(1, 4 * unit)).await?;
    cx.node.flush().await?;
    cx.manage(ZoneOp::Reset, &zone).await?;
    cx.append(&zone, &pattern(2, unit)).await?;
    cx.node.flush().await?;
    let cx = cx.reopen(End::Drop, OpenMode::Writable).await?;
    let pointer = Some(zone.start + unit);
    ensure_eq!(cx.zone(zone.start).await?.write_pointer, pointer, "write pointer after a reset");
    cx.expect(zone.start, &pattern(2, unit), "data after a reset").await?;
    cx.expect_unwritten(zone.start + unit, 3 * unit, "what was reset").await
}

async fn an_old_storage_goes_on(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let areas = cx.areas(4 * unit).await?;
    for area in &areas {
        cx.write(area.start, &pattern(1, unit)).await?;
    }
    let mut cx = cx;
    for round in 1..4 {
        cx = cx.reopen(End::Close, OpenMode::Writable).await?;
        for area in &areas {
            let at = area.start + round * unit;
            cx.write(at, &pattern(1 + round, unit)).await?;
            for earlier in 0..=round {
                let at = area.start + earlier * unit;
                cx.expect(at, &pattern(1 + earlier, unit), "data of several lives").await?;
            }
        }
    }
    Ok(())
}
