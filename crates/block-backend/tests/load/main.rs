//! What requests take: how often they allocate, what ten thousand of them hold while they wait, and
//! that none holds up those who want another zone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    // On purpose: a test keeps the program to itself while it waits.
    clippy::await_holding_lock
)]

mod allocations;
mod counted;
mod fairness;
mod limit;
mod memory;
mod stack;

use block_backend::{BlockBackend, IoBufMut, Result};
use bytes::Bytes;
use stack::BLOCK;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use tokio::runtime::{Builder, Runtime};

const MANY: u64 = 10_000;

/// A request, with what came of it: where its data is, or `None` for a read.
type Waiting = Pin<Box<dyn Future<Output = Result<Option<u64>>> + Send>>;

fn data() -> Bytes {
    Bytes::from_static(&[7; BLOCK as usize])
}

/// An append to this zone.
fn append(disk: &BlockBackend, zone: u64) -> Waiting {
    let disk = disk.clone();
    Box::pin(async move { disk.append(zone * stack::ZONE, data()).await.map(Some) })
}

/// A write of the `n`-th block from `start` on.
fn write(disk: &BlockBackend, start: u64, n: u64) -> Waiting {
    let (disk, at) = (disk.clone(), start + n * BLOCK);
    Box::pin(async move { disk.write(at, data()).await.map(|()| Some(at)) })
}

/// Memory to be filled, made before anything is measured.
type Memory = Mutex<VecDeque<IoBufMut>>;

fn memory_to_read() -> &'static Memory {
    let bufs = (0..MANY).map(|_| IoBufMut::zeroed(BLOCK as usize)).collect();
    Box::leak(Box::new(Mutex::new(bufs)))
}

/// A read of the `n`-th block of the device.
fn read(disk: &BlockBackend, n: u64, memory: &'static Memory) -> Waiting {
    let (disk, buf) = (disk.clone(), memory.lock().unwrap().pop_front().unwrap());
    Box::pin(async move {
        let buf = disk.read_buf(n * BLOCK, buf).await?;
        assert_eq!(buf.as_slice().unwrap(), data());
        memory.lock().unwrap().push_back(buf);
        Ok(None)
    })
}

/// A runtime with few threads for blocking work, because each that idles keeps some memory.
fn few_threads() -> Runtime {
    Builder::new_current_thread().enable_all().max_blocking_threads(4).build().unwrap()
}

/// Polls each once, in order.
fn begin(requests: impl Iterator<Item = Waiting>) -> Vec<Waiting> {
    let mut nobody = Context::from_waker(Waker::noop());
    let mut begun: Vec<Waiting> = requests.collect();
    begun.retain_mut(|request| match request.as_mut().poll(&mut nobody) {
        Poll::Pending => true,
        Poll::Ready(result) => {
            result.unwrap();
            false
        }
    });
    begun
}

/// Waits for all; none fails.
async fn end(waiting: Vec<Waiting>) -> Vec<Option<u64>> {
    let mut results = Vec::new();
    for request in waiting {
        results.push(request.await.unwrap());
    }
    results
}
