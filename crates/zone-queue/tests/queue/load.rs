//! Many at once.

use crate::*;
use std::future::poll_fn;

#[tokio::test]
async fn ten_thousand_requests_wait_and_land() {
    let queues = queues(1);
    let first = occupy(&queues, 0).await;
    let mut waiting: Vec<Reply> =
        (0..10_000).map(|_| submit(&queues, 0, None, data(1, 512))).collect();
    begin_all(&mut waiting).await;
    assert_eq!(queues.waiting(0), 10_000);
    assert_eq!(queues.stats().waits(), 10_000 - 4096, "the queue holds 16 MiB in 4 KiB units");
    // Every third caller goes away.
    let mut n = 0;
    waiting.retain(|_| {
        n += 1;
        n % 3 != 0
    });
    queues.target().release();
    soon(first).await.unwrap();
    let positions: Vec<u64> = all(waiting).await.into_iter().map(Result::unwrap).collect();
    let expected: Vec<u64> = (0..6667).map(|n| BLOCK + n * 512).collect();
    assert_eq!(positions, expected);
    assert_eq!(queues.target().batches().len(), 1 + 4, "1 MiB at a time");
}

async fn everybody_gets_a_place_of_his_own() {
    let queues = queues(3);
    let writer = |n: u64| {
        let queues = queues.clone();
        tokio::spawn(async move {
            let mut places = Vec::new();
            for turn in 0..200 {
                let zone = (n + turn) % 3;
                let fill = u8::try_from(n).unwrap();
                if turn % 7 == 0 {
                    // Whether or not it lands, it leaves the zone right.
                    let mut dropped = append(&queues, zone, 0xdd);
                    // Alone, it may land at once.
                    poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_ready())).await;
                    if turn % 2 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                if turn % 31 == 0 {
                    let held = queues.exclusive(zone).await.unwrap();
                    queues.target().state().zones[fake::index(zone)].held = true;
                    tokio::task::yield_now().await;
                    queues.target().state().zones[fake::index(zone)].held = false;
                    held.finished();
                }
                places.push(append(&queues, zone, fill).await.unwrap());
            }
            places
        })
    };
    let tasks: Vec<_> = (0..16).map(|n| (n, writer(n))).collect();
    let mut all = Vec::new();
    for (n, task) in tasks {
        let places = soon(task).await.unwrap();
        for &place in &places {
            let zone = queues.target().data(fake::index(place / ZONE));
            let at = fake::index(place % ZONE);
            assert_eq!(zone[at..at + 4096], [u8::try_from(n).unwrap(); 4096]);
        }
        all.extend(places);
    }
    soon(queues.settle()).await;
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 16 * 200);
    queues.target().check();
}

#[tokio::test]
async fn many_callers_on_one_thread() {
    everybody_gets_a_place_of_his_own().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_on_many_threads() {
    everybody_gets_a_place_of_his_own().await;
}

#[tokio::test]
async fn a_busy_zone_starves_no_other() {
    let queues = queues(2);
    let mut busy: Vec<Reply> =
        (0..3000).map(|_| submit(&queues, 0, None, data(1, 1 << 17))).collect();
    begin_all(&mut busy).await;
    for _ in 0..10 {
        soon(append(&queues, 1, 2)).await.unwrap();
    }
    let batches = queues.target().batches();
    let last = batches.iter().rposition(|b| b.zone == 1).unwrap();
    let before = batches[..last].iter().filter(|b| b.zone == 0).count();
    assert!(before <= 60, "{before} writes of the busy zone came before ten of the other");
}
