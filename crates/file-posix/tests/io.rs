//! Reads and writes, buffered and past the page cache, whatever the memory looks like.
// Helpers panic like tests do: it is the failure report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use block_core::{IoBuf, IoBufMut, IoVec, IoVecMut, Node, RequestFlags};
use common::*;
use std::ptr::NonNull;
use std::sync::Arc;

const NONE: RequestFlags = RequestFlags::empty();

async fn read(node: &Node, offset: u64, len: usize) -> Vec<u8> {
    let bufs = IoVecMut::from(vec![0xEE; len]);
    node.read(offset, bufs).await.unwrap().to_vec()
}

/// The nodes to test on: buffered and direct, on each kind of file system.
async fn nodes(content: &[u8]) -> Vec<(tempfile::TempDir, Arc<Node>)> {
    let mut nodes = Vec::new();
    for folder in folders() {
        let path = file_with(&folder, content);
        nodes.push((folder, open(&path, PLAIN).await.unwrap()));
    }
    for folder in folders() {
        let path = file_with(&folder, content);
        if let Some(node) = open_direct(&path).await {
            nodes.push((folder, node));
        }
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_read_in_a_multi_thread_runtime() {
    round_trip().await;
}

#[tokio::test]
async fn what_is_written_is_read_in_a_current_thread_runtime() {
    round_trip().await;
}

async fn round_trip() {
    for (_folder, node) in nodes(&[0; 256 << 10]).await {
        for (offset, len, flags) in
            [(0, 4096, NONE), (64 << 10, 64 << 10, RequestFlags::FUA), (252 << 10, 4096, NONE)]
        {
            let data = pattern(len, 3);
            node.write(offset, IoBuf::copy_of(&data).into(), flags).await.unwrap();
            assert!(read(&node, offset, len).await == data);
        }
        node.flush().await.unwrap();
        assert_eq!(node.length(), 256 << 10);
        node.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_limits_say_what_the_file_demands() {
    for (_folder, node) in nodes(&[1; 8192]).await {
        let limits = node.limits();
        assert!(limits.block_size.is_power_of_two() && limits.block_size >= 512);
        assert!(limits.request_alignment <= limits.block_size);
        assert!(limits.discard && !limits.read_only && limits.zoned.is_none());
        let off = u64::from(limits.request_alignment) / 2;
        if off > 0 {
            let bufs = IoVecMut::from(vec![0; 4096]);
            let (kind, message) = told(node.read(off, bufs).await);
            assert_eq!(kind, "misaligned", "{message}");
        }
    }
    let folder = folder();
    let buffered = open(&file_with(&folder, b"x"), PLAIN).await.unwrap();
    assert_eq!(buffered.limits().request_alignment, 1);
    assert_eq!(buffered.limits().block_size, 512);
}

/// Segments of these lengths, none of them aligned.
fn unaligned_segments(lens: &[usize]) -> Vec<IoBufMut> {
    lens.iter()
        .map(|len| {
            let mut memory = IoBufMut::zeroed(len + 3);
            let _ = memory.split_to(3);
            memory
        })
        .collect()
}

#[tokio::test]
async fn memory_need_not_be_aligned() {
    const LENS: [usize; 4] = [1, 5000, 3000, 191];
    let total: usize = LENS.iter().sum();
    assert_eq!(total, 8192);
    for (_folder, node) in nodes(&[0; 16 << 10]).await {
        let data = pattern(total, 1);
        let mut segments: IoVecMut = unaligned_segments(&LENS).into_iter().collect();
        segments.copy_from_slice(&data);
        node.write(4096, segments.freeze(), NONE).await.unwrap();
        let bufs: IoVecMut = unaligned_segments(&LENS).into_iter().collect();
        let addresses: Vec<_> = bufs.segments().iter().map(|s| s.as_ptr()).collect();
        let bufs = node.read(4096, bufs).await.unwrap();
        assert!(bufs.to_vec() == data);
        let back: Vec<_> = bufs.segments().iter().map(|s| s.as_ptr()).collect();
        assert_eq!(addresses, back, "the same memory comes back");
        assert_eq!(read(&node, 0, 4096).await, [0; 4096]);
        assert_eq!(read(&node, 12288, 4096).await, [0; 4096]);
    }
}

#[tokio::test]
async fn foreign_memory_is_filled_and_written() {
    for (_folder, node) in nodes(&[0; 16 << 10]).await {
        for off in [0, 1] {
            let data = pattern(8192, off);
            let foreign = |content: &[u8]| {
                let mut memory = vec![0_u8; 8192 + 4096 + off].into_boxed_slice();
                let aligned = memory.as_ptr().align_offset(4096) + off;
                memory[aligned..aligned + content.len()].copy_from_slice(content);
                let start = NonNull::from(&mut memory[aligned]);
                // Only the address is used from here on.
                let owner = Arc::new(std::mem::ManuallyDrop::new(memory));
                // SAFETY: the memory is never freed, and no reference to it is made any more.
                unsafe { IoBufMut::from_foreign(start, 8192, owner) }
            };
            node.write(0, foreign(&data).freeze().into(), NONE).await.unwrap();
            let back = node.read(0, foreign(&[]).into()).await.unwrap();
            assert_eq!(back.segments().len(), 1);
            assert!(back.to_vec() == data, "off by {off}");
        }
    }
}

#[tokio::test]
async fn thousands_of_segments_are_one_request() {
    for (_folder, node) in nodes(&[0; 2 << 20]).await {
        let data = pattern(1 << 20, 5);
        let mut rest = IoBuf::copy_of(&data);
        let list: IoVec = (0..2048).map(|_| rest.split_to(512)).collect();
        node.write(512 << 10, list, NONE).await.unwrap();
        let mut rest = IoBufMut::zeroed(1 << 20);
        let list: IoVecMut = (0..2048).map(|_| rest.split_to(512)).collect();
        let list = node.read(512 << 10, list).await.unwrap();
        assert_eq!(list.segments().len(), 2048);
        assert!(list.to_vec() == data);
    }
}

#[tokio::test]
async fn what_lies_past_the_end_of_the_file_is_zeroes() {
    for (_folder, node) in nodes(&[7; 1000]).await {
        let unit = u64::from(node.limits().request_alignment);
        assert_eq!(node.length(), 1000_u64.next_multiple_of(unit));
        let bytes = read(&node, 0, 8192).await;
        assert_eq!(bytes[..1000], [7; 1000]);
        assert_eq!(bytes[1000..], [0; 7192]);
        assert_eq!(read(&node, 1 << 40, 8192).await, [0; 8192]);

        // Into memory that must be bounced, over several pieces.
        let list: IoVecMut = unaligned_segments(&[2 << 20, 512]).into_iter().collect();
        let list = node.read(0, list).await.unwrap().to_vec();
        assert!(list[..1000] == [7; 1000] && list[1000..].iter().all(|b| *b == 0));
    }
}

#[tokio::test]
async fn a_write_past_the_end_extends_the_file() {
    for (_folder, node) in nodes(&[]).await {
        assert_eq!(node.length(), 0);
        node.write(8192, IoBuf::copy_of(&[9; 4096]).into(), NONE).await.unwrap();
        assert_eq!(node.length(), 12288);
        assert_eq!(read(&node, 0, 8192).await, [0; 8192]);
        assert_eq!(read(&node, 8192, 4096).await, [9; 4096]);
    }
}

#[tokio::test]
async fn nothing_asked_is_nothing_done() {
    for (_folder, node) in nodes(&[1; 4096]).await {
        assert!(node.read(0, IoVecMut::new()).await.unwrap().is_empty());
        node.write(0, IoVec::new(), RequestFlags::FUA).await.unwrap();
        node.discard(0, 0).await.unwrap();
        node.write_zeroes(0, 0, NONE).await.unwrap();
        assert_eq!(read(&node, 0, 4096).await, [1; 4096]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_run_at_once() {
    for (_folder, node) in nodes(&[0; 1 << 20]).await {
        let tasks: Vec<_> = (0..64_usize)
            .map(|i| {
                let node = Arc::clone(&node);
                tokio::spawn(async move {
                    let offset = i as u64 * 16384;
                    for round in 0..8 {
                        let data = pattern(16384, i + round);
                        let bufs = IoBuf::copy_of(&data).into();
                        node.write(offset, bufs, NONE).await.unwrap();
                        assert!(read(&node, offset, 16384).await == data);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
}
