//! Callers that go away.

use crate::fake::Outcome;
use crate::*;

#[tokio::test]
async fn dropped_before_its_turn_a_request_leaves_no_trace() {
    let queues = queues(1);
    let first = occupy(&queues, 0).await;
    let mut waiting: Vec<Reply> = (1..=5).map(|fill| append(&queues, 0, fill)).collect();
    begin_all(&mut waiting).await;
    drop(waiting.remove(3));
    drop(waiting.remove(1));
    assert_eq!(queues.waiting(0), 3, "taken out at once");
    queues.target().release();
    soon(first).await.unwrap();
    let positions: Vec<u64> = all(waiting).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(positions, [BLOCK, 2 * BLOCK, 3 * BLOCK]);
    let fills: Vec<u8> = queues.target().data(0).chunks(4096).map(|b| b[0]).collect();
    assert_eq!(fills, [0xaa, 1, 3, 5]);
}

#[tokio::test]
async fn dropped_requests_free_their_memory_at_once() {
    let queues = queues(1);
    let _first = occupy(&queues, 0).await;
    let memory = bytes::Bytes::from(vec![1; 4096]);
    for _ in 0..10_000 {
        let mut reply =
            submit(&queues, 0, None, Payload::Data(IoVec::from_iter([memory.clone().into()])));
        begin(&mut reply).await;
        assert!(!memory.is_unique());
        drop(reply);
        assert!(memory.is_unique());
    }
    assert_eq!(queues.waiting(0), 0);
    assert_eq!(queues.stats().waits(), 0, "the queue was never full");
}

#[tokio::test]
async fn never_polled_is_never_asked() {
    let queues = queues(1);
    drop(append(&queues, 0, 1));
    calm().await;
    assert_eq!((queues.stats().requests(), queues.waiting(0)), (0, 0));
    soon(queues.settle()).await;
}

#[tokio::test]
async fn dropped_after_submission_a_request_lands() {
    let queues = queues(1);
    let first = occupy(&queues, 0).await;
    let mut second = append(&queues, 0, 2);
    begin(&mut second).await;
    drop(first);
    calm().await;
    queues.target().release();
    assert_eq!(soon(second).await.unwrap(), BLOCK);
    assert_eq!(queues.target().data(0)[..4096], [0xaa; 4096]);
    queues.target().check();
}

#[tokio::test]
async fn all_dropped_the_zone_goes_on() {
    let queues = queues(1);
    let first = occupy(&queues, 0).await;
    let mut waiting: Vec<Reply> = (0..50).map(|_| append(&queues, 0, 1)).collect();
    begin_all(&mut waiting).await;
    drop((first, waiting));
    queues.target().release();
    soon(queues.settle()).await;
    assert_eq!(queues.target().batch_lens(), [BLOCK]);
    assert_eq!(soon(append(&queues, 0, 3)).await.unwrap(), BLOCK);
}

#[tokio::test]
async fn settle_waits_for_those_whose_callers_went_away_and_not_for_later_ones() {
    let queues = queues(2);
    drop(occupy(&queues, 0).await);
    let mut settle = Box::pin(queues.settle());
    begin(&mut settle).await;
    let later = occupy(&queues, 1).await;
    calm().await;
    begin(&mut settle).await;
    queues.target().decide(0, Outcome::Lands);
    soon(settle).await;
    assert_eq!(queues.target().state().pending.len(), 1);
    queues.target().release();
    soon(later).await.unwrap();
}

#[tokio::test]
async fn settle_waits_for_all_in_line_however_long_it_is() {
    let fake = Fake::new(1, ZONE);
    let limits = QueueLimits { max_batch_bytes: BLOCK, congested_above: BLOCK };
    let queues = queues_of(&fake, limits);
    let mut replies = vec![occupy(&queues, 0).await];
    replies.extend((0..20).map(|fill| append(&queues, 0, fill)));
    begin_all(&mut replies[1..]).await;
    let mut settle = Box::pin(queues.settle());
    begin(&mut settle).await;
    fake.release();
    soon(settle).await;
    assert_eq!(fake.batches().len(), 21);
}

#[tokio::test]
async fn the_queues_live_on_for_what_was_submitted() {
    let queues = queues(1);
    let fake = Arc::clone(queues.target());
    let first = occupy(&queues, 0).await;
    let second = append(&queues, 0, 2);
    drop((first, queues));
    fake.release();
    assert_eq!(soon(second).await.unwrap(), BLOCK);
}
