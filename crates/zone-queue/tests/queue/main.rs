//! The queues as drivers see them, on a device that does what the test says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

mod cancellation;
mod errors;
mod explorer;
mod fake;
mod load;
mod merging;
mod ordering;
mod panics;
mod runtimes;

use block_core::{IoVec, Result};
use fake::{Fake, ZONE};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use zone_queue::{Payload, QueueLimits, Sequencer};

/// Length of the blocks that most tests write.
const BLOCK: u64 = 4096;

type Queues = Sequencer<Fake>;
type Reply = Pin<Box<dyn Future<Output = Result<u64>> + Send>>;

fn queues(zones: usize) -> Queues {
    Sequencer::new(Fake::new(zones, ZONE), zones, QueueLimits::default())
}

fn queues_of(fake: &Arc<Fake>, limits: QueueLimits) -> Queues {
    Sequencer::new(Arc::clone(fake), fake.state().zones.len(), limits)
}

fn data(fill: u8, len: u64) -> Payload {
    Payload::Data(IoVec::from(vec![fill; fake::index(len)]))
}

fn append(queues: &Queues, zone: u64, fill: u8) -> Reply {
    submit(queues, zone, None, data(fill, BLOCK))
}

fn write(queues: &Queues, at: u64, fill: u8) -> Reply {
    submit(queues, at / ZONE, Some(at), data(fill, BLOCK))
}

fn submit(queues: &Queues, zone: u64, at: Option<u64>, payload: Payload) -> Reply {
    let queues = queues.clone();
    Box::pin(async move { queues.submit(zone, at, payload).await })
}

/// Polls once, which must not be enough.
async fn begin<F: Future + Unpin>(future: &mut F) {
    std::future::poll_fn(|cx| {
        assert!(Pin::new(&mut *future).poll(cx).is_pending(), "ended at once");
        Poll::Ready(())
    })
    .await;
}

/// Polls each once, in order.
async fn begin_all(futures: &mut [Reply]) {
    for future in futures {
        begin(future).await;
    }
}

/// Makes the device work on one request, behind which others can line up.
async fn occupy(queues: &Queues, zone: u64) -> Reply {
    queues.target().hold();
    let pending = queues.target().state().pending.len();
    let mut first = append(queues, zone, 0xaa);
    begin(&mut first).await;
    soon(queues.target().pending(pending + 1)).await;
    first
}

/// The result, which must come: nobody waits forever.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("waits forever")
}

async fn all(futures: Vec<Reply>) -> Vec<Result<u64>> {
    let mut results = Vec::new();
    for future in futures {
        results.push(soon(future).await);
    }
    results
}

/// What was asked of the runtime so far has been done, as far as it goes.
async fn calm() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn name(result: &Result<u64>) -> &'static str {
    result.as_ref().map_or_else(|e| e.kind().name(), |_| "ok")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}
