//! A limit on what is in flight: what waits is little, seen, in order, and fair to every zone.

use crate::counted::Measure;
use crate::stack::{BLOCK, Stack, ZONE, ZONES};
use crate::{MANY, Waiting, append, begin, end, few_threads, memory_to_read, read, write};
use block_backend::{BackendBuilder, BlockBackend, ErrorKind};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use tokio::time::timeout;

const LIMIT: usize = 32;
/// What may be allocated for one request in line, in bytes, without its data.
const IN_LINE: usize = 3 << 10;
const SOON: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(120);

fn limited() -> BackendBuilder {
    BlockBackend::builder().max_in_flight(LIMIT)
}

/// Lets `MANY` requests wait: `LIMIT` of them in the nodes below, the others in line.
async fn waits(what: &str, stack: &Stack, request: impl Fn(&BlockBackend, u64) -> Waiting) {
    end(begin((0..2 * ZONES).map(|n| request(&stack.disk, n)))).await;
    stack.disk.reset_all_zones().await.unwrap();
    let before = stack.disk.pressure().unwrap();
    let measure = Measure::start();
    stack.stop();
    let waiting = begin((0..MANY).map(|n| request(&stack.disk, n)));
    tokio::time::sleep(SOON).await;
    let each = measure.held() / MANY as usize;
    println!("{what}: {each} bytes for each of {MANY} behind a limit of {LIMIT}");
    assert!(each < IN_LINE, "{what}: {each} bytes for each");
    let now = stack.disk.pressure().unwrap();
    let in_line = MANY as usize - LIMIT;
    assert_eq!((now.in_flight, now.in_flight_bytes), (LIMIT, LIMIT as u64 * BLOCK));
    assert_eq!((now.waiting, now.longest), (in_line, in_line));
    assert_eq!(now.waits - before.waits, in_line as u64);
    stack.go_on();
    end(waiting).await;
    stack.disk.settle().await.unwrap();
    println!("{what}: {} left", measure.held());
    assert!(measure.held() < 1 << 20, "{} left", measure.held());
    let now = stack.disk.pressure().unwrap();
    assert_eq!((now.in_flight, now.in_flight_bytes, now.waiting), (0, 0, 0));
    stack.disk.reset_all_zones().await.unwrap();
}

#[test]
fn behind_a_limit_a_request_takes_no_more_than_its_place() {
    few_threads().block_on(async {
        let stack = Stack::open(limited()).await;
        waits("appends", &stack, |disk, n| append(disk, 1 + n % (ZONES - 1))).await;
        waits("writes in order", &stack, |disk, n| write(disk, ZONE, n)).await;
        waits("writes anywhere", &stack, |disk, n| write(disk, 0, n)).await;
        end(begin((0..MANY).map(|n| write(&stack.disk, 0, n)))).await;
        let memory = memory_to_read();
        waits("reads", &stack, |disk, n| read(disk, n, memory)).await;
    });
}

#[tokio::test]
async fn bytes_are_limited_too_and_what_is_larger_goes_alone() {
    let stack = Stack::open(BlockBackend::builder().max_in_flight_bytes(4 * BLOCK)).await;
    let disk = &stack.disk;
    let large = || Box::pin(disk.write(0, vec![1; 16 * BLOCK as usize]));
    let pressure = || {
        let now = disk.pressure().unwrap();
        (now.in_flight, now.in_flight_bytes / BLOCK, now.waiting)
    };
    stack.stop();
    let few = begin((0..6).map(|n| write(disk, 0, n)));
    assert_eq!(pressure(), (4, 4, 2));
    let mut alone = large();
    assert!(timeout(SOON, &mut alone).await.is_err());
    assert_eq!(pressure(), (4, 4, 3));
    stack.go_on();
    end(few).await;
    alone.await.unwrap();
    stack.stop();
    let mut alone = large();
    assert!(timeout(SOON, &mut alone).await.is_err());
    let behind = begin((0..2).map(|n| write(disk, 0, n)));
    assert_eq!(pressure(), (1, 16, 2));
    stack.go_on();
    alone.await.unwrap();
    end(behind).await;
    assert_eq!(pressure(), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_in_line_land_in_the_order_in_which_they_came() {
    let stack = Stack::open(limited()).await;
    let writes = begin((0..MANY).map(|n| write(&stack.disk, ZONE, n)));
    // Each must meet the write pointer.
    end(writes).await;
    assert_eq!(stack.pointer(1).await, MANY * BLOCK);
    // The place of each, whether it landed in its first poll or later.
    let mut places = Vec::new();
    for _ in 0..MANY {
        let mut request = append(&stack.disk, 2);
        let first = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx))).await;
        places.push((first, request));
    }
    let mut in_order = Vec::new();
    for (first, request) in places {
        in_order.push(match first {
            Poll::Ready(place) => place.unwrap(),
            Poll::Pending => request.await.unwrap(),
        });
    }
    let expected: Vec<_> = (0..MANY).map(|n| Some(2 * ZONE + n * BLOCK)).collect();
    assert!(in_order == expected, "appends land in the order of their first polls");
}

#[tokio::test]
async fn who_goes_away_gives_his_place_up_and_lets_others_through() {
    let stack = Stack::open(limited()).await;
    stack.stop();
    let mut waiting = begin((0..MANY).map(|n| write(&stack.disk, 0, n)));
    // Every second one, those in flight included.
    let mut n = 0;
    waiting.retain(|_| {
        n += 1;
        n % 2 == 0
    });
    let now = stack.disk.pressure().unwrap();
    assert_eq!(now.waiting, MANY as usize / 2 - LIMIT);
    assert_eq!(now.in_flight, LIMIT);
    let drain = stack.disk.drain();
    tokio::pin!(drain);
    assert!(timeout(SOON, &mut drain).await.is_err(), "it waits for those in line too");
    stack.go_on();
    let drained = async {
        let guard = drain.await.unwrap();
        let now = stack.disk.pressure().unwrap();
        assert_eq!((now.in_flight, now.waiting), (0, 0), "nothing of them is left then");
        drop(guard);
    };
    tokio::join!(drained, end(waiting));
    stack.disk.close().await.unwrap();
    let closed = append(&stack.disk, 1).await.unwrap_err();
    assert!(matches!(closed.kind(), ErrorKind::Closed));
}

#[test]
fn a_runtime_that_goes_away_gives_its_places_back() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let stack = second.block_on(Stack::open(BlockBackend::builder().max_in_flight(2)));
    stack.stop();
    // Two in flight and two in line there, four in line here.
    let gone: Vec<_> = (0..4).map(|n| first.spawn(write(&stack.disk, 0, n))).collect();
    while stack.disk.pressure().unwrap().waiting < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let here: Vec<_> = (4..8).map(|n| second.spawn(write(&stack.disk, 0, n))).collect();
    while stack.disk.pressure().unwrap().waiting < 6 {
        std::thread::sleep(Duration::from_millis(1));
    }
    first.shutdown_timeout(LATE);
    assert!(gone.iter().all(|task| task.is_finished()));
    stack.go_on();
    second.block_on(async {
        for task in here {
            timeout(LATE, task).await.unwrap().unwrap().unwrap();
        }
        let now = stack.disk.pressure().unwrap();
        assert_eq!((now.in_flight, now.waiting), (0, 0));
        stack.disk.close().await.unwrap();
    });
}
