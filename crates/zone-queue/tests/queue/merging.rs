//! Requests that wait go out together.

use crate::fake::{Batch, Fake, ZONE};
use crate::*;

#[tokio::test]
async fn appends_that_wait_go_out_in_one_write_in_order_of_arrival() {
    let queues = queues(1);
    let first = occupy(&queues, 0).await;
    let mut waiting: Vec<Reply> = (1..=9).map(|fill| append(&queues, 0, fill)).collect();
    begin_all(&mut waiting).await;
    assert_eq!(queues.waiting(0), 9);
    queues.target().release();
    assert_eq!(soon(first).await.unwrap(), 0);
    let positions: Vec<u64> = all(waiting).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(positions, (1..=9).map(|n| n * BLOCK).collect::<Vec<_>>());
    assert_eq!(queues.target().batch_lens(), [BLOCK, 9 * BLOCK]);
    let medium = queues.target().data(0);
    let expected = [0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    assert!(medium.chunks(4096).zip(expected).all(|(block, fill)| block == [fill; 4096]));
    let stats = queues.stats();
    assert_eq!((stats.requests(), stats.batches(), stats.bytes()), (10, 2, 10 * BLOCK));
    assert_eq!((stats.singly(), stats.waits()), (0, 0));
    queues.target().check();
}

#[tokio::test]
async fn a_batch_ends_at_its_limit() {
    let fake = Fake::new(1, ZONE);
    let limits = QueueLimits { max_batch_bytes: 3 * BLOCK, ..QueueLimits::default() };
    let queues = queues_of(&fake, limits);
    let first = occupy(&queues, 0).await;
    let mut waiting: Vec<Reply> = (0..7).map(|fill| append(&queues, 0, fill)).collect();
    waiting.push(submit(&queues, 0, None, data(7, 10 * BLOCK)));
    waiting.push(append(&queues, 0, 8));
    begin_all(&mut waiting).await;
    fake.release();
    soon(first).await.unwrap();
    assert!(all(waiting).await.iter().all(Result::is_ok));
    let blocks: Vec<u64> = fake.batch_lens().iter().map(|len| len / BLOCK).collect();
    assert_eq!(blocks, [1, 3, 3, 1, 10, 1]);
}

#[tokio::test]
async fn zones_go_in_parallel() {
    let queues = queues(8);
    let mut replies = Vec::new();
    for zone in 0..8 {
        replies.push(occupy(&queues, zone).await);
    }
    let busy: Vec<u64> = queues.target().state().pending.iter().map(|p| p.zone).collect();
    assert_eq!(busy, (0..8).collect::<Vec<_>>());
    queues.target().release();
    let positions: Vec<u64> = all(replies).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(positions, (0..8).map(|zone| zone * ZONE).collect::<Vec<_>>());
}

#[tokio::test]
async fn zeroes_go_alone_and_in_their_place() {
    let queues = queues(1);
    let first = occupy(&queues, 0).await;
    let mut waiting = vec![append(&queues, 0, 1), append(&queues, 0, 2)];
    waiting.push(submit(&queues, 0, Some(3 * BLOCK), zeroes(2 * BLOCK)));
    waiting.push(submit(&queues, 0, Some(5 * BLOCK), zeroes(BLOCK)));
    waiting.push(append(&queues, 0, 3));
    begin_all(&mut waiting).await;
    queues.target().release();
    soon(first).await.unwrap();
    let positions: Vec<u64> = all(waiting).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(positions, [BLOCK, 2 * BLOCK, 3 * BLOCK, 5 * BLOCK, 6 * BLOCK]);
    let batch = |at, n, zeroes| Batch { zone: 0, offset: at * BLOCK, len: n * BLOCK, zeroes };
    let expected = [
        batch(0, 1, false),
        batch(1, 2, false),
        batch(3, 2, true),
        batch(5, 1, true),
        batch(6, 1, false),
    ];
    assert_eq!(queues.target().batches(), expected);
}

#[tokio::test]
async fn plain_writes_and_appends_of_one_zone_go_out_together() {
    let queues = queues(2);
    let first = occupy(&queues, 1).await;
    let mut waiting = vec![
        write(&queues, ZONE + BLOCK, 1),
        append(&queues, 1, 2),
        write(&queues, ZONE + 3 * BLOCK, 3),
        append(&queues, 1, 4),
    ];
    begin_all(&mut waiting).await;
    queues.target().release();
    soon(first).await.unwrap();
    let positions: Vec<u64> = all(waiting).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(positions, (1..=4).map(|n| ZONE + n * BLOCK).collect::<Vec<_>>());
    assert_eq!(queues.target().batch_lens(), [BLOCK, 4 * BLOCK]);
}

#[tokio::test]
async fn callers_that_ask_again_at_once_share_the_next_write() {
    let queues = queues(1);
    let writer = |fill| {
        let queues = queues.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                append(&queues, 0, fill).await.unwrap();
            }
        })
    };
    // One in flight and seven in line: without patience they would take turns for ever.
    queues.target().hold();
    let mut writers = vec![writer(0)];
    soon(queues.target().pending(1)).await;
    writers.extend((1..8).map(writer));
    calm().await;
    queues.target().release();
    for writer in writers {
        soon(writer).await.unwrap();
    }
    assert_eq!(queues.stats().requests(), 400);
    assert!(queues.stats().batches() <= 60, "{} writes", queues.stats().batches());
}

#[tokio::test]
async fn an_unknown_zone_is_an_error() {
    let queues = queues(2);
    assert_eq!(name(&append(&queues, 2, 0).await), "invalid-device");
    assert!(queues.exclusive(u64::MAX).await.is_err());
    assert_eq!(queues.waiting(2), 0);
}

fn zeroes(len: u64) -> Payload {
    Payload::Zeroes(len, block_core::RequestFlags::empty())
}
