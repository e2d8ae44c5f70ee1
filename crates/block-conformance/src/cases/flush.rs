//! Flush and FUA, as far as they show without a reopen.

use crate::cx::Cx;
use crate::interrupt::{MOMENTS, interrupt};
use crate::outcome::{Outcome, failed};
use crate::pattern::{pattern, whole};
use block_core::RequestFlags;
use std::sync::Arc;
use tokio::task::JoinSet;

cases!("flush":
    of_a_fresh_node,
    after_writes,
    writes_with_fua,
    after_dropped_writes,
    many_at_once_beside_writes,
);

async fn of_a_fresh_node(cx: Cx) -> Outcome {
    cx.node.flush().await?;
    cx.node.flush().await?;
    Ok(())
}

async fn after_writes(cx: Cx) -> Outcome {
    let unit = cx.unit();
    for area in cx.areas(8 * unit).await? {
        for i in 0..8 {
            cx.write(area.start + i * unit, &pattern(i, unit)).await?;
            cx.node.flush().await?;
        }
        for i in 0..8 {
            cx.expect(area.start + i * unit, &pattern(i, unit), "flushed data").await?;
        }
    }
    Ok(())
}

async fn writes_with_fua(cx: Cx) -> Outcome {
    let unit = cx.unit();
    for area in cx.areas(8 * unit).await? {
        let data = pattern(1, 8 * unit);
        for (i, piece) in data.chunks(4 * unit as usize).enumerate() {
            let at = area.start + i as u64 * 4 * unit;
            cx.node.write(at, whole(piece), RequestFlags::FUA).await?;
        }
        cx.expect(area.start, &data, "data that was written with FUA").await?;
    }
    Ok(())
}

async fn after_dropped_writes(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(16 * unit).await?;
    for moment in MOMENTS {
        let bufs = whole(&pattern(1, 8 * unit));
        let write = cx.node.write(area.start, bufs, RequestFlags::empty());
        interrupt(write, moment).await;
        cx.node.flush().await?;
    }
    cx.node.settle().await?;
    cx.write(area.start, &pattern(2, 8 * unit)).await?;
    cx.node.flush().await?;
    cx.expect(area.start, &pattern(2, 8 * unit), "data after dropped writes").await
}

async fn many_at_once_beside_writes(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(16 * unit).await?;
    let mut tasks = JoinSet::new();
    for i in 0..16 {
        let node = Arc::clone(&cx.node);
        tasks.spawn(async move {
            let (at, bufs) = (area.start + i * unit, whole(&pattern(i, unit)));
            node.write(at, bufs, RequestFlags::empty()).await?;
            node.flush().await
        });
    }
    while let Some(task) = tasks.join_next().await {
        match task {
            Ok(result) => result?,
            Err(join) => return failed(format!("a task died: {join}")),
        }
    }
    for i in 0..16 {
        cx.expect(area.start + i * unit, &pattern(i, unit), "flushed data").await?;
    }
    Ok(())
}
