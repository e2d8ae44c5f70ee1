//! What cannot be brought about from outside: failed syncs, file systems that lack operations.

use super::driver::FileDriver;
use super::open::{How, open};
use crate::engine::Engine;
use crate::open_file::OpenFile;
use crate::sys::{self, Allocate};
use block_core::{BlockDriver, BufferPool, IoBuf, IoVecMut, RequestFlags};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tempfile::NamedTempFile;

const HOW: How = How { read_only: false, direct: false, locking: true };

fn file_of(len: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(len).unwrap();
    file
}

fn driver(on: &NamedTempFile, prepare: impl FnOnce(&OpenFile)) -> FileDriver {
    let file = open(on.path(), HOW, BufferPool::default()).unwrap();
    prepare(&file);
    FileDriver::new(file, Engine::threads(), false)
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

async fn read(driver: &FileDriver, offset: u64, len: usize) -> Vec<u8> {
    let bufs = IoVecMut::from(vec![0xEE; len]);
    driver.read(offset, bufs).await.unwrap().to_vec()
}

#[tokio::test]
async fn after_a_failed_sync_every_promise_of_durability_fails() {
    let on = file_of(8192);
    let driver = driver(&on, |file| drop(file.durability.fail(eio())));
    let data = || IoBuf::copy_of(&[7; 512]).into();
    let first = driver.flush().await.unwrap_err();
    assert!(first.to_string().contains("every later flush fails"));
    assert!(driver.flush().await.is_err());
    assert!(driver.write(0, data(), RequestFlags::FUA).await.is_err());
    let fua_zeroes = driver.write_zeroes(0, 512, RequestFlags::FUA).await;
    assert!(fua_zeroes.is_err());
    assert_eq!(read(&driver, 0, 512).await, [0; 512], "nothing was begun");

    driver.write(0, data(), RequestFlags::empty()).await.unwrap();
    assert_eq!(read(&driver, 0, 512).await, [7; 512], "plain writes go on");
    driver.settle().await.unwrap();
    assert!(driver.close().await.is_err());
    open(on.path(), HOW, BufferPool::default()).expect("the lock is gone all the same");
}

#[tokio::test]
async fn without_zero_range_zeroes_are_written() {
    const SIZE: usize = 20 << 20;
    let on = NamedTempFile::new().unwrap();
    std::fs::write(on.path(), vec![1; SIZE]).unwrap();
    let driver = driver(&on, |file| file.no_zero_range.learn());
    let refused = driver.write_zeroes(0, 512, RequestFlags::NO_FALLBACK).await.unwrap_err();
    assert_eq!(refused.kind().name(), "unsupported");
    let len = SIZE as u64 - 20;
    driver.write_zeroes(10, len, RequestFlags::FUA).await.unwrap();
    let all = read(&driver, 0, SIZE).await;
    assert!(all[..10].iter().chain(&all[SIZE - 10..]).all(|b| *b == 1));
    assert!(all[10..SIZE - 10].iter().all(|b| *b == 0));
}

#[tokio::test]
async fn without_holes_discard_is_refused_and_zeroes_are_made_otherwise() {
    let on = NamedTempFile::new().unwrap();
    std::fs::write(on.path(), vec![1; 8192]).unwrap();
    let driver = driver(&on, |file| {
        file.no_punch_hole.learn();
        file.no_zero_range.learn();
    });
    let refused = driver.discard(0, 4096).await.unwrap_err();
    assert_eq!(refused.kind().name(), "unsupported");
    driver.write_zeroes(0, 4096, RequestFlags::MAY_UNMAP).await.unwrap();
    assert_eq!(read(&driver, 0, 4096).await, [0; 4096]);
    assert_eq!(read(&driver, 4096, 4096).await, [1; 4096]);
}

#[tokio::test]
async fn many_at_once_make_data_durable() {
    let on = file_of(1 << 20);
    let driver = Arc::new(driver(&on, |_| {}));
    let tasks = (0..32_u8).map(|i| {
        let driver = Arc::clone(&driver);
        tokio::spawn(async move {
            let data = IoBuf::copy_of(&[i; 512]).into();
            let offset = u64::from(i) * 512;
            driver.write(offset, data, RequestFlags::FUA).await.unwrap();
            driver.flush().await.unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(read(&driver, 31 * 512, 512).await, [31; 512]);
    driver.close().await.unwrap();
    let closed = driver.flush().await.unwrap_err();
    assert_eq!(closed.kind().name(), "closed");
}

#[tokio::test]
async fn a_position_that_no_file_has_is_out_of_range() {
    let on = file_of(4096);
    let driver = driver(&on, |_| {});
    for offset in [u64::MAX, i64::MAX as u64, i64::MAX as u64 - 511] {
        let read = driver.read(offset, IoVecMut::from(vec![0; 512])).await;
        assert_eq!(read.unwrap_err().kind().name(), "out-of-range");
        let discard = driver.discard(offset, 512).await;
        assert_eq!(discard.unwrap_err().kind().name(), "out-of-range");
    }
    let resize = driver.resize(u64::MAX).await.unwrap_err();
    assert_eq!(resize.kind().name(), "no-space");
    assert_eq!(driver.length(), 4096);
}

/// A driver that goes past the page cache and through a ring, where that can be had and the file
/// system gives files with holes space in advance.
fn direct(on: &NamedTempFile) -> Option<FileDriver> {
    let how = How { direct: true, ..HOW };
    let file = open(on.path(), how, BufferPool::default());
    let space = sys::reserve(on.as_file(), 0, 4096);
    let (Ok(file), Ok(engine), Ok(())) = (file, Engine::uring(), space) else {
        // Past the capture of output, so that the gap is seen and counted.
        drop(writeln!(io::stderr(), "NOT TESTED with direct access: it cannot be had here"));
        return None;
    };
    sys::fallocate(on.as_file(), Allocate::PunchHole, 0, 4096).unwrap();
    Some(FileDriver::new(file, engine, false))
}

fn space_of(file: &NamedTempFile) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.as_file().metadata().unwrap().blocks() * 512
}

#[tokio::test]
async fn direct_writes_that_fill_a_hole_find_space_ahead_of_them() {
    const BLOCK: usize = 4096;
    let on = file_of(64 << 20);
    let Some(driver) = direct(&on) else { return };
    // Twice: what is given back must be found again.
    for byte in [1, 2] {
        for block in 0..64 {
            let data = IoBuf::copy_of(&[byte; BLOCK]).into();
            driver.write(block * BLOCK as u64, data, RequestFlags::empty()).await.unwrap();
        }
        let (written, space) = (64 * BLOCK as u64, space_of(&on));
        assert!(space >= written + 4 * BLOCK as u64, "{space}");
        assert!(space <= 2 * written + (128 << 10), "{space}");
        assert_eq!(on.as_file().metadata().unwrap().len(), 64 << 20);
        assert_eq!(read(&driver, 0, 64 * BLOCK).await, [byte; 64 * BLOCK]);
        assert_eq!(read(&driver, written, BLOCK).await, [0; BLOCK]);
        driver.discard(0, 64 << 20).await.unwrap();
        assert_eq!(space_of(&on), 0);
    }
}

#[tokio::test]
async fn space_ahead_of_writes_leaves_what_is_there() {
    const BLOCK: usize = 4096;
    let on = file_of(1 << 20);
    let Some(driver) = direct(&on) else { return };
    let write = |block: u64, byte: u8| {
        driver.write(
            block * BLOCK as u64,
            IoBuf::copy_of(&[byte; BLOCK]).into(),
            RequestFlags::empty(),
        )
    };
    write(5, 9).await.unwrap();
    for block in 0..4 {
        write(block, 1).await.unwrap();
    }
    assert!(space_of(&on) > 12 * BLOCK as u64);
    assert_eq!(read(&driver, 5 * BLOCK as u64, BLOCK).await, [9; BLOCK]);
    assert_eq!(read(&driver, 4 * BLOCK as u64, BLOCK).await, [0; BLOCK]);
}

#[tokio::test]
async fn where_the_kernel_cannot_tell_of_holes_they_are_filled_all_the_same() {
    let on = file_of(1 << 20);
    let Some(driver) = direct(&on) else { return };
    driver.open_file().unwrap().ahead.no_telling.learn();
    for block in 0..4 {
        let data = IoBuf::copy_of(&[3; 4096]).into();
        driver.write(block * 4096, data, RequestFlags::empty()).await.unwrap();
    }
    assert_eq!(read(&driver, 0, 4 * 4096).await, [3; 4 * 4096]);
    assert_eq!(space_of(&on), 4 * 4096);
}

#[tokio::test]
async fn a_direct_write_that_the_page_cache_holds_up_clears_the_way_for_the_next() {
    // Where memory is short, the cache forgets by itself: then once more.
    let mut held_up = false;
    for _ in 0..5 {
        let on = file_of(8 << 20);
        let Some(driver) = direct(&on) else { return };
        match clears_the_way(&on, &driver).await {
            Some(true) => return,
            Some(false) => held_up = true,
            None => {}
        }
    }
    assert!(!held_up, "others may need what is far from it");
    drop(writeln!(io::stderr(), "NOT TESTED: the page cache does not keep what was written"));
}

/// Writes next to what is cached: whether the cache still holds what is far from it, if it held all
/// before.
async fn clears_the_way(on: &NamedTempFile, driver: &FileDriver) -> Option<bool> {
    let cached = |at| sys::is_cached(on, at).unwrap();
    // In small pieces, or the cache would hold it in large ones, and forget those as a whole.
    for at in (0..8 << 20).step_by(4096) {
        on.as_file().write_all_at(&[7; 4096], at).unwrap();
    }
    on.as_file().sync_all().unwrap();
    let (near, far) = (1 << 20, 6 << 20);
    if ![0, near, far].into_iter().all(cached) {
        return None;
    }
    driver.write(0, IoBuf::copy_of(&[8; 4096]).into(), RequestFlags::empty()).await.unwrap();
    assert!(!cached(near), "the next write there would wait too");
    let kept = cached(far);
    assert_eq!(read(driver, 0, 8192).await, [[8; 4096], [7; 4096]].concat());
    Some(kept)
}

#[test]
fn what_no_ring_was_asked_for_is_not_taken_for_a_hole() {
    let on = file_of(1 << 20);
    let Some(driver) = direct(&on) else { return };
    // A ring cannot be driven here.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for block in 0..4 {
            let data = IoBuf::copy_of(&[3; 4096]).into();
            driver.write(block * 4096, data, RequestFlags::empty()).await.unwrap();
        }
        assert_eq!(read(&driver, 0, 4 * 4096).await, [3; 4 * 4096]);
    });
    assert_eq!(space_of(&on), 4 * 4096);
}
