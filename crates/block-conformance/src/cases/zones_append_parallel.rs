//! Appends at once: each in one piece, in the order of their first polls.

use crate::cx::Cx;
use crate::outcome::{Outcome, Stop, failed};
use crate::pattern::{pattern, whole};
use block_core::{RequestFlags, Zone, ZoneCondition, ZoneOp};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::task::JoinSet;

cases!("zones_append_parallel":
    to_one_zone,
    to_several_zones,
    land_in_the_order_of_their_first_polls,
    only_those_that_fit_succeed,
    beside_reads_and_reports,
    beside_flushes,
);

/// Spawns `count` appends of the sizes in turn (in units); gives seed and length by position.
async fn append_at_once(
    cx: &Cx,
    zone: &Zone,
    count: u64,
    sizes: &[u64],
) -> Outcome<BTreeMap<u64, (u64, u64)>> {
    let unit = cx.unit();
    let mut tasks = JoinSet::new();
    for (seed, size) in (0..count).zip(sizes.iter().cycle()) {
        let (node, start, len) = (Arc::clone(&cx.node), zone.start, size * unit);
        tasks.spawn(async move {
            let bufs = whole(&pattern(seed, len));
            let position = node.append(start, bufs, RequestFlags::empty()).await?;
            Ok::<_, Stop>((position, (seed, len)))
        });
    }
    let mut landed = BTreeMap::new();
    while let Some(task) = tasks.join_next().await {
        let Ok(result) = task else {
            return failed("an append's task died");
        };
        let (position, append) = result?;
        ensure!(
            landed.insert(position, append).is_none(),
            "two appends were both told the position {position:#x}"
        );
    }
    Ok(landed)
}

/// Checks that the appends lie side by side from the zone's start on, each with its own data.
async fn expect_side_by_side(cx: &Cx, zone: &Zone, landed: &BTreeMap<u64, (u64, u64)>) -> Outcome {
    let mut next = zone.start;
    for (position, (seed, len)) in landed {
        ensure_eq!(*position, next, "position of the append after the one before");
        cx.expect(*position, &pattern(*seed, *len), "data of an append among many").await?;
        next = position + len;
    }
    let pointer = cx.zone(zone.start).await?.write_pointer;
    ensure_eq!(pointer, Some(next), "write pointer after many appends");
    Ok(())
}

async fn to_one_zone(cx: Cx) -> Outcome {
    let zone = cx.empty_zone().await?;
    // Never as much as would fill it.
    let count = (zone.capacity / cx.unit() / 3).min(64);
    let landed = append_at_once(&cx, &zone, count, &[1, 3, 2]).await?;
    expect_side_by_side(&cx, &zone, &landed).await
}

async fn to_several_zones(cx: Cx) -> Outcome {
    let zones = cx.empty_zones(cx.several()?).await?;
    let count = (zones[0].capacity / cx.unit() / 3).min(24);
    let cx = Arc::new(cx);
    let mut tasks = JoinSet::new();
    for zone in zones {
        let cx = Arc::clone(&cx);
        tasks.spawn(async move {
            let landed = append_at_once(&cx, &zone, count, &[2, 1]).await?;
            expect_side_by_side(&cx, &zone, &landed).await
        });
    }
    tasks.join_all().await.into_iter().collect()
}

type Append<'a> = Pin<Box<dyn Future<Output = block_core::Result<u64>> + Send + 'a>>;

async fn land_in_the_order_of_their_first_polls(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let count = (zone.capacity / unit - 1).min(32);
    let mut appends: Vec<Append<'_>> = (0..count)
        .map(|seed| {
            let bufs = whole(&pattern(seed, unit));
            Box::pin(cx.node.append(zone.start, bufs, RequestFlags::empty())) as Append<'_>
        })
        .collect();
    let mut positions = vec![None; appends.len()];
    // Polls all, always from the first to the last, until all have ended.
    poll_fn(|context| {
        for (append, position) in appends.iter_mut().zip(&mut positions) {
            if position.is_none()
                && let Poll::Ready(result) = append.as_mut().poll(context)
            {
                *position = Some(result);
            }
        }
        match positions.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    drop(appends);
    for (seed, position) in (0..).zip(positions.into_iter().flatten()) {
        ensure_eq!(position?, zone.start + seed * unit, "position of append {seed}");
        cx.expect(zone.start + seed * unit, &pattern(seed, unit), "its data").await?;
    }
    Ok(())
}

async fn only_those_that_fit_succeed(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let most = Zone { capacity: zone.capacity - 8 * unit, ..zone };
    cx.fill(&most, &pattern(1, most.capacity), 0).await?;
    let mut tasks = JoinSet::new();
    for seed in 0..24 {
        let node = Arc::clone(&cx.node);
        tasks.spawn(async move {
            let bufs = whole(&pattern(100 + seed, unit));
            (seed, node.append(zone.start, bufs, RequestFlags::empty()).await)
        });
    }
    let mut landed = BTreeMap::new();
    for (seed, result) in tasks.join_all().await {
        match result {
            Ok(position) => {
                ensure!(
                    landed.insert(position, seed).is_none(),
                    "two appends were both told the position {position:#x}"
                );
            }
            Err(error) => {
                cx.refused::<()>(Err(error), &["zone-full"], "an append of more than fits")?;
            }
        }
    }
    ensure_eq!(landed.len(), 8, "appends that succeeded where 8 fit");
    for (i, (position, seed)) in (0..).zip(landed) {
        ensure_eq!(position, most.writable_end() + i * unit, "position of an append");
        cx.expect(position, &pattern(100 + seed, unit), "its data").await?;
    }
    cx.expect_zone(&zone, ZoneCondition::Full, 0, "after the last append that fits").await
}

async fn beside_reads_and_reports(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let count = (zone.capacity / unit - 1).min(48);
    let cx = Arc::new(cx);
    let mut tasks: JoinSet<Outcome> = JoinSet::new();
    for seed in 0..count {
        let cx = Arc::clone(&cx);
        tasks.spawn(async move {
            let position = cx.append(&zone, &pattern(seed, unit)).await?;
            // Whoever was told a position reads his data there, at once.
            cx.expect(position, &pattern(seed, unit), "an append that returned").await?;
            let pointer = cx.zone(zone.start).await?.write_pointer;
            ensure!(
                pointer.is_some_and(|p| p >= position + unit),
                "the write pointer {pointer:x?} does not cover the append at {position:#x}"
            );
            Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap_or_else(|_| failed("an append's task died"))?;
    }
    Ok(())
}

async fn beside_flushes(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let zone = cx.empty_zone().await?;
    let count = (zone.capacity / unit - 1).min(24);
    let mut tasks = JoinSet::new();
    for seed in 0..count {
        let node = Arc::clone(&cx.node);
        tasks.spawn(async move {
            let flags = match seed % 3 {
                0 => RequestFlags::FUA,
                _ => RequestFlags::empty(),
            };
            node.append(zone.start, whole(&pattern(seed, unit)), flags).await?;
            node.flush().await
        });
    }
    for result in tasks.join_all().await {
        result?;
    }
    let pointer = cx.zone(zone.start).await?.write_pointer;
    ensure_eq!(pointer, Some(zone.start + count * unit), "write pointer after appends");
    cx.manage(ZoneOp::Reset, &zone).await?;
    cx.expect_zone(&zone, ZoneCondition::Empty, 0, "after a reset").await
}
