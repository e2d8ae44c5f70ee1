//! Images that are not what they should be, and files that cannot be as long as their device: what
//! is refused, what the refusal says, and what must go on all the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use block_core::{ErrorKind, IoBufMut, Node, RequestFlags, Result, Zone, ZoneCondition, ZoneOp};
use power_cut::{Content, PowerCutDisk};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use zoned_file::GeometryConfig;

const ZONE: u64 = 8192;
const ZONES: u64 = 6;
const GEOMETRY: GeometryConfig = GeometryConfig {
    size: ZONES * ZONE,
    zone_size: ZONE,
    zone_capacity: None,
    conventional: 1,
    block_size: 512,
    max_open: 1,
    max_active: 2,
};
const NONE: RequestFlags = RequestFlags::empty();
/// Where an image with a small table keeps its data.
const DATA: u64 = 1 << 20;
const HEADERS: [u64; 2] = [0, 64 << 10];
const TABLES: [u64; 2] = [128 << 10, 132 << 10];
/// Fields of the header.
const VERSION: u64 = 8;
const FILE_LENGTH: u64 = 112;

fn page(content: &Content, place: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    content.read(place, &mut bytes);
    bytes
}

/// Changes a field of a page, and makes the checksum right.
fn patch(content: &mut Content, place: u64, field: u64, bytes: &[u8]) {
    content.write(place + field, bytes);
    let sum = crc32c::crc32c(&page(content, place)[..4092]);
    content.write(place + 4092, &sum.to_le_bytes());
}

/// As if the image had been made where files cannot be longer than so many bytes of the device.
fn shortened(mut content: Content, device_bytes: u64) -> Content {
    let length = DATA + device_bytes;
    for header in HEADERS {
        patch(&mut content, header, FILE_LENGTH, &length.to_le_bytes());
    }
    content.resize(length);
    content
}

/// What opening it says, which must be the same for readers and writers.
async fn refusal(content: &Content) -> String {
    let mut said = Vec::new();
    for read_only in [true, false] {
        let refused = common::open(&PowerCutDisk::new(content.clone(), 1), read_only).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::InvalidImage(_)), "{refused}");
        said.push(refused.to_string());
    }
    assert_eq!(said[0], said[1]);
    said.remove(0)
}

async fn zone(node: &Node, number: u64) -> Zone {
    node.report_zones(number * ZONE, 1).await.unwrap()[0]
}

async fn append(node: &Node, number: u64, len: usize) -> Result<u64> {
    node.append(number * ZONE, vec![u8::try_from(number).unwrap() + 1; len].into(), NONE).await
}

async fn read(node: &Node, offset: u64, len: usize) -> Vec<u8> {
    node.read(offset, IoBufMut::zeroed(len).into()).await.unwrap().to_vec()
}

fn is_no_space<T: std::fmt::Debug>(result: &Result<T>) -> bool {
    result.as_ref().is_err_and(|e| matches!(e.kind(), ErrorKind::NoSpace(_)))
}

#[tokio::test]
async fn a_file_shorter_than_its_device_is_used_to_its_last_byte() {
    let content = shortened(common::new_image(GEOMETRY).await, 4 * ZONE);
    let disk = PowerCutDisk::new(content, 1);
    let node = common::open(&disk, false).await.unwrap();
    assert_eq!(append(&node, 3, 8192).await.unwrap(), 3 * ZONE);
    assert_eq!(zone(&node, 3).await.condition, ZoneCondition::Full);
    // More often than there are resources: a refusal must not keep one.
    for number in [4, 5, 4, 5, 4] {
        assert!(is_no_space(&append(&node, number, 512).await));
        let write = node.write(number * ZONE, vec![1; 512].into(), NONE).await;
        assert!(is_no_space(&write));
        assert!(is_no_space(&node.write_zeroes(number * ZONE, 512, NONE).await));
        assert_eq!(zone(&node, number).await.condition, ZoneCondition::Empty);
    }
    assert_eq!(append(&node, 2, 512).await.unwrap(), 2 * ZONE, "others go on");
    node.close().await.unwrap();
    assert_eq!(disk.live().length(), DATA + 4 * ZONE, "the file did not grow");
    let node = common::open(&disk, false).await.unwrap();
    assert_eq!(read(&node, 3 * ZONE, 8192).await, [4; 8192]);
    assert_eq!(zone(&node, 3).await.condition, ZoneCondition::Full);
}

#[tokio::test]
async fn a_refusal_for_want_of_space_leaves_the_appends_before_it_alone() {
    let content = shortened(common::new_image(GEOMETRY).await, 3 * ZONE + 1536);
    let disk = PowerCutDisk::new(content, 1);
    let node = common::open(&disk, false).await.unwrap();
    disk.hold();
    // The first is on its way; the other two wait, and are looked at together.
    let (first, second) = (append(&node, 3, 1024), append(&node, 3, 512));
    let third = append(&node, 3, 512);
    let (mut first, mut second, mut third) = (pin!(first), pin!(second), pin!(third));
    poll_fn(|cx| {
        assert!(first.as_mut().poll(cx).is_pending() && second.as_mut().poll(cx).is_pending());
        assert!(third.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    disk.release();
    assert_eq!(first.await.unwrap(), 3 * ZONE);
    assert_eq!(second.await.unwrap(), 3 * ZONE + 1024);
    assert!(is_no_space(&third.await));
    assert_eq!(zone(&node, 3).await.write_pointer, Some(3 * ZONE + 1536));
    assert_eq!(read(&node, 3 * ZONE, 1536).await, [4; 1536]);
    assert!(is_no_space(&append(&node, 3, 512).await));
    assert_eq!(zone(&node, 3).await.write_pointer, Some(3 * ZONE + 1536));
}

#[tokio::test]
async fn data_behind_the_end_of_the_file_is_refused() {
    let disk = PowerCutDisk::new(common::new_image(GEOMETRY).await, 1);
    let node = common::open(&disk, false).await.unwrap();
    append(&node, 4, 1024).await.unwrap();
    node.close().await.unwrap();
    // To the last byte of the data, and one block less.
    let enough = shortened(disk.live(), 4 * ZONE + 1024);
    let node = common::open(&PowerCutDisk::new(enough, 1), false).await.unwrap();
    assert_eq!(read(&node, 4 * ZONE, 1024).await, [5; 1024]);
    let too_short = shortened(disk.live(), 4 * ZONE + 512);
    let said = refusal(&too_short).await;
    assert!(said.contains("zone 4 claims data behind 0x108200"), "{said}");
    let found = common::check(&PowerCutDisk::new(too_short, 1), false).await.unwrap();
    assert!(!found.is_sound(), "{found:?}");
}

/// What is not known any more is made readable, as far as the file reaches.
#[tokio::test]
async fn a_repair_of_a_short_file_makes_only_zones_readable_that_it_holds() {
    let mut content = shortened(common::new_image(GEOMETRY).await, 4 * ZONE);
    for table in TABLES {
        content.write(table + 100, &[1]);
    }
    let disk = PowerCutDisk::new(content, 1);
    assert!(common::check(&disk, true).await.unwrap().is_sound());
    let node = common::open(&disk, false).await.unwrap();
    for number in 1..ZONES {
        let expected = if number < 4 { ZoneCondition::Full } else { ZoneCondition::Empty };
        assert_eq!(zone(&node, number).await.condition, expected, "zone {number}");
    }
    node.manage_zones(ZoneOp::Reset, 0, ZONES * ZONE).await.unwrap();
    append(&node, 3, 512).await.unwrap();
}

#[tokio::test]
async fn headers_of_two_images_are_refused() {
    let (mut one, other) = (common::new_image(GEOMETRY).await, common::new_image(GEOMETRY).await);
    one.write(HEADERS[1], &page(&other, HEADERS[1]));
    let said = refusal(&one).await;
    assert!(said.contains("two copies of the header are of different images"), "{said}");
    for repair in [false, true] {
        let refused = common::check(&PowerCutDisk::new(one.clone(), 1), repair).await;
        assert!(matches!(refused.unwrap_err().kind(), ErrorKind::InvalidImage(_)));
    }
}

#[tokio::test]
async fn an_image_of_a_newer_version_is_named_as_such() {
    let good = common::new_image(GEOMETRY).await;
    let newer = |headers: &[u64]| {
        let mut content = good.clone();
        for header in headers {
            patch(&mut content, *header, VERSION, &2_u32.to_le_bytes());
        }
        content
    };
    let mut first_gone = newer(&HEADERS);
    first_gone.write(HEADERS[0], &[0; 4096]);
    let mut second_gone = newer(&HEADERS);
    second_gone.write(HEADERS[1], &[0; 4096]);
    for content in [newer(&HEADERS), first_gone, second_gone] {
        let said = refusal(&content).await;
        assert!(said.contains("format version 2, which is newer than this program"), "{said}");
    }
    // One alone, beside a good copy, is damage.
    for header in HEADERS {
        let disk = PowerCutDisk::new(newer(&[header]), 1);
        assert_eq!(common::check(&disk, false).await.unwrap().findings.len(), 1);
        assert!(common::open(&disk, false).await.is_ok());
    }
}

/// The table is read some hundred pages at a time.
#[tokio::test]
async fn a_table_of_more_pages_than_are_read_at_once() {
    let zones = 66_000;
    let geometry = GeometryConfig {
        size: zones * 512,
        zone_size: 512,
        conventional: 0,
        max_open: 0,
        max_active: 0,
        ..GEOMETRY
    };
    let disk = PowerCutDisk::new(common::new_image(geometry).await, 1);
    let node = common::open(&disk, false).await.unwrap();
    for number in [0, 64_767, 64_768, 65_999] {
        node.append(number * 512, vec![7; 512].into(), NONE).await.unwrap();
    }
    node.close().await.unwrap();
    let found = common::check(&disk, false).await.unwrap();
    assert!(found.findings.is_empty(), "{found:?}");
    let node = common::open(&disk, true).await.unwrap();
    let full = |zone: &Zone| zone.condition == ZoneCondition::Full;
    let seen = node.report_zones(0, usize::MAX).await.unwrap();
    let full: Vec<u64> = seen.iter().filter(|z| full(z)).map(|z| z.start / 512).collect();
    assert_eq!(full, [0, 64_767, 64_768, 65_999]);
    assert_eq!(read(&node, 64_768 * 512, 512).await, [7; 512]);
}

/// Zeroes take no space, and are durable with the pointer and not by themselves.
#[tokio::test]
async fn zeroes_take_no_space_and_are_not_written_through() {
    let disk = PowerCutDisk::new(common::new_image(GEOMETRY).await, 1);
    let node = common::open(&disk, false).await.unwrap();
    append(&node, 2, 8192).await.unwrap();
    node.manage_zones(ZoneOp::Reset, 2 * ZONE, ZONE).await.unwrap();
    let (before, events) = (disk.live().allocated(), disk.trace().len());
    node.write_zeroes(2 * ZONE, 4096, RequestFlags::FUA).await.unwrap();
    assert!(disk.live().allocated() <= before, "zeroes were allocated");
    let trace = disk.trace().split_off(events);
    let begun = trace.iter().find(|event| event.starts_with("write-zeroes")).unwrap();
    assert!(!begun.contains("fua"), "{trace:?}");
    let last =
        trace.iter().position(|event| event.starts_with("write-zeroes") && event.contains("ended"));
    let flushed = trace.iter().rposition(|event| event.starts_with("flush ended"));
    assert!(flushed > last, "{trace:?}");
    assert_eq!(read(&node, 2 * ZONE, 8192).await, [0; 8192]);
}
