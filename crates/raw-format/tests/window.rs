//! Which windows are refused, and what a window does to zones, lengths and errors.
#![allow(clippy::unwrap_used, clippy::expect_used)] // In helpers of tests.

use block_conformance::memory::{MemoryConfig, MemoryDriver, MemoryZoned, MemoryZonedConfig};
use block_core::{
    ChildNeeds, ChildRole, ErrorKind, Graph, ImageSpec, Inherited, IoBufMut, Limits, Node,
    Registry, RequestFlags, Result, ZoneCondition, ZoneOp,
};
use null_driver::null;
use raw_format::{Raw, Window, raw};
use std::sync::Arc;

const ZONE: u64 = 256 << 10;

/// Opens `raw` with these options over a node of this name that is in the graph.
async fn open(graph: &Graph, options: &str) -> Result<Arc<Node>> {
    let text = format!("driver=raw,file=child{options}");
    graph.open(&ImageSpec::parse(&text)?, Inherited::default()).await
}

fn regular(length: u64, limits: Limits) -> (Graph, Arc<Node>) {
    let graph = Graph::new(Registry::new().with(raw()).with(null()));
    let driver = MemoryDriver::new(MemoryConfig { length, limits, lag: 0 });
    let node = graph.add(Some("child"), Box::new(driver)).unwrap();
    (graph, node)
}

fn zoned() -> (Graph, Arc<Node>) {
    let graph = Graph::new(Registry::new().with(raw()));
    let driver = MemoryZoned::new(MemoryZonedConfig::default());
    let node = graph.add(Some("child"), Box::new(driver)).unwrap();
    (graph, node)
}

async fn refusal(graph: &Graph, options: &str) -> String {
    let error = open(graph, options).await.expect_err(options);
    assert!(matches!(error.kind(), ErrorKind::InvalidOption(_)), "{error}");
    error.kind().to_string()
}

#[tokio::test]
async fn a_window_past_the_end_is_refused() {
    let (graph, _child) = regular(1 << 20, Limits::unaligned());
    for (options, message) in [
        (
            ",offset=1M",
            "driver 'raw', option 'offset' = 0x100000: is not below the child's length, 0x100000",
        ),
        (
            ",offset=18446744073709551104",
            "driver 'raw', option 'offset' = 0xfffffffffffffe00: is not below the child's length, 0x100000",
        ),
        (
            ",size=2M",
            "driver 'raw', option 'size' = 0x200000: reaches past the child's end: from offset 0x0 on there are 0x100000 bytes",
        ),
        (
            ",offset=512k,size=18446744073709551104",
            "driver 'raw', option 'size' = 0xfffffffffffffe00: reaches past the child's end: from offset 0x80000 on there are 0x80000 bytes",
        ),
        (",size=0", "driver 'raw', option 'size' = 0x0: leaves nothing of the child"),
    ] {
        assert_eq!(refusal(&graph, options).await, message);
    }
}

#[tokio::test]
async fn a_window_off_the_blocks_is_refused() {
    let limits = Limits { block_size: 4096, request_alignment: 4096, ..Limits::unaligned() };
    let (graph, _child) = regular(1 << 20, limits);
    for (options, message) in [
        (
            ",offset=512",
            "driver 'raw', option 'offset' = 0x200: the child's block size is 0x1000, so use 0x0 or 0x1000",
        ),
        (
            ",size=5000",
            "driver 'raw', option 'size' = 0x1388: the child's block size is 0x1000, so use 0x1000 or 0x2000",
        ),
        (
            ",size=1",
            "driver 'raw', option 'size' = 0x1: the child's block size is 0x1000, so use 0x1000",
        ),
    ] {
        assert_eq!(refusal(&graph, options).await, message);
    }
}

#[tokio::test]
async fn an_odd_end_is_allowed_where_the_child_has_it() {
    let (graph, _child) = regular(10_000, Limits::unaligned());
    assert_eq!(open(&graph, ",offset=512").await.unwrap().length(), 9488);
    assert_eq!(open(&graph, ",size=10000").await.unwrap().length(), 10_000);
    let message = refusal(&graph, ",size=9999").await;
    assert!(message.ends_with("so use 0x2600 or 0x2710"), "{message}");
}

#[tokio::test]
async fn a_window_that_cuts_a_zone_is_refused() {
    let (graph, child) = zoned();
    for (options, message) in [
        (
            ",offset=4k",
            "driver 'raw', option 'offset' = 0x1000: it would cut a zone; the zone size is 0x40000, so use 0x0 or 0x40000",
        ),
        (
            ",offset=256k,size=260k",
            "driver 'raw', option 'size' = 0x41000: it would cut a zone; the zone size is 0x40000, so use 0x40000 or 0x80000",
        ),
        (
            ",size=4k",
            "driver 'raw', option 'size' = 0x1000: it would cut a zone; the zone size is 0x40000, so use 0x40000",
        ),
        (
            ",size=2820k",
            "driver 'raw', option 'size' = 0x2c1000: it would cut a zone; the zone size is 0x40000, so use 0x2c0000 or 0x2d0000",
        ),
    ] {
        assert_eq!(refusal(&graph, options).await, message);
    }
    let whole = open(&graph, ",size=2880k").await.unwrap();
    assert_eq!(whole.length(), child.length());
}

#[tokio::test]
async fn wrong_options_are_refused_by_name() {
    let (graph, _child) = regular(1 << 20, Limits::unaligned());
    assert!(refusal(&graph, ",ofset=1").await.contains("did you mean 'offset'?"));
    let spec = ImageSpec::parse("driver=raw").unwrap();
    let error = graph.open(&spec, Inherited::default()).await.unwrap_err();
    assert!(error.to_string().contains("missing option 'file'"), "{error}");
}

#[tokio::test]
async fn limits_and_reports_are_those_of_the_window() {
    let (graph, child) = zoned();
    let node = open(&graph, ",offset=512k,size=768k").await.unwrap();
    let (limits, below) = (node.limits().zoned.unwrap(), child.limits().zoned.unwrap());
    assert_eq!((limits.nr_zones, below.nr_zones), (3, 12));
    assert_eq!(limits.max_open_zones, below.max_open_zones);
    node.append(ZONE, IoBufMut::zeroed(512).into(), RequestFlags::empty()).await.unwrap();
    let zones = node.report_zones(0, usize::MAX).await.unwrap();
    let starts: Vec<_> = zones.iter().map(|z| z.start).collect();
    assert_eq!(starts, [0, ZONE, 2 * ZONE]);
    assert_eq!(zones[1].write_pointer, Some(ZONE + 512));
    let zones = child.report_zones(3 * ZONE, 1).await.unwrap();
    assert_eq!(zones[0].write_pointer, Some(3 * ZONE + 512));
    assert!(node.report_zones(3 * ZONE, 1).await.unwrap().is_empty());
    assert!(node.report_zones(u64::MAX, 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn errors_speak_of_the_child() {
    let (graph, _child) = zoned();
    let node = open(&graph, ",offset=512k").await.unwrap();
    let write = node.write(512, IoBufMut::zeroed(512).into(), RequestFlags::empty());
    let error = write.await.unwrap_err();
    assert_eq!(error.node(), Some("child"));
    assert_eq!(error.range(), Some(((512 << 10) + 512, 512)));
    assert!(error.to_string().contains("zone 2 at 0x80000 expects"), "{error}");
}

#[tokio::test]
async fn all_zones_of_a_window_are_managed_around_those_that_cannot_be() {
    let driver = MemoryZoned::new(MemoryZonedConfig::default());
    let damage = driver.damage();
    let graph = Graph::new(Registry::new().with(raw()));
    let child = graph.add(Some("child"), Box::new(driver)).unwrap();
    // Of the child's zones 1 (conventional) to 6.
    let node = open(&graph, ",offset=256k,size=1536k").await.unwrap();
    damage.set_condition(3, ZoneCondition::ReadOnly);
    damage.set_condition(5, ZoneCondition::Offline);
    node.manage_zones(ZoneOp::Finish, 0, node.length()).await.unwrap();
    let conditions = |zones: Vec<block_core::Zone>| -> Vec<_> {
        zones.iter().map(|z| z.condition.name()).collect()
    };
    let zones = child.report_zones(0, 9).await.unwrap();
    assert_eq!(
        conditions(zones),
        [
            "not-write-pointer",
            "not-write-pointer",
            "full",
            "read-only",
            "full",
            "offline",
            "full",
            "empty",
            "empty"
        ]
    );
    // One full zone refuses an open of all, before any is changed.
    node.manage_zones(ZoneOp::Reset, ZONE, ZONE).await.unwrap();
    let before = node.report_zones(0, usize::MAX).await.unwrap();
    let error = node.manage_zones(ZoneOp::Open, 0, node.length()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ZoneFull { zone, .. } if zone.index == 4), "{error}");
    assert_eq!(node.report_zones(0, usize::MAX).await.unwrap(), before);
    node.manage_zones(ZoneOp::Reset, 0, node.length()).await.unwrap();
    let zones = node.report_zones(0, usize::MAX).await.unwrap();
    assert_eq!(zones.iter().filter(|z| z.condition == ZoneCondition::Empty).count(), 3);
}

#[tokio::test]
async fn a_whole_child_is_resized_and_a_window_is_not() {
    let (graph, child) = regular(1 << 20, Limits::unaligned());
    let node = open(&graph, "").await.unwrap();
    node.resize(2 << 20).await.unwrap();
    assert_eq!((node.length(), child.length()), (2 << 20, 2 << 20));
    drop(node);
    for options in [",size=1M", ",offset=512"] {
        let node = open(&graph, options).await.unwrap();
        let error = node.resize(1 << 20).await.unwrap_err();
        assert_eq!(error.kind().name(), "unsupported");
        assert!(error.to_string().contains("window"), "{error}");
    }
}

#[tokio::test]
async fn the_end_follows_the_child_unless_there_is_a_size() {
    let (_, child) = regular(1 << 20, Limits::unaligned());
    let needs = ChildNeeds {
        role: ChildRole::Filtered,
        write: true,
        share_write: true,
        carries_zones: true,
    };
    let open = |offset, size| {
        let below = child.attach(needs, "raw").unwrap();
        Node::new("raw", Box::new(Raw::new(below, Window { offset, size }).unwrap()))
    };
    let (whole, tail, part) = (open(0, None), open(512, None), open(512, Some(1024)));
    child.resize(4096).await.unwrap();
    assert_eq!((whole.length(), tail.length(), part.length()), (4096, 3584, 1024));
    child.resize(1024).await.unwrap();
    assert_eq!((whole.length(), tail.length(), part.length()), (1024, 512, 512));
}

#[tokio::test]
async fn rights_are_those_that_were_asked_for() {
    let (graph, _child) = regular(1 << 20, Limits::unaligned());
    let read_only = open(&graph, ",read-only=on").await.unwrap();
    assert!(read_only.limits().read_only);
    drop(read_only);
    let first = open(&graph, "").await.unwrap();
    assert!(!first.limits().read_only);
    let error = open(&graph, "").await.unwrap_err();
    assert_eq!(error.kind().name(), "busy", "{error}");
}

#[tokio::test]
async fn a_child_is_opened_from_options() {
    let (graph, _child) = regular(512, Limits::unaligned());
    let text = "driver=raw,offset=4k,size=8k,file.driver=null,file.size=1M";
    let spec = ImageSpec::parse(text).unwrap();
    let node = graph.open(&spec, Inherited::default()).await.unwrap();
    assert_eq!((node.driver_name(), node.length()), ("raw", 8192));
    assert_eq!(node.children()[0].driver_name(), "null");
    node.settle().await.unwrap();
    node.close().await.unwrap();
}
