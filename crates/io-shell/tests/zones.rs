//! The zone commands: QEMU's reference scenario with its exact output, and every refusal.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use block_backend::image::CreateOptions;
use block_core::{ZoneCondition, ZoneOp};
use common::{M, Session, geometry, open, zoned};

/// Twelve zones of 256 MiB, as a null block device has them.
async fn twelve() -> Session {
    zoned(CreateOptions::new(geometry(12 << 28, 1 << 28))).await
}

fn line(start: u64, wptr: u64, condition: u32) -> String {
    format!(
        "start: {start:#x}, len 0x80000, cap 0x80000, wptr {wptr:#x}, zcond:{condition}, [type: 2]"
    )
}

#[tokio::test]
async fn the_reference_scenario() {
    let mut s = twelve().await;
    let zone = |n: u64| n * 0x80000;
    assert_eq!(s.ok("zrp 0 1").await, line(0, 0, 1));
    let ten: Vec<_> = (0..10).map(|n| line(zone(n), zone(n), 1)).collect();
    assert_eq!(s.ok("zrp 0 10").await, ten.join("\n"));
    assert_eq!(s.ok("zrp 0xb0000000 2").await, line(zone(11), zone(11), 1));
    for (offset, n) in [("0", 0), ("268435456", 1), ("0xb0000000", 11)] {
        assert_eq!(s.ok(&format!("zo {offset} 268435456")).await, "");
        assert_eq!(s.ok(&format!("zrp {offset} 1")).await, line(zone(n), zone(n), 3));
    }
    for (offset, n) in [("0", 0), ("0xb0000000", 11)] {
        assert_eq!(s.ok(&format!("zc {offset} 256M")).await, "");
        assert_eq!(s.ok(&format!("zrp {offset} 1")).await, line(zone(n), zone(n), 1));
    }
    assert_eq!(s.ok("zf 268435456 268435456").await, "");
    assert_eq!(s.ok("zrp 268435456 1").await, line(zone(1), zone(2), 14));
    assert_eq!(s.ok("zrs 268435456 268435456").await, "");
    assert_eq!(s.ok("zrp 268435456 1").await, line(zone(1), zone(1), 1));
    let said = |sector: u64| format!("After zap done, the append sector is {sector:#x}");
    assert_eq!(s.ok("zap -p 0 0x1000 0x2000").await, said(0));
    assert_eq!(s.ok("zrp 0 1").await, line(0, 0x18, 2));
    assert_eq!(s.ok("zap -p 0 0x1000 0x2000").await, said(0x18));
    assert_eq!(s.ok("zrp 0 1").await, line(0, 0x30, 2));
    assert_eq!(s.ok("zap -p 268435456 0x1000 0x2000").await, said(zone(1)));
    assert_eq!(s.ok("zrp 268435456 1").await, line(zone(1), zone(1) + 0x18, 2));
    assert_eq!(s.ok("zap -p 268435456 0x1000 0x2000").await, said(zone(1) + 0x18));
    assert_eq!(s.ok("zrp 268435456 1").await, line(zone(1), zone(1) + 0x30, 2));
    // Reset of all, as one range over the whole device.
    assert_eq!(s.ok("zrs 0 3G").await, "");
    let all: Vec<_> = (0..12).map(|n| line(zone(n), zone(n), 1)).collect();
    assert_eq!(s.ok("zone_report 0 100").await, all.join("\n"));
}

/// Zones of 1 MiB that take 768 KiB, at most two open and three active; a smaller last one.
async fn small() -> Session {
    let mut config = geometry(12 * M + (512 << 10), M);
    config.zone_capacity = Some(768 << 10);
    config.conventional = 1;
    config.max_open = 2;
    config.max_active = 3;
    let mut options = CreateOptions::new(config);
    options.read_only_zones = vec![10];
    options.offline_zones = vec![11];
    zoned(options).await
}

#[tokio::test]
async fn kinds_of_zones_are_shown_in_sectors() {
    let mut s = small().await;
    s.expect(
        &["zrp 0 2", "zrp 10M 100", "zrp 13M 1", "zrp 1M 0", "zrp 1500000 1"],
        &[
            "start: 0x0, len 0x800, cap 0x800, wptr 0x800, zcond:0, [type: 1]",
            "start: 0x800, len 0x800, cap 0x600, wptr 0x800, zcond:1, [type: 2]",
            "start: 0x5000, len 0x800, cap 0x600, wptr 0x5800, zcond:13, [type: 2]",
            "start: 0x5800, len 0x800, cap 0x600, wptr 0x6000, zcond:15, [type: 2]",
            "start: 0x6000, len 0x400, cap 0x400, wptr 0x6000, zcond:1, [type: 2]",
            "start: 0x800, len 0x800, cap 0x600, wptr 0x800, zcond:1, [type: 2]",
        ],
    )
    .await;
}

#[tokio::test]
async fn every_refusal_has_its_text() {
    let mut s = small().await;
    s.ok("write -q 2M 768k").await;
    s.ok("zo 3M 1M").await;
    for (line, said) in [
        ("zap 0 4k", "zone append failed: Input/output error"),
        ("zap 1536k 4k", "zone append failed: Invalid argument"),
        ("zap 20M 4k", "zone append failed: Invalid argument"),
        ("zap 1M 0", "zone append failed: Invalid argument"),
        ("zap 1M 100", "zone append failed: Invalid argument"),
        ("zap 2M 4k", "zone append failed: No space left on device"),
        ("zap 1M 512k 512k", "zone append failed: No space left on device"),
        ("zap 10M 4k", "zone append failed: Read-only file system"),
        ("zap 11M 4k", "zone append failed: Input/output error"),
        ("write 2M 4k", "write failed: No space left on device"),
        ("write 1028k 4k", "write failed: Input/output error"),
        ("write 1M 1M", "write failed: Invalid argument"),
        ("write 10M 4k", "write failed: Read-only file system"),
        ("write 11M 4k", "write failed: Input/output error"),
        ("write 1M 100", "write failed: Invalid argument"),
        ("write -z 1M 1M", "write failed: Invalid argument"),
        ("discard 1M 4k", "discard failed: Operation not supported"),
        ("truncate 1M", "truncate failed: Operation not supported"),
        ("read 11M 4k", "read failed: Input/output error"),
        ("read 12M 1M", "read failed: Invalid argument"),
        ("zo 0 1M", "zone open failed: Input/output error"),
        ("zc 100 1M", "zone close failed: Invalid argument"),
        ("zf 1M 1", "zone finish failed: Invalid argument"),
        ("zrs 12M 1M", "zone reset failed: Invalid argument"),
        ("zrs 1M 0", "zone reset failed: Invalid argument"),
        ("zrs 10M 1M", "zone reset failed: Read-only file system"),
        ("zrs 11M 1M", "zone reset failed: Input/output error"),
        ("zone_open 2M 1M", "zone open failed: No space left on device"),
    ] {
        assert_eq!(s.fails(line).await, said, "{line}");
    }
    s.ok("zo 4M 1M").await;
    assert_eq!(s.fails("zo 5M 1M").await, "zone open failed: Too many references: cannot splice");
    s.ok("zc 4M 1M").await;
    for zone in [4, 5, 3] {
        s.ok(&format!("zap {zone}M 4k")).await;
        s.ok(&format!("zc {zone}M 1M")).await;
    }
    assert_eq!(
        s.fails("zap 6M 4k").await,
        "zone append failed: Value too large for defined data type"
    );
    // The smaller last zone: nothing of what was refused has happened.
    let zones = s.shell.backend().report_zones(0, 100).await.unwrap();
    assert_eq!(zones[1].condition, ZoneCondition::Empty);
    s.shell.backend().manage_zones(ZoneOp::Finish, 3 * M, M).await.unwrap();
    s.ok("zrs 12M 512k").await;
    s.ok("zf 12M 512k").await;
}

#[tokio::test]
async fn nodes_without_zones_and_readers_are_told_so() {
    let mut s = open("driver=null,size=1M").await;
    for (line, what) in [
        ("zrp 0 1", "report"),
        ("zo 0 1M", "open"),
        ("zc 0 1M", "close"),
        ("zf 0 1M", "finish"),
        ("zrs 0 1M", "reset"),
        ("zap -p 0 4k", "append"),
    ] {
        assert_eq!(s.fails(line).await, format!("zone {what} failed: Operation not supported"));
    }
    assert_eq!(s.fails("report").await, "zone report failed: Operation not supported");
}

#[tokio::test]
async fn appends_fill_a_zone_with_the_pattern() {
    let mut s = small().await;
    assert_eq!(s.ok("zap 1M 4k 512").await, "");
    assert_eq!(s.ok("zap -f -P 7 -p 1M 8k").await, "After zap done, the append sector is 0x809");
    assert_eq!(s.ok("zap -pq 1M 4k").await, "");
    s.ok("read -q -P 0xcd 1M 4608").await;
    s.ok("read -q -P 7 1053184 8k").await;
    s.ok("read -q -P 0 1099776 8k").await;
}

#[tokio::test]
async fn the_table_is_in_bytes_and_has_names() {
    let mut s = small().await;
    s.ok("zap 1M 4k").await;
    let table = s.ok("report 0 2").await;
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0].join(" "), "start length capacity write pointer type condition");
    assert_eq!(lines[1], ["0x0", "0x100000", "0x100000", "-", "conventional", "not-write-pointer"]);
    assert_eq!(lines[2][3..], ["0x101000", "sequential-write-required", "implicit-open"]);
    assert_eq!(s.ok("report").await.lines().count(), 14);
    assert_eq!(s.ok("report 12M").await.lines().count(), 2);
}
