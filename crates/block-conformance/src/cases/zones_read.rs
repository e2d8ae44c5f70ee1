//! Reads of zones: below, at and above the pointer, and across zones.

use crate::cx::Cx;
use crate::outcome::{Outcome, skip};
use crate::pattern::pattern;
use block_core::{ZoneCondition, ZoneOp, ZoneType};

cases!("zones_read":
    an_empty_zone_reads_as_zeroes,
    zeroes_above_the_pointer,
    across_the_pointer,
    above_the_capacity,
    across_zones,
    from_a_conventional_into_a_sequential_zone,
    the_whole_node,
    a_finished_zone,
    a_reset_zone,
);

async fn an_empty_zone_reads_as_zeroes(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    cx.expect_unwritten(zone.start, zone.length, "an empty zone").await
}

async fn zeroes_above_the_pointer(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.write(zone.start, &pattern(1, 3 * unit)).await?;
    let above = 3 * unit;
    cx.expect_unwritten(zone.start + above, zone.length - above, "above the pointer").await
}

async fn across_the_pointer(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let mut data = pattern(1, 3 * unit);
    cx.write(zone.start, &data).await?;
    if !cx.profile.zones.reads_above_pointer_are_zero {
        let found = cx.read(zone.start, 6 * unit).await?;
        return cx.compare(&found[..data.len()], &data, "data below the pointer");
    }
    data.resize(6 * unit as usize, 0);
    cx.expect(zone.start, &data, "a read across the pointer").await?;
    cx.expect(zone.start + 2 * unit, &data[2 * unit as usize..4 * unit as usize], "a part of it")
        .await
}

async fn above_the_capacity(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    if zone.capacity == zone.length {
        return skip("the capacity is the whole zone");
    }
    cx.fill(&zone, &pattern(1, zone.capacity), 0).await?;
    let (at, len) = (zone.start + zone.capacity, zone.length - zone.capacity);
    cx.expect_unwritten(at, len, "between capacity and zone end").await
}

async fn across_zones(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zones = cx.empty_zones(2).await?;
    let (first, second) = (zones[0], zones[1]);
    if first.end() != second.start || first.capacity > 64 << 20 {
        return skip("there are no two empty zones side by side to be filled");
    }
    let mut data = pattern(1, first.capacity);
    cx.fill(&first, &data, 0).await?;
    cx.write(second.start, &pattern(2, 2 * unit)).await?;
    if !cx.profile.zones.reads_above_pointer_are_zero && first.capacity < first.length {
        cx.read(first.end() - unit, 2 * unit).await?;
        return Ok(());
    }
    data.resize(first.length as usize, 0);
    data.extend(pattern(2, 2 * unit));
    cx.expect(first.start, &data, "a read across two zones").await?;
    let tail = data.len() - 3 * unit as usize;
    cx.expect(first.start + tail as u64, &data[tail..], "a read across the boundary").await
}

async fn from_a_conventional_into_a_sequential_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let last = cx.conventional_zones().await?.pop();
    let zones = cx.zones().await?;
    let behind = last.and_then(|l| zones.iter().find(|z| z.start == l.end()));
    let Some(behind) = behind.filter(|z| z.zone_type != ZoneType::Conventional) else {
        return skip("there is no sequential zone behind a conventional one");
    };
    let data = pattern(1, 4 * unit);
    let (front, back) = data.split_at(2 * unit as usize);
    cx.write(behind.start - 2 * unit, front).await?;
    cx.write(behind.start, back).await?;
    cx.expect(behind.start - 2 * unit, &data, "a read across the boundary").await
}

async fn the_whole_node(cx: Cx) -> Outcome {
    cx.zoned()?;
    let length = cx.node.length();
    if length > 64 << 20 {
        return skip("the node is too large to be read in one piece");
    }
    for area in cx.areas(cx.unit()).await? {
        cx.write(area.start, &pattern(1, cx.unit())).await?;
    }
    let found = cx.read(0, length).await?;
    for area in cx.areas(cx.unit()).await?.into_iter().filter(|a| a.rewritable) {
        let at = area.start as usize;
        let data = pattern(1, cx.unit());
        cx.compare(&found[at..at + data.len()], &data, "data in a read of everything")?;
    }
    Ok(())
}

async fn a_finished_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.write(zone.start, &pattern(1, 3 * unit)).await?;
    cx.manage(ZoneOp::Finish, &zone).await?;
    cx.expect_zone(&zone, ZoneCondition::Full, 0, "after finish").await?;
    cx.expect(zone.start, &pattern(1, 3 * unit), "data of a finished zone").await?;
    let above = 3 * unit;
    cx.expect_unwritten(zone.start + above, zone.length - above, "above it").await
}

async fn a_reset_zone(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    cx.fill(&zone, &pattern(1, zone.capacity), 0).await?;
    cx.manage(ZoneOp::Reset, &zone).await?;
    cx.expect_unwritten(zone.start, zone.length, "a reset zone").await?;
    cx.write(zone.start, &pattern(2, unit)).await?;
    cx.expect(zone.start, &pattern(2, unit), "new data after a reset").await?;
    cx.expect_unwritten(zone.start + unit, zone.capacity - unit, "above the new data").await
}
