//! How often a request allocates: once for the future of each node on its way, and little else. No
//! request copies data that lies where the kernel can take it.

use crate::counted::{Measure, alone};
use crate::data;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use block_backend::{BlockBackend, IoBuf, IoBufMut};
use std::cell::Cell;
use std::future::Future;
use std::io::Write as _;
use std::path::Path;

const ROUNDS: usize = 1000;
const LEN: usize = 4096;
/// What the runtime may allocate meanwhile, for all rounds together: blocks of its queues, timers.
const BESIDE: usize = 50;

/// Each of many requests allocates at most so often, after some that warm up what is kept. The
/// least of a few measurements counts: the whole program's allocations are counted, and a test that
/// waits for its turn makes its runtime meanwhile.
async fn at_most<F: Future<Output = ()>>(
    what: &str,
    most: usize,
    mut request: impl FnMut(u64) -> F,
) {
    let most = most as f64 + BESIDE as f64 / ROUNDS as f64;
    let mut each = f64::INFINITY;
    for _ in 0..5 {
        for n in 0..100 {
            request(n).await;
        }
        let measure = Measure::start();
        for n in 0..ROUNDS {
            request(n as u64).await;
        }
        each = each.min(measure.calls() as f64 / ROUNDS as f64);
        if each <= most {
            break;
        }
    }
    println!("{what}: {each:.2} allocations each");
    assert!(each <= most, "{what}: {each} allocations each, more than {most}");
}

fn file(folder: &Path) -> String {
    let path = folder.join("disk");
    std::fs::write(&path, vec![1; 4 << 20]).unwrap();
    format!("driver=file,filename={}", path.display())
}

/// Reads and writes blocks, one after another.
async fn reads_and_writes(name: &str, image: &str, reads: usize, writes: usize) {
    let disk = BlockBackend::open(image).await.unwrap();
    let kept = Cell::new(Some(IoBufMut::zeroed(LEN)));
    let read = |n| {
        let (disk, kept) = (&disk, &kept);
        async move {
            let buf = kept.take().unwrap();
            kept.set(Some(disk.read_buf(n % 100 * LEN as u64, buf).await.unwrap()));
        }
    };
    at_most(&format!("{name}: reads"), reads, read).await;
    let data: IoBuf = kept.take().unwrap().freeze();
    let write = |n| {
        let (disk, data) = (disk.clone(), data.clone());
        async move { disk.write(n % 100 * LEN as u64, data).await.unwrap() }
    };
    at_most(&format!("{name}: writes"), writes, write).await;
    disk.close().await.unwrap();
}

#[tokio::test]
async fn a_request_allocates_once_for_each_node() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    reads_and_writes("null", "driver=null,size=1M", 1, 1).await;
    let through = "driver=raw,file.driver=raw,file.file.driver=null,file.file.size=1M";
    reads_and_writes("null through two raw", through, 3, 3).await;
    let file = file(folder.path());
    // The page cache answers at once. A write is handed over: its ticket, and a worker's task
    // unless one is there.
    reads_and_writes("file", &format!("{file},aio=threads"), 1, 3).await;
    reads_and_writes("direct, threads", &format!("{file},aio=threads,cache.direct=on"), 3, 3).await;
}

#[tokio::test]
async fn a_ring_allocates_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let image = format!("{},aio=io_uring,cache.direct=on", file(folder.path()));
    match BlockBackend::open(&image).await {
        Ok(disk) => disk.close().await.unwrap(),
        Err(error) => {
            // Where rings are forbidden there is nothing to measure, and the error says so.
            assert!(error.to_string().contains("aio=io_uring"), "{error}");
            drop(writeln!(std::io::stderr(), "NOT TESTED with io_uring: {error}"));
            return;
        }
    }
    reads_and_writes("direct, io_uring", &image, 1, 1).await;
}

#[tokio::test]
async fn an_append_allocates_for_its_place_in_line() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zoned");
    let geometry = GeometryConfig {
        size: 64 << 20,
        zone_size: 8 << 20,
        block_size: 512,
        ..GeometryConfig::default()
    };
    create_zoned(&path, &CreateOptions::new(geometry), false).await.unwrap();
    let disk = BlockBackend::open(path.to_str().unwrap()).await.unwrap();
    let append = |_| {
        let disk = disk.clone();
        async move {
            disk.append(0, data()).await.unwrap();
        }
    };
    // Alone, it pays for all: two nodes, its entry and its answer, the line, the zone's task, the
    // batch.
    at_most("appends, one at a time", 11, append).await;
    disk.close().await.unwrap();
}

#[tokio::test]
async fn aligned_memory_goes_to_the_kernel_as_it_is() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    for aio in ["threads", "auto"] {
        let image = format!("{},aio={aio},cache.direct=on", file(folder.path()));
        let disk = BlockBackend::open(&image).await.unwrap();
        let buf = IoBufMut::zeroed(LEN);
        let place = buf.as_ptr();
        let measure = Measure::start();
        let buf = disk.read_buf(0, buf).await.unwrap();
        assert_eq!(buf.as_ptr(), place);
        disk.write(0, buf.freeze()).await.unwrap();
        assert_eq!(measure.buffers(), 0, "{aio}: aligned memory was copied");

        let mut whole = IoBufMut::zeroed(2 * LEN);
        let _front = whole.split_to(8);
        let unaligned = whole.split_to(LEN);
        let measure = Measure::start();
        disk.write(0, unaligned.freeze()).await.unwrap();
        assert_eq!(measure.buffers(), 1, "{aio}: direct access took memory that it cannot take");
        disk.close().await.unwrap();
    }
}
