//! Dropped futures of requests that every node takes.

use crate::cx::Cx;
use crate::interrupt::{MOMENTS, interrupt};
use crate::outcome::{Outcome, skip};
use crate::pattern::{difference, pattern, whole};
use block_core::{BufferPool, IoBufMut, RequestFlags};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

cases!("cancel_data":
    reads,
    reads_leave_recycled_memory_alone,
    writes,
    writes_are_over_after_settle,
    flushes,
    zeroes_and_discards,
    resizes,
    settles,
    a_crowd,
);

async fn reads(cx: Cx) -> Outcome {
    let unit = cx.unit();
    for area in cx.areas(32 * unit).await? {
        let data = pattern(1, 32 * unit);
        cx.write(area.start, &data).await?;
        for moment in MOMENTS {
            for _ in 0..8 {
                let bufs = IoBufMut::zeroed(32 * unit as usize).into();
                interrupt(cx.node.read(area.start, bufs), moment).await;
            }
            cx.expect(area.start, &data, "data after dropped reads").await?;
        }
        cx.node.settle().await?;
        cx.expect(area.start, &data, "data after dropped reads").await?;
    }
    Ok(())
}

/// The memory of a dropped read may serve others only when nothing writes to it any more.
async fn reads_leave_recycled_memory_alone(cx: Cx) -> Outcome {
    let (unit, pool) = (cx.unit(), BufferPool::default());
    let area = cx.areas(32 * unit).await?[0];
    let len = 32 * unit as usize;
    cx.write(area.start, &pattern(1, 32 * unit)).await?;
    for moment in MOMENTS.into_iter().cycle().take(30) {
        let bufs = pool.get(len).into();
        interrupt(cx.node.read(area.start, bufs), moment).await;
        let mut next = pool.get(len);
        next.fill(0x5a);
        cx.node.settle().await?;
        let found = next.to_vec();
        ensure!(
            found.iter().all(|b| *b == 0x5a),
            "a dropped read wrote into memory that had another user"
        );
    }
    Ok(())
}

async fn writes(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(20 * unit).await?;
    let around = pattern(1, unit);
    let inside = area.start + unit;
    for moment in MOMENTS {
        cx.write(area.start, &around).await?;
        cx.write(inside + 16 * unit, &around).await?;
        for flags in [RequestFlags::empty(), RequestFlags::FUA] {
            let bufs = whole(&pattern(2, 16 * unit));
            interrupt(cx.node.write(inside, bufs, flags), moment).await;
        }
        cx.node.settle().await?;
        cx.expect(area.start, &around, "the block before a dropped write").await?;
        cx.expect(inside + 16 * unit, &around, "the block after a dropped write").await?;
        let last = pattern(3, 16 * unit);
        cx.write(inside, &last).await?;
        cx.expect(inside, &last, "a write after a dropped one").await?;
    }
    Ok(())
}

async fn writes_are_over_after_settle(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(64 * unit).await?;
    for moment in MOMENTS {
        cx.write(area.start, &pattern(1, 64 * unit)).await?;
        for i in 0..16 {
            let bufs = whole(&pattern(2, 4 * unit));
            let write = cx.node.write(area.start + i * 4 * unit, bufs, RequestFlags::empty());
            interrupt(write, moment).await;
        }
        cx.node.settle().await?;
        let at_once = cx.read(area.start, 64 * unit).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let later = cx.read(area.start, 64 * unit).await?;
        if let Some(difference) = difference(&later, &at_once) {
            return Err(crate::outcome::Stop::Failed(format!(
                "a dropped write still ran after settle: {difference}"
            )));
        }
    }
    Ok(())
}

async fn flushes(cx: Cx) -> Outcome {
    let unit = cx.unit();
    for area in cx.areas(16 * unit).await? {
        for (i, moment) in (0..).zip(MOMENTS) {
            cx.write(area.start + i * unit, &pattern(i, unit)).await?;
            for _ in 0..4 {
                interrupt(cx.node.flush(), moment).await;
            }
            cx.node.flush().await?;
            cx.expect(area.start + i * unit, &pattern(i, unit), "data after dropped flushes")
                .await?;
        }
    }
    Ok(cx.node.settle().await?)
}

async fn zeroes_and_discards(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(20 * unit).await?;
    let around = pattern(1, unit);
    for moment in MOMENTS {
        cx.write(area.start, &pattern(2, 18 * unit)).await?;
        cx.write(area.start, &around).await?;
        cx.write(area.start + 17 * unit, &around).await?;
        let flags = RequestFlags::MAY_UNMAP;
        let zeroes = cx.node.write_zeroes(area.start + unit, 16 * unit, flags);
        interrupt(zeroes, moment).await;
        if cx.limits().discard {
            interrupt(cx.node.discard(area.start + unit, 16 * unit), moment).await;
        }
        cx.node.settle().await?;
        cx.expect(area.start, &around, "the block before dropped zeroes").await?;
        cx.expect(area.start + 17 * unit, &around, "the block after dropped zeroes").await?;
        let last = pattern(3, 16 * unit);
        cx.write(area.start + unit, &last).await?;
        cx.expect(area.start + unit, &last, "data after dropped zeroes").await?;
    }
    Ok(())
}

async fn resizes(cx: Cx) -> Outcome {
    if !cx.profile.resizes {
        return skip("the node has a fixed length");
    }
    let (unit, old) = (cx.unit(), cx.usable_length());
    cx.write(0, &pattern(1, unit)).await?;
    for moment in MOMENTS {
        cx.node.resize(old).await?;
        interrupt(cx.node.resize(old + 16 * unit), moment).await;
        cx.node.settle().await?;
        let now = cx.node.length();
        let possible = now == old || now == old + 16 * unit;
        ensure!(possible, "a dropped resize from {old:#x} left a length of {now:#x}");
        cx.expect(0, &pattern(1, unit), "data after a dropped resize").await?;
        cx.read(now - unit, unit).await?;
    }
    Ok(())
}

async fn settles(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(4 * unit).await?;
    for moment in MOMENTS {
        let write = cx.node.write(area.start, whole(&pattern(1, unit)), RequestFlags::empty());
        interrupt(write, moment).await;
        interrupt(cx.node.settle(), moment).await;
        cx.node.settle().await?;
        cx.write(area.start, &pattern(2, unit)).await?;
        cx.expect(area.start, &pattern(2, unit), "data after dropped settles").await?;
    }
    Ok(())
}

/// Many tasks, aborted at any moment.
async fn a_crowd(cx: Cx) -> Outcome {
    const TASKS: u64 = 32;
    let unit = cx.unit();
    let area = cx.rewritable(TASKS * 2 * unit).await?;
    for round in 0..6_u64 {
        let mut tasks = JoinSet::new();
        for i in 0..TASKS {
            let node = Arc::clone(&cx.node);
            tasks.spawn(async move {
                let at = area.start + i * 2 * unit;
                for seed in 0..50 {
                    let bufs = whole(&pattern(seed, 2 * unit));
                    node.write(at, bufs, RequestFlags::empty()).await?;
                    node.read(at, IoBufMut::zeroed(unit as usize).into()).await?;
                    tokio::task::yield_now().await;
                }
                node.flush().await
            });
        }
        tokio::time::sleep(Duration::from_micros(100 * round)).await;
        tasks.abort_all();
        while let Some(task) = tasks.join_next().await {
            if let Ok(result) = task {
                result?;
            }
        }
        cx.node.settle().await?;
        let data = pattern(1000 + round, TASKS * 2 * unit);
        cx.write(area.start, &data).await?;
        cx.expect(area.start, &data, "data after a crowd was aborted").await?;
    }
    Ok(())
}
