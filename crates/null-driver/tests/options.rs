//! Options, and what a latency does.
#![allow(clippy::unwrap_used)] // In helpers of tests.

use block_core::{Graph, ImageSpec, Inherited, IoBufMut, Node, Registry, RequestFlags, Result};
use null_driver::{Null, NullConfig, null};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

async fn open(text: &str) -> Result<Arc<Node>> {
    let graph = Graph::new(Registry::new().with(null()));
    graph.open(&ImageSpec::parse(text)?, Inherited::default()).await
}

async fn read(node: &Node) -> Vec<u8> {
    let mut buf = IoBufMut::zeroed(512);
    buf.fill(7);
    node.read(0, buf.into()).await.unwrap().to_vec()
}

#[tokio::test]
async fn a_gibibyte_of_zeroes_by_default() {
    let node = open("driver=null").await.unwrap();
    assert_eq!(node.length(), 1 << 30);
    assert!(node.limits().zoned.is_none() && !node.limits().read_only);
    assert_eq!(read(&node).await, [0; 512]);
}

#[tokio::test]
async fn options_are_obeyed() {
    let node = open("driver=null,size=16T,read-zeroes=off,read-only=on").await.unwrap();
    assert_eq!(node.length(), 16 << 40);
    assert!(node.limits().read_only);
    assert_eq!(read(&node).await, [7; 512], "the buffer comes back as it was");
}

#[tokio::test]
async fn wrong_options_are_refused_by_name() {
    for (options, part) in [
        ("driver=null,size=9223372036854775808", "option 'size'"),
        ("driver=null,sice=1", "did you mean 'size'?"),
        ("driver=null,latency-ns=soon", "option 'latency-ns'"),
        ("driver=null,read-zeroes=maybe", "option 'read-zeroes'"),
    ] {
        let error = open(options).await.unwrap_err();
        assert_eq!(error.kind().name(), "invalid-option");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_request_takes_its_latency_and_others_go_beside_it() {
    let node = open("driver=null,latency-ns=30000000").await.unwrap();
    let start = Instant::now();
    let (first, second) = tokio::join!(node.flush(), node.discard(0, 512));
    assert!(first.is_ok() && second.is_ok());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(30), "{took:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[tokio::test]
async fn settle_waits_for_a_dropped_request() {
    let node = open("driver=null,latency-ns=300000000").await.unwrap();
    let start = Instant::now();
    let write = node.write(0, IoBufMut::zeroed(512).into(), RequestFlags::empty());
    let mut write = Box::pin(write);
    // Begun by one poll and given up by hand: against a clock it could end first.
    let first = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
    assert!(first.is_pending());
    drop(write);
    node.settle().await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300));
}

/// A latency needs a runtime; that there is none is an error, no panic.
#[test]
fn a_latency_outside_any_runtime_is_refused() {
    let node = Node::new(
        "slow",
        Box::new(Null::new(NullConfig {
            latency: Duration::from_nanos(1),
            ..NullConfig::default()
        })),
    );
    let mut flush = std::pin::pin!(node.flush());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match flush.as_mut().poll(&mut context) {
        Poll::Ready(Err(e)) => assert_eq!(e.kind().name(), "unsupported"),
        other => panic!("{other:?}"),
    }
}

/// Without a latency a request ends on its first poll, in any executor.
#[test]
fn no_runtime_is_needed() {
    let node = Node::new("null", Box::new(Null::new(NullConfig::default())));
    let mut read = std::pin::pin!(node.read(4096, IoBufMut::zeroed(4096).into()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(read.as_mut().poll(&mut context).is_ready());
}
