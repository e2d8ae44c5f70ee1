//! What a request that waits costs in memory, and that all of it comes back.

use crate::counted::Measure;
use crate::stack::{Stack, ZONE, ZONES};
use crate::{MANY, Waiting, append, begin, end, memory_to_read, read, write};
use block_backend::BlockBackend;
use std::time::Duration;

/// What may be allocated for one request that waits in its zone's line, in bytes, without its data:
/// its future and its place.
const IN_LINE: usize = 2 << 10;
/// And for one that has got through to the storage, with all that each node on the way holds for it,
/// the filter that plays the storage included.
const ON_ITS_WAY: usize = 8 << 10;
/// What may stay allocated when all have ended, in bytes: tables that keep their size.
const LEFT: usize = 1 << 20;

/// Lets `MANY` requests wait for storage that does not answer. Then it answers.
async fn waits(
    what: &str,
    most: usize,
    stack: &Stack,
    request: impl Fn(&BlockBackend, u64) -> Waiting,
) {
    // Whatever is made only once is made before.
    end(begin((0..2 * ZONES).map(|n| request(&stack.disk, n)))).await;
    stack.disk.reset_all_zones().await.unwrap();
    let measure = Measure::start();
    stack.stop();
    let waiting = begin((0..MANY).map(|n| request(&stack.disk, n)));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let each = measure.held() / MANY as usize;
    println!("{what}: {each} bytes for each of {MANY} that wait");
    assert!(each > 100, "{each} bytes: they do not wait at all");
    assert!(each < most, "{what}: {each} bytes for each that waits");
    stack.go_on();
    end(waiting).await;
    stack.disk.settle().await.unwrap();
    println!("{what}: at most {} bytes at once, {} left", measure.peak(), measure.held());
    assert!(measure.peak() < most * MANY as usize, "{} at once", measure.peak());
    assert!(measure.held() < LEFT, "{} left", measure.held());
    stack.disk.reset_all_zones().await.unwrap();
}

#[tokio::test]
async fn a_request_that_waits_takes_little_beyond_its_data() {
    let stack = Stack::open(BlockBackend::builder()).await;
    waits("appends to one zone", IN_LINE, &stack, |disk, _| append(disk, 1)).await;
    waits("appends to all zones", IN_LINE, &stack, |disk, n| append(disk, 1 + n % (ZONES - 1)))
        .await;
    waits("writes in order", IN_LINE, &stack, |disk, n| write(disk, ZONE, n)).await;
    waits("writes anywhere", ON_ITS_WAY, &stack, |disk, n| write(disk, 0, n)).await;
    // Something to read, which is in no cache of this library.
    end(begin((0..MANY).map(|n| write(&stack.disk, 0, n)))).await;
    let memory = memory_to_read();
    waits("reads", ON_ITS_WAY, &stack, |disk, n| read(disk, n, memory)).await;
}
