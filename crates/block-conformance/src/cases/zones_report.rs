//! Reports: which zones, and what is said about a fresh one.

use crate::cx::Cx;
use crate::outcome::{Outcome, skip};
use block_core::{Zone, ZoneCondition, ZoneType};

cases!("zones_report":
    zones_cover_the_node,
    fresh_zones,
    from_the_middle_of_a_zone,
    as_many_as_asked,
    none_at_or_after_the_end,
    none_asked,
    one_by_one,
    a_smaller_last_zone,
    many_at_once,
);

async fn zones_cover_the_node(cx: Cx) -> Outcome {
    let (zoned, zones) = (cx.zoned()?, cx.zones().await?);
    ensure_eq!(zones.len() as u64, zoned.nr_zones, "number of zones in a full report");
    let mut next = 0;
    for (index, zone) in (0..).zip(&zones) {
        ensure_eq!(zone.start, next, "start of zone {index}");
        if index + 1 < zoned.nr_zones {
            ensure_eq!(zone.length, zoned.zone_size, "length of zone {index}");
        }
        next = zone.start + zone.length;
    }
    ensure_eq!(next, cx.node.length(), "end of the last zone");
    Ok(())
}

async fn fresh_zones(cx: Cx) -> Outcome {
    let zoned = cx.zoned()?;
    let granularity = u64::from(zoned.write_granularity.max(1));
    for zone in cx.zones().await? {
        ensure!(
            zone.capacity > 0 && zone.capacity <= zone.length && zone.capacity % granularity == 0,
            "the capacity of {zone:?} is not in whole writes up to its length"
        );
        let expected = match zone.zone_type {
            ZoneType::Conventional => (ZoneCondition::NotWritePointer, None),
            _ => (ZoneCondition::Empty, Some(zone.start)),
        };
        ensure_eq!(
            (zone.condition, zone.write_pointer),
            expected,
            "condition and pointer of a fresh zone at {:#x}",
            zone.start
        );
        if zone.zone_type == ZoneType::Conventional {
            ensure_eq!(zone.capacity, zone.length, "capacity of a conventional zone");
        }
    }
    Ok(())
}

async fn from_the_middle_of_a_zone(cx: Cx) -> Outcome {
    let all = cx.zones().await?;
    for (index, zone) in all.iter().enumerate() {
        for inside in [0, 1, zone.length / 2, zone.length - 1] {
            let found = cx.node.report_zones(zone.start + inside, usize::MAX).await?;
            ensure!(
                found == all[index..],
                "a report from {inside:#x} inside zone {index} on gives {} zones from {:?} on",
                found.len(),
                found.first().map(|z| z.start)
            );
        }
    }
    Ok(())
}

async fn as_many_as_asked(cx: Cx) -> Outcome {
    let all = cx.zones().await?;
    for from in [0, all.len() / 2, all.len() - 1] {
        for max in [1, 2, 3, all.len(), all.len() + 10] {
            let found = cx.node.report_zones(all[from].start, max).await?;
            let expected = &all[from..(from + max).min(all.len())];
            ensure!(found == expected, "{max} zones asked from {from} on gave {}", found.len());
        }
    }
    Ok(())
}

async fn none_at_or_after_the_end(cx: Cx) -> Outcome {
    cx.zoned()?;
    let end = cx.node.length();
    for offset in [end, end + 1, end * 2, u64::MAX - 1, u64::MAX] {
        let found = cx.node.report_zones(offset, 10).await?;
        ensure!(found.is_empty(), "a report from {offset:#x} on, past the end, gives zones");
    }
    Ok(())
}

async fn none_asked(cx: Cx) -> Outcome {
    cx.zoned()?;
    for offset in [0, cx.node.length() / 2, cx.node.length()] {
        let found = cx.node.report_zones(offset, 0).await?;
        ensure!(found.is_empty(), "a report of no zones gives some");
    }
    Ok(())
}

async fn one_by_one(cx: Cx) -> Outcome {
    let all = cx.zones().await?;
    let mut found: Vec<Zone> = Vec::new();
    let mut next = 0;
    while let Some(zone) = cx.node.report_zones(next, 1).await?.first() {
        ensure!(zone.start == next && zone.length > 0, "no progress at {next:#x}");
        next = zone.start + zone.length;
        found.push(*zone);
    }
    ensure!(found == all, "zones one by one are not those of a full report");
    Ok(())
}

async fn a_smaller_last_zone(cx: Cx) -> Outcome {
    let (zoned, zones) = (cx.zoned()?, cx.zones().await?);
    let Some(last) = zones.last().filter(|z| z.length < zoned.zone_size) else {
        return skip("the last zone is not smaller");
    };
    ensure_eq!(last.start + last.length, cx.node.length(), "end of the last zone");
    ensure!(last.capacity <= last.length, "the last zone's capacity is above its length");
    let found = cx.node.report_zones(cx.node.length() - 1, 5).await?;
    ensure_eq!(found, [*last], "a report of the last byte's zone");
    Ok(())
}

async fn many_at_once(cx: Cx) -> Outcome {
    let all = cx.zones().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let node = std::sync::Arc::clone(&cx.node);
        tasks.spawn(async move { node.report_zones(0, usize::MAX).await });
    }
    for found in tasks.join_all().await {
        ensure!(found? == all, "reports at once differ");
    }
    Ok(())
}
