//! Many requests at once, from many tasks.

use crate::cx::Cx;
use crate::outcome::{Outcome, Stop, failed};
use crate::pattern::{difference, pattern, whole};
use block_core::{IoBufMut, IoVecMut, RequestFlags};
use std::sync::Arc;
use tokio::task::JoinSet;

cases!("ordering":
    another_task_reads_what_was_written,
    the_last_of_many_overwrites_stays,
    readers_overlap,
    parallel_writers_of_disjoint_ranges,
    readers_beside_writers,
    a_mixed_crowd,
);

/// Waits for all tasks; the first failure is the case's.
async fn all(mut tasks: JoinSet<Outcome>) -> Outcome {
    while let Some(task) = tasks.join_next().await {
        match task {
            Ok(outcome) => outcome?,
            Err(join) => return failed(format!("a task died: {join}")),
        }
    }
    Ok(())
}

async fn another_task_reads_what_was_written(cx: Cx) -> Outcome {
    let (unit, cx) = (cx.unit(), Arc::new(cx));
    for area in cx.areas(32 * unit).await? {
        for i in 0..32 {
            let (at, data) = (area.start + i * unit, pattern(i, unit));
            cx.write(at, &data).await?;
            let reader = Arc::clone(&cx);
            let mut tasks = JoinSet::new();
            tasks.spawn(async move { reader.expect(at, &data, "what another task wrote").await });
            all(tasks).await?;
        }
    }
    Ok(())
}

async fn the_last_of_many_overwrites_stays(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(2 * unit).await?;
    for seed in 0..100 {
        cx.write(area.start + (seed % 2) * unit, &pattern(seed, unit)).await?;
    }
    cx.expect(area.start, &pattern(98, unit), "the last overwrite").await?;
    cx.expect(area.start + unit, &pattern(99, unit), "the last overwrite").await
}

async fn readers_overlap(cx: Cx) -> Outcome {
    let (unit, cx) = (cx.unit(), Arc::new(cx));
    for area in cx.areas(32 * unit).await? {
        let data = Arc::new(pattern(1, 32 * unit));
        cx.write(area.start, &data).await?;
        let mut tasks = JoinSet::new();
        for i in 0..32 {
            let (cx, data) = (Arc::clone(&cx), Arc::clone(&data));
            tasks.spawn(async move {
                let (from, to) = ((i / 2) * unit, (16 + i / 2) * unit);
                let part = &data[from as usize..to as usize];
                cx.expect(area.start + from, part, "an overlapping read").await
            });
        }
        all(tasks).await?;
    }
    Ok(())
}

async fn parallel_writers_of_disjoint_ranges(cx: Cx) -> Outcome {
    const WRITERS: u64 = 64;
    let (unit, cx) = (cx.unit(), Arc::new(cx));
    let area = cx.rewritable(WRITERS * 2 * unit).await?;
    let mut tasks = JoinSet::new();
    for i in 0..WRITERS {
        let cx = Arc::clone(&cx);
        tasks.spawn(async move {
            // Neighbouring writers' ranges touch.
            let at = area.start + i * 2 * unit;
            cx.write(at, &pattern(i, 2 * unit)).await?;
            cx.expect(at, &pattern(i, 2 * unit), "a writer's own data").await
        });
    }
    all(tasks).await?;
    for i in 0..WRITERS {
        let at = area.start + i * 2 * unit;
        cx.expect(at, &pattern(i, 2 * unit), "data of parallel writers").await?;
    }
    Ok(())
}

async fn readers_beside_writers(cx: Cx) -> Outcome {
    let (unit, cx) = (cx.unit(), Arc::new(cx));
    let area = cx.rewritable(16 * unit).await?;
    let still = pattern(1, 8 * unit);
    cx.write(area.start, &still).await?;
    let mut tasks = JoinSet::new();
    for i in 0..8 {
        let (writer, reader, still) = (Arc::clone(&cx), Arc::clone(&cx), still.clone());
        tasks.spawn(async move {
            for round in 0..20 {
                let at = area.start + (8 + i) * unit;
                writer.write(at, &pattern(round, unit)).await?;
            }
            Ok(())
        });
        tasks.spawn(async move {
            for _ in 0..20 {
                reader.expect(area.start, &still, "a range beside writers").await?;
            }
            Ok(())
        });
    }
    all(tasks).await?;
    for i in 0..8 {
        let at = area.start + (8 + i) * unit;
        cx.expect(at, &pattern(19, unit), "a writer's last data").await?;
    }
    Ok(())
}

/// Reads, writes and flushes of ranges that nobody shares, all at once.
async fn a_mixed_crowd(cx: Cx) -> Outcome {
    const TASKS: u64 = 24;
    let unit = cx.unit();
    let area = cx.rewritable(TASKS * 4 * unit).await?;
    let mut tasks = JoinSet::new();
    for i in 0..TASKS {
        let (node, retention) = (Arc::clone(&cx.node), cx.profile.retention);
        tasks.spawn(async move {
            let base = area.start + i * 4 * unit;
            for round in 0..10 {
                let at = base + (round % 4) * unit;
                let data = pattern(i * 100 + round, unit);
                let flags = match round % 3 {
                    0 => RequestFlags::FUA,
                    _ => RequestFlags::empty(),
                };
                node.write(at, whole(&data), flags).await?;
                if round % 4 == 3 {
                    node.flush().await?;
                }
                let bufs = IoVecMut::from(IoBufMut::zeroed(unit as usize));
                let found = node.read(at, bufs).await?.to_vec();
                if retention == crate::Retention::Data
                    && let Some(difference) = difference(&found, &data)
                {
                    return Err(Stop::Failed(format!("data in a crowd: {difference}")));
                }
            }
            Ok(())
        });
    }
    all(tasks).await
}
