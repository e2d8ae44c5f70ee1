//! What a request that waits costs in memory, and that all of it comes back.

use crate::counted::Measure;
use crate::stack::{Stack, ZONE, ZONES};
use crate::{MANY, Waiting, append, begin, end, few_threads, memory_to_read, read, write};
use block_backend::BlockBackend;
use std::time::Duration;

/// Bytes that may be allocated for one request without its data.
struct Bounds {
    /// While it waits.
    waiting: usize,
    /// When it has ended: places in tables, which keep the size for as many as ever waited at once.
    ended: usize,
}

/// For one that waits in its zone's line: its future and its place. A zone that was used keeps 2 KiB.
const IN_LINE: Bounds = Bounds { waiting: 2 << 10, ended: 20 };
/// For one that has got through to the storage: what each node on the way holds for it, the filter
/// that plays the storage included, and places in the queues of threads.
const ON_ITS_WAY: Bounds = Bounds { waiting: 8 << 10, ended: 500 };

/// Three times lets `MANY` requests wait for storage that does not answer. Then it answers.
async fn waits(
    what: &str,
    bounds: Bounds,
    stack: &Stack,
    request: impl Fn(&BlockBackend, u64) -> Waiting,
) {
    let whole = Measure::start();
    for _ in 0..3 {
        let measure = Measure::start();
        stack.stop();
        let waiting = begin((0..MANY).map(|n| request(&stack.disk, n)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let each = measure.held() / MANY as usize;
        assert!(each > 100, "{each} bytes: they do not wait at all");
        assert!(each < bounds.waiting, "{what}: {each} bytes for each that waits");
        stack.go_on();
        end(waiting).await;
        stack.disk.settle().await.unwrap();
        let peak = measure.peak();
        println!("{what}: {each} bytes for each of {MANY} that wait, at most {peak} at once");
        assert!(peak < bounds.waiting * MANY as usize, "{peak} at once");
        stack.disk.reset_all_zones().await.unwrap();
    }
    let left = whole.held();
    println!("{what}: {left} bytes left after three times {MANY}");
    assert!(left < bounds.ended * MANY as usize, "{left} left");
}

#[test]
fn a_request_that_waits_takes_little_beyond_its_data() {
    few_threads().block_on(async {
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
    });
}
