//! Discard, write-zeroes, resize, and what they cost on the disk.
// Helpers panic like tests do: it is the failure report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use block_core::{IoBuf, IoVecMut, Node, RequestFlags};
use common::*;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const SIZE: usize = 1 << 20;
/// What a hole may cost: the extents around it may need blocks of a tree.
const TREE: u64 = 16 << 10;

async fn read(node: &Node, offset: u64, len: usize) -> Vec<u8> {
    let bufs = IoVecMut::from(vec![0xEE; len]);
    node.read(offset, bufs).await.unwrap().to_vec()
}

/// Bytes that the file takes on its disk.
fn allocated(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

#[tokio::test]
async fn a_discard_gives_space_back() {
    for folder in folders() {
        let path = file_with(&folder, &[1; SIZE]);
        let node = open(&path, PLAIN).await.unwrap();
        node.flush().await.unwrap();
        let before = allocated(&path);
        node.discard(256 << 10, 512 << 10).await.unwrap();
        node.flush().await.unwrap();
        assert!(allocated(&path) + (512 << 10) <= before + TREE, "{}", path.display());
        assert_eq!(node.length(), SIZE as u64);
        assert!(read(&node, 0, 256 << 10).await.iter().all(|b| *b == 1));
        assert!(read(&node, 768 << 10, 256 << 10).await.iter().all(|b| *b == 1));
    }
}

#[tokio::test]
async fn zeroes_are_zeroes_by_every_way() {
    let ways = [
        RequestFlags::empty(),
        RequestFlags::FUA,
        RequestFlags::MAY_UNMAP,
        RequestFlags::MAY_UNMAP | RequestFlags::FUA | RequestFlags::NO_FALLBACK,
    ];
    for folder in folders() {
        for (how, flags) in ways.iter().flat_map(|f| [(PLAIN, f), (DIRECT, f)]) {
            let path = file_with(&folder, &[1; SIZE]);
            let node = match how.cache_direct {
                false => open(&path, how).await.unwrap(),
                true => match open_direct(&path).await {
                    Some(node) => node,
                    None => continue,
                },
            };
            node.write_zeroes(8192, 16384, *flags).await.unwrap();
            let all = read(&node, 0, SIZE).await;
            assert!(all[..8192].iter().all(|b| *b == 1), "{flags:?}");
            assert!(all[8192..24576].iter().all(|b| *b == 0), "{flags:?}");
            assert!(all[24576..].iter().all(|b| *b == 1), "{flags:?}");
            node.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn zeroes_that_may_unmap_give_space_back_and_others_keep_it() {
    let folder = folder();
    let path = file_with(&folder, &[1; SIZE]);
    let node = open(&path, PLAIN).await.unwrap();
    node.flush().await.unwrap();
    let before = allocated(&path);
    let half = SIZE as u64 / 2;
    match node.write_zeroes(0, half, RequestFlags::NO_FALLBACK).await {
        Ok(()) => assert!(allocated(&path) >= before),
        Err(e) => assert_eq!(e.kind().name(), "unsupported", "{e}"),
    }
    node.write_zeroes(0, half, RequestFlags::MAY_UNMAP).await.unwrap();
    node.flush().await.unwrap();
    assert!(allocated(&path) + half <= before + TREE);
}

#[tokio::test]
async fn where_zeroing_must_not_fall_back_it_says_so() {
    for folder in folders() {
        let path = file_with(&folder, &[1; SIZE]);
        let node = open(&path, PLAIN).await.unwrap();
        for _ in 0..2 {
            match node.write_zeroes(0, 4096, RequestFlags::NO_FALLBACK).await {
                Ok(()) => assert_eq!(read(&node, 0, 4096).await, [0; 4096]),
                Err(e) => {
                    assert_eq!(e.kind().name(), "unsupported", "{e}");
                    assert_eq!(read(&node, 0, 4096).await, [1; 4096]);
                }
            }
        }
    }
}

#[tokio::test]
async fn zeroes_past_the_end_extend_the_file() {
    for folder in folders() {
        for flags in [RequestFlags::empty(), RequestFlags::MAY_UNMAP] {
            let path = file_with(&folder, &[1; 1000]);
            let node = open(&path, PLAIN).await.unwrap();
            node.write_zeroes(500, 100_000, flags).await.unwrap();
            assert_eq!(node.length(), 100_500, "{flags:?}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 100_500);
            assert_eq!(read(&node, 0, 500).await, [1; 500]);
            assert!(read(&node, 500, 100_000).await.iter().all(|b| *b == 0));
            node.close().await.unwrap();

            // The last block of a file that ends within it.
            let path = file_with(&folder, &[1; 1000]);
            let Some(node) = open_direct(&path).await else {
                continue;
            };
            let len = node.length();
            node.write_zeroes(0, len, flags).await.unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), len);
            node.close().await.unwrap();
            assert!(std::fs::read(&path).unwrap().iter().all(|b| *b == 0));
        }
    }
}

#[tokio::test]
async fn resize_grows_with_zeroes_and_cuts() {
    for folder in folders() {
        for how in [PLAIN, DIRECT] {
            let path = file_with(&folder, &[1; 8192]);
            let node = match how.cache_direct {
                false => open(&path, how).await.unwrap(),
                true => match open_direct(&path).await {
                    Some(node) => node,
                    None => continue,
                },
            };
            node.resize(16384).await.unwrap();
            assert_eq!(node.length(), 16384);
            assert_eq!(read(&node, 8192, 8192).await, [0; 8192]);
            node.resize(4096).await.unwrap();
            assert_eq!(node.length(), 4096);
            node.resize(8192).await.unwrap();
            assert_eq!(read(&node, 4096, 4096).await, [0; 4096], "not the old data");
            assert_eq!(read(&node, 0, 4096).await, [1; 4096]);
            node.close().await.unwrap();
        }
    }
}

/// As another program would, which knows nothing of locks.
fn truncate(path: &Path, length: u64) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[tokio::test]
async fn what_others_added_to_a_file_is_there_after_a_look_and_not_before() {
    for folder in folders() {
        for how in [PLAIN, DIRECT, READ_ONLY] {
            let path = file_with(&folder, &[1; 8192]);
            let node = match how.cache_direct {
                false => open(&path, how).await.unwrap(),
                true => match open_direct(&path).await {
                    Some(node) => node,
                    None => continue,
                },
            };
            node.refresh().await.unwrap();
            assert_eq!(node.length(), 8192, "nothing has changed");
            truncate(&path, 16384);
            assert_eq!(node.length(), 8192, "nobody has looked");
            node.refresh().await.unwrap();
            assert_eq!(node.length(), 16384);
            assert_eq!(read(&node, 0, 16384).await, [[1; 8192], [0; 8192]].concat());
            if !how.read_only {
                let data = IoBuf::copy_of(&[2; 4096]).into();
                node.write(12288, data, RequestFlags::FUA).await.unwrap();
                assert_eq!(std::fs::read(&path).unwrap()[12288..], [2; 4096]);
            }
            node.close().await.unwrap();
            assert_eq!(told(node.refresh().await).0, "closed");
        }
    }
}

#[tokio::test]
async fn a_file_that_others_cut_keeps_its_length_and_says_so() {
    let folder = folder();
    let path = file_with(&folder, &[1; 8192]);
    let node = open(&path, PLAIN).await.unwrap();
    truncate(&path, 8191);
    let (kind, message) = told(node.refresh().await);
    assert_eq!(kind, "shrunk");
    assert!(message.contains("from 0x2000 to 0x1fff bytes"), "{message}");
    assert_eq!(node.length(), 8192);
    truncate(&path, 8192);
    node.refresh().await.unwrap();
    // What the node itself cut is no loss.
    node.resize(4096).await.unwrap();
    node.refresh().await.unwrap();
    assert_eq!(node.length(), 4096);
}

#[tokio::test]
async fn a_read_only_node_changes_nothing() {
    let folder = folder();
    let path = file_with(&folder, &[1; 8192]);
    let node = open(&path, READ_ONLY).await.unwrap();
    assert!(node.limits().read_only && !node.limits().discard);
    let data = IoBuf::copy_of(&[2; 512]).into();
    let none = RequestFlags::empty();
    for result in [
        node.write(0, data, none).await,
        node.write_zeroes(0, 512, none).await,
        node.discard(0, 512).await,
        node.resize(100).await,
    ] {
        assert_eq!(told(result).0, "read-only");
    }
    node.flush().await.unwrap();
    assert_eq!(read(&node, 0, 8192).await, [1; 8192]);
    node.close().await.unwrap();
}
