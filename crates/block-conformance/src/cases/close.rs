//! The end of a node's use.

use crate::cx::{Cx, End};
use crate::interrupt::{MOMENTS, interrupt};
use crate::outcome::{Outcome, failed};
use crate::pattern::{pattern, whole};
use crate::subject::OpenMode;
use block_core::{IoBufMut, RequestFlags};
use std::sync::Arc;
use std::time::Duration;

cases!("close":
    settle_of_an_idle_node,
    settle_does_not_wait_for_what_starts_later,
    of_a_fresh_node,
    after_use,
    after_dropped_requests,
    drop_with_requests_under_way,
    lets_others_open,
);

async fn settle_of_an_idle_node(cx: Cx) -> Outcome {
    for _ in 0..3 {
        cx.node.settle().await?;
    }
    Ok(())
}

async fn settle_does_not_wait_for_what_starts_later(cx: Cx) -> Outcome {
    let unit = cx.unit() as usize;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let node = Arc::clone(&cx.node);
        readers.spawn(async move {
            loop {
                if node.read(0, IoBufMut::zeroed(unit).into()).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for _ in 0..20 {
        let settled = tokio::time::timeout(Duration::from_secs(120), cx.node.settle()).await;
        match settled {
            Ok(result) => result?,
            Err(_) => return failed("settle did not end while others went on reading"),
        }
    }
    ensure_eq!(readers.len(), 4, "readers that still read");
    readers.shutdown().await;
    Ok(())
}

async fn of_a_fresh_node(cx: Cx) -> Outcome {
    cx.node.settle().await?;
    cx.node.close().await?;
    Ok(())
}

async fn after_use(cx: Cx) -> Outcome {
    let unit = cx.unit();
    for area in cx.areas(unit).await? {
        cx.write(area.start, &pattern(1, unit)).await?;
        cx.expect(area.start, &pattern(1, unit), "data before a close").await?;
    }
    cx.node.settle().await?;
    cx.node.close().await?;
    Ok(())
}

async fn after_dropped_requests(cx: Cx) -> Outcome {
    let unit = cx.unit();
    for area in cx.areas(8 * unit).await? {
        for moment in MOMENTS {
            let bufs = whole(&pattern(1, unit));
            interrupt(cx.node.write(area.start, bufs, RequestFlags::empty()), moment).await;
            let bufs = IoBufMut::zeroed(unit as usize).into();
            interrupt(cx.node.read(area.start, bufs), moment).await;
            interrupt(cx.node.flush(), moment).await;
        }
    }
    cx.node.settle().await?;
    cx.node.close().await?;
    Ok(())
}

async fn drop_with_requests_under_way(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let areas = cx.areas(16 * unit).await?;
    for area in &areas {
        cx.write(area.start, &pattern(1, 4 * unit)).await?;
    }
    cx.node.flush().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for area in areas.clone() {
        let node = Arc::clone(&cx.node);
        tasks.spawn(async move {
            for i in 4..16 {
                let bufs = whole(&pattern(2, unit));
                let at = area.start + i * unit;
                node.write(at, bufs, RequestFlags::empty()).await?;
                tokio::task::yield_now().await;
            }
            node.flush().await
        });
    }
    tokio::task::yield_now().await;
    tasks.shutdown().await;
    if cx.reopens().is_err() {
        // Nothing to look at afterwards; it must not have died or hung.
        return Ok(());
    }
    let cx = cx.reopen(End::Drop, OpenMode::Writable).await?;
    for area in &areas {
        cx.expect(area.start, &pattern(1, 4 * unit), "what was flushed before").await?;
    }
    Ok(())
}

async fn lets_others_open(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.areas(4 * unit).await?[0];
    let mut cx = cx;
    for (i, end) in (0..).zip([End::Close, End::Drop, End::Close, End::Drop]) {
        cx.write(area.start + i * unit, &pattern(i, unit)).await?;
        cx.node.flush().await?;
        cx = cx.reopen(end, OpenMode::Writable).await?;
        cx.expect(area.start + i * unit, &pattern(i, unit), "data of the life before").await?;
    }
    Ok(())
}
