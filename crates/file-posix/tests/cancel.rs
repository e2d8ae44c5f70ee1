//! Dropped futures, missing runtimes, runtimes that end.
// Helpers panic like tests do: it is the failure report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use block_core::{IoBuf, IoVecMut, Node, RequestFlags};
use common::*;
use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const SOON: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(120);

fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a request once, and gives it back unless it was answered at once: polled again it would
/// panic then.
fn begin<F, T>(mut request: Pin<Box<F>>) -> Option<Pin<Box<F>>>
where
    F: Future<Output = block_core::Result<T>>,
{
    match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.map(|_| None).unwrap(),
        Poll::Pending => Some(request),
    }
}

/// A runtime whose only blocking thread can be kept busy, so that requests wait in its queue.
fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap()
}

/// Keeps the blocking thread busy until the sender is dropped.
fn occupy() -> mpsc::Sender<()> {
    let (release, wait) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || {
        let _ = wait.recv();
    });
    release
}

/// As long as a write of [`write`]: more than the page cache of some file systems takes at once.
const LONG: usize = 72 << 10;

/// A write that always waits for a thread.
fn write(node: &Node, byte: u8) -> impl Future<Output = block_core::Result<()>> {
    let data = IoBuf::copy_of(&[byte; LONG]).into();
    node.write(0, data, RequestFlags::empty())
}

async fn first_byte(node: &Node) -> u8 {
    let bufs = node.read(0, IoVecMut::from(vec![0; 4096])).await.unwrap();
    bufs.to_vec()[0]
}

#[test]
fn a_write_dropped_before_it_began_is_not_made_and_a_flush_is_waited_for() {
    for how in [PLAIN, DIRECT] {
        one_thread().block_on(async {
            let folder = folder();
            let path = file_with(&folder, &[0; LONG]);
            let Ok(node) = open(&path, how).await else {
                drop(writeln!(std::io::stderr(), "NOT TESTED with cache.direct=on"));
                return;
            };
            let read = || node.read(0, IoVecMut::from(vec![0; 4096]));
            // The page cache has the data: no need to wait, where the file system can tell.
            let at_once = how == PLAIN && poll_once(read()).is_ready();
            if how == PLAIN && !at_once {
                drop(writeln!(std::io::stderr(), "NOT TESTED: reads of the page cache at once"));
            }
            node.settle().await.unwrap();
            let release = occupy();
            assert!(poll_once(write(&node, 7)).is_pending());
            assert_eq!(poll_once(read()).is_ready(), at_once);
            assert!(poll_once(node.flush()).is_pending());
            let settled = timeout(SOON, node.settle()).await;
            assert!(settled.is_err(), "the flush has not even begun");
            drop(release);
            timeout(LATE, node.settle()).await.unwrap().unwrap();
            assert_eq!(first_byte(&node).await, 0);
        });
    }
}

#[test]
fn a_dropped_node_keeps_its_lock_until_its_orphans_end() {
    one_thread().block_on(async {
        let folder = folder();
        let path = file_with(&folder, &[7; 8192]);
        let node = open(&path, PLAIN).await.unwrap();
        let release = occupy();
        assert!(poll_once(node.write_zeroes(0, 4096, RequestFlags::empty())).is_pending());
        drop(node);
        // From another runtime: this one's thread is busy.
        let again = || {
            let path = path.clone();
            std::thread::spawn(move || one_thread().block_on(open(&path, PLAIN))).join().unwrap()
        };
        assert_eq!(told(again()).0, "busy");
        drop(release);
        let node = open(&path, PLAIN).await.unwrap();
        assert_eq!(first_byte(&node).await, 0);
        // A write that was not begun is none.
        let _busy = occupy();
        assert!(poll_once(write(&node, 7)).is_pending());
        drop(node);
        again().unwrap();
    });
}

/// A runtime on which requests can go by `io_uring`.
fn with_io() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A file on disk that is opened past the page cache by `io_uring`, or the reason on the screen.
async fn open_ring(path: &Path) -> Option<Arc<Node>> {
    match open_with(path, "io_uring", DIRECT).await {
        Ok(node) => Some(node),
        Err(e) => {
            drop(writeln!(std::io::stderr(), "NOT TESTED with aio=io_uring: {e}"));
            None
        }
    }
}

#[test]
fn requests_of_a_ring_survive_the_runtime_that_submitted_them() {
    let folder = folder();
    let path = file_with(&folder, &[0; 1 << 20]);
    for round in 1..=20 {
        let first = with_io();
        let Some(node) = first.block_on(open_ring(&path)) else { return };
        // Polled once on a runtime that ends, and then awaited on another.
        let writes: Vec<_> = (0..64_u64)
            .map(|n| {
                let data = IoBuf::copy_of(&[round; 4096]).into();
                Box::pin(node.write(n * 4096, data, RequestFlags::empty()))
            })
            .collect();
        let writes: Vec<_> =
            first.block_on(async { writes.into_iter().filter_map(begin).collect() });
        drop(first);
        with_io().block_on(async {
            for write in writes {
                timeout(LATE, write).await.expect("does not hang").unwrap();
            }
            timeout(LATE, node.settle()).await.unwrap().unwrap();
            let bufs = node.read(0, IoVecMut::from(vec![0; 64 * 4096])).await.unwrap();
            assert_eq!(bufs.to_vec(), [round; 64 * 4096]);
            node.close().await.unwrap();
        });
    }
}

#[test]
fn requests_of_a_runtime_that_nobody_drives_are_settled_from_another() {
    let folder = folder();
    let path = file_with(&folder, &[0; 1 << 20]);
    let first = with_io();
    let Some(node) = first.block_on(open_ring(&path)) else { return };
    first.block_on(async {
        for n in 0..64_u64 {
            let data = IoBuf::copy_of(&[7; 4096]).into();
            let _ = poll_once(node.write(n * 4096, data, RequestFlags::empty()));
        }
    });
    with_io().block_on(async {
        timeout(LATE, node.settle()).await.expect("does not hang").unwrap();
        // Whatever was begun has ended; nothing is half done.
        let bufs = node.read(0, IoVecMut::from(vec![0; 64 * 4096])).await.unwrap().to_vec();
        for block in bufs.chunks(4096) {
            assert!(block == [0; 4096] || block == [7; 4096]);
        }
        node.close().await.unwrap();
    });
    drop(first);
}

#[test]
fn a_request_that_nobody_polls_holds_no_settle_up() {
    with_io().block_on(async {
        let folder = folder();
        let path = file_with(&folder, &[1; 1 << 20]);
        let Some(node) = open_ring(&path).await else { return };
        let reads: Vec<_> = (0..300_u64)
            .map(|n| Box::pin(node.read((n % 256) * 4096, IoVecMut::from(vec![0; 4096]))))
            .collect();
        let reads: Vec<_> = reads.into_iter().filter_map(begin).collect();
        timeout(LATE, node.settle()).await.expect("does not hang").unwrap();
        node.close().await.unwrap();
        // Every request has ended: others may have the file, and each still has its data.
        let again = open(&path, DIRECT).await.expect("nobody holds the lock");
        again.close().await.unwrap();
        for read in reads {
            assert_eq!(timeout(LATE, read).await.unwrap().unwrap().to_vec(), [1; 4096]);
        }
    });
}

#[test]
fn a_full_ring_whose_runtime_ends_gives_everything_back() {
    let folder = folder();
    let path = file_with(&folder, &[1; 1 << 20]);
    for round in 0..20_u64 {
        let first = with_io();
        let Some(node) = first.block_on(open_ring(&path)) else { return };
        let reads: Vec<_> = (0..600_u64)
            .map(|n| Box::pin(node.read((n % 256) * 4096, IoVecMut::from(vec![0; 4096]))))
            .collect();
        let mut pending = Vec::new();
        first.block_on(async {
            for (n, read) in (0_u64..).zip(reads) {
                pending.extend(begin(read));
                if n % 64 == round {
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut reads = pending;
        // Some queued, some with the kernel, some done: keys are given out again meanwhile.
        let mut number = 0;
        reads.retain(|_| {
            number += 1;
            number % 3 != 0
        });
        drop(first);
        with_io().block_on(async {
            for read in reads {
                let read = timeout(LATE, read).await.expect("does not hang").unwrap();
                assert_eq!(read.to_vec(), [1; 4096]);
            }
            timeout(LATE, node.settle()).await.expect("does not hang").unwrap();
            node.close().await.unwrap();
            open(&path, DIRECT).await.expect("nobody holds the lock").close().await.unwrap();
        });
    }
}

#[test]
fn a_dropped_request_of_a_ring_leaves_the_others_alone() {
    with_io().block_on(async {
        let folder = folder();
        let path = file_with(&folder, &[1; 4 << 20]);
        let Some(node) = open_ring(&path).await else { return };
        let reads = (0..1024_u64).map(|n| {
            let node = Arc::clone(&node);
            async move {
                let mut read = Box::pin(node.read(n * 4096, IoVecMut::from(vec![0; 4096])));
                if n % 3 == 0 {
                    // Before or after its submission, as it comes.
                    let _ = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    if n % 2 == 0 {
                        tokio::task::yield_now().await;
                    }
                    return;
                }
                assert_eq!(read.await.unwrap().to_vec(), [1; 4096]);
            }
        });
        let tasks: Vec<_> = reads.map(tokio::spawn).collect();
        for task in tasks {
            timeout(LATE, task).await.expect("does not hang").unwrap();
        }
        timeout(LATE, node.settle()).await.unwrap().unwrap();
        node.close().await.unwrap();
    });
}

#[test]
fn after_settle_and_close_the_file_is_free() {
    for _ in 0..50 {
        one_thread().block_on(async {
            let folder = folder();
            let path = file_with(&folder, &[0; LONG]);
            let node = open(&path, PLAIN).await.unwrap();
            for byte in 0..8 {
                let _ = poll_once(write(&node, byte));
            }
            let _ = poll_once(node.flush());
            node.settle().await.unwrap();
            node.close().await.unwrap();
            open(&path, PLAIN).await.expect("nobody holds the lock");
        });
    }
}

#[test]
fn a_dropped_long_request_stops_at_its_next_piece() {
    one_thread().block_on(async {
        let folder = tempfile::TempDir::new_in("/dev/shm").unwrap();
        let path = file_with(&folder, &[1; 24 << 20]);
        let node = open(&path, PLAIN).await.unwrap();
        let all = node.write_zeroes(0, 24 << 20, RequestFlags::empty());
        // On tmpfs zeroes are written; the first try to do better is in the queue.
        assert!(poll_once(all).is_pending());
        node.settle().await.unwrap();
        let bufs = node.read((24 << 20) - 512, IoVecMut::from(vec![0; 512]));
        assert_eq!(bufs.await.unwrap().to_vec(), [1; 512]);
    });
}

#[test]
fn a_dropped_create_leaves_a_whole_file_or_none() {
    one_thread().block_on(async {
        let folder = folder();
        let path = folder.path().join("new");
        let release = occupy();
        assert!(poll_once(file_posix::create(&path, 4096, false)).is_pending());
        drop(release);
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4096);
    });
}

#[test]
fn outside_a_runtime_requests_fail_with_a_reason() {
    let folder = folder();
    let path = file_with(&folder, &[0; LONG]);
    let refused = |result: Poll<block_core::Result<()>>| match result {
        Poll::Ready(result) => {
            let (kind, message) = told(result);
            assert_eq!(kind, "unsupported");
            assert!(message.contains("tokio runtime"), "{message}");
        }
        Poll::Pending => panic!("this must fail at once"),
    };
    refused(poll_once(async { open(&path, PLAIN).await.map(drop) }));
    refused(poll_once(file_posix::create(&path, 1, true)));

    let node = one_thread().block_on(open(&path, PLAIN)).unwrap();
    refused(poll_once(write(&node, 1)));
    refused(poll_once(async { node.read(0, IoVecMut::from(vec![0; 512])).await.map(drop) }));
    refused(poll_once(node.flush()));
    refused(poll_once(node.discard(0, 512)));
    refused(poll_once(node.resize(512)));
    assert!(matches!(poll_once(node.settle()), Poll::Ready(Ok(()))));
    // Another runtime takes it up.
    one_thread().block_on(async {
        write(&node, 9).await.unwrap();
        assert_eq!(first_byte(&node).await, 9);
    });
}

#[test]
fn a_runtime_that_has_ended_fails_requests() {
    let folder = folder();
    let path = file_with(&folder, &[0; LONG]);
    let runtime = one_thread();
    let node: Arc<Node> = runtime.block_on(open(&path, PLAIN)).unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    let _entered = handle.enter();
    match poll_once(write(&node, 1)) {
        Poll::Ready(result) => {
            let (kind, message) = told(result);
            assert_eq!(kind, "io");
            assert!(message.contains("shut down"), "{message}");
        }
        Poll::Pending => panic!("this must fail at once"),
    }
    assert!(matches!(poll_once(node.settle()), Poll::Ready(Ok(()))));
}

#[test]
fn requests_in_the_queue_of_an_ending_runtime_are_given_up() {
    let folder = folder();
    let path = file_with(&folder, &[0; LONG]);
    let runtime = one_thread();
    let node = runtime.block_on(open(&path, PLAIN)).unwrap();
    let release = runtime.block_on(async {
        let release = occupy();
        for byte in 0..4 {
            assert!(poll_once(write(&node, byte)).is_pending());
        }
        release
    });
    runtime.shutdown_background();
    drop(release);
    one_thread().block_on(async {
        timeout(LATE, node.settle()).await.unwrap().unwrap();
        write(&node, 5).await.unwrap();
        assert_eq!(first_byte(&node).await, 5);
    });
}
