//! Anybody's tokio runtime: of either flavour, several at once, ending at any moment.

use crate::cx::Cx;
use crate::outcome::{Outcome, failed};
use crate::pattern::{pattern, whole};
use block_core::{RequestFlags, ZoneOp};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

cases!("runtimes":
    current_thread,
    multi_thread,
    made_in_one_and_used_in_another,
    two_use_one_node,
    one_ends_with_requests_under_way,
    polled_by_no_runtime_of_its_own,
);

fn current() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn multi() -> Runtime {
    Builder::new_multi_thread().worker_threads(3).enable_all().build().expect("a runtime")
}

/// Does the work on a thread of its own, where other runtimes can run; gives its result.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = send.send(work());
    });
    match receive.await {
        Ok(value) => Ok(value),
        Err(_) => failed("the thread of another runtime died"),
    }
}

/// A bit of everything, on areas of its own.
async fn exercise(cx: &Cx) -> Outcome {
    let unit = cx.unit();
    for area in cx.areas(4 * unit).await? {
        cx.write(area.start, &pattern(1, 4 * unit)).await?;
        cx.expect(area.start, &pattern(1, 4 * unit), "data in another runtime").await?;
    }
    cx.node.flush().await?;
    if cx.zoned().is_ok() {
        let zone = cx.empty_zone().await?;
        let at = cx.append(&zone, &pattern(2, unit)).await?;
        cx.expect(at, &pattern(2, unit), "an append in another runtime").await?;
        cx.manage(ZoneOp::Finish, &zone).await?;
        cx.manage(ZoneOp::Reset, &zone).await?;
    }
    Ok(cx.node.settle().await?)
}

async fn in_runtime(cx: Cx, runtime: fn() -> Runtime) -> Outcome {
    let (profile, factory) = cx.recipe();
    on_a_thread(move || {
        runtime().block_on(async {
            let cx = Cx::fresh(profile, factory).await;
            exercise(&cx).await?;
            Ok(cx.node.close().await?)
        })
    })
    .await?
}

async fn current_thread(cx: Cx) -> Outcome {
    in_runtime(cx, current).await
}

async fn multi_thread(cx: Cx) -> Outcome {
    in_runtime(cx, multi).await
}

async fn made_in_one_and_used_in_another(cx: Cx) -> Outcome {
    let (profile, factory) = cx.recipe();
    let other = on_a_thread(move || {
        let runtime = multi();
        let cx = runtime.block_on(async {
            let cx = Cx::fresh(profile, factory).await;
            exercise(&cx).await.map(|()| cx)
        });
        runtime.shutdown_timeout(Duration::from_secs(10));
        cx
    })
    .await??;
    exercise(&other).await?;
    on_a_thread(move || current().block_on(async { exercise(&other).await })).await?
}

/// Reads and, where that works in any order, writes, from several runtimes at the same time.
async fn two_use_one_node(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(64 * unit).await?;
    let cx = Arc::new(cx);
    let work = |part: u64| {
        let cx = Arc::clone(&cx);
        async move {
            for round in 0..50 {
                let at = area.start + (part * 16 + round % 16) * unit;
                cx.write(at, &pattern(round, unit)).await?;
                cx.expect(at, &pattern(round, unit), "data of one of several runtimes").await?;
                if round % 16 == 0 {
                    cx.node.flush().await?;
                }
            }
            Ok::<(), crate::outcome::Stop>(())
        }
    };
    let (first, second, third) = (work(0), work(1), work(2));
    let first = on_a_thread(move || current().block_on(first));
    let second = on_a_thread(move || multi().block_on(second));
    let (first, second) = (tokio::spawn(first), tokio::spawn(second));
    third.await?;
    for task in [first, second] {
        match task.await {
            Ok(outcome) => outcome??,
            Err(_) => return failed("a task died"),
        }
    }
    Ok(())
}

async fn one_ends_with_requests_under_way(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(32 * unit).await?;
    for round in 0..4 {
        let node = Arc::clone(&cx.node);
        on_a_thread(move || {
            let runtime = multi();
            for i in 0..16 {
                let node = Arc::clone(&node);
                runtime.spawn(async move {
                    loop {
                        let bufs = whole(&pattern(i, unit));
                        let at = area.start + i * unit;
                        let _ = node.write(at, bufs, RequestFlags::empty()).await;
                        tokio::task::yield_now().await;
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(2));
            runtime.shutdown_timeout(Duration::from_secs(10));
        })
        .await?;
        cx.node.settle().await?;
        let data = pattern(100 + round, 32 * unit);
        cx.write(area.start, &data).await?;
        cx.expect(area.start, &data, "data after another runtime ended").await?;
    }
    exercise(&cx).await
}

/// A plain executor that only parks its thread, inside the context of a runtime that others drive.
async fn polled_by_no_runtime_of_its_own(cx: Cx) -> Outcome {
    let (profile, factory) = cx.recipe();
    let handle = tokio::runtime::Handle::current();
    on_a_thread(move || {
        let _context = handle.enter();
        park_on(async {
            let cx = Cx::fresh(profile, factory).await;
            exercise(&cx).await
        })
    })
    .await?
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn park_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
