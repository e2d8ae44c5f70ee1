//! Who comes first: by first poll, and management in its place.

use crate::fake::Outcome;
use crate::*;

/// Every request beyond the first finds the queue full.
fn tight() -> Queues {
    let limits = QueueLimits { max_batch_bytes: 4 * BLOCK, congested_above: BLOCK };
    queues_of(&Fake::new(1, ZONE), limits)
}

async fn plain_writes_of_many_tasks_land_in_order_of_first_poll() {
    let queues = tight();
    let _first = occupy(&queues, 0).await;
    let mut tasks = Vec::new();
    for n in 1..40 {
        tasks.push(tokio::spawn(write(&queues, n * BLOCK, 1)));
        while queues.waiting(0) < tasks.len() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(queues.stats().waits(), 38, "all but the one in flight and the first behind it");
    queues.target().release();
    for (n, task) in (1..).zip(tasks) {
        assert_eq!(soon(task).await.unwrap().unwrap(), n * BLOCK);
    }
}

#[tokio::test]
async fn order_under_back_pressure_on_one_thread() {
    plain_writes_of_many_tasks_land_in_order_of_first_poll().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn order_under_back_pressure_on_many_threads() {
    plain_writes_of_many_tasks_land_in_order_of_first_poll().await;
}

#[tokio::test]
async fn one_task_can_ask_for_any_number_at_once() {
    let queues = queues(1);
    queues.target().hold();
    let mut replies: Vec<Reply> = (0..1000).map(|n| write(&queues, n * BLOCK, 1)).collect();
    begin_all(&mut replies).await;
    // The first has its turn already.
    assert_eq!(queues.waiting(0), 999, "each has its place since its first poll");
    queues.target().release();
    assert!(all(replies).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn callers_that_do_not_poll_hold_nobody_up() {
    let queues = tight();
    let mut slow: Vec<Reply> = (0..8).map(|fill| append(&queues, 0, fill)).collect();
    begin_all(&mut slow).await;
    assert_eq!(soon(append(&queues, 0, 9)).await.unwrap(), 8 * BLOCK);
    let positions: Vec<u64> = all(slow).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(positions, (0..8).map(|n| n * BLOCK).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_queue_is_counted_and_empties() {
    let fake = Fake::new(1, ZONE);
    let limits = QueueLimits { max_batch_bytes: BLOCK, congested_above: 4 * BLOCK };
    let queues = queues_of(&fake, limits);
    let first = occupy(&queues, 0).await;
    // 512 bytes count as 4 KiB.
    let mut small: Vec<Reply> = (0..7).map(|_| submit(&queues, 0, None, data(1, 512))).collect();
    begin_all(&mut small).await;
    assert_eq!(queues.stats().waits(), 3);
    fake.release();
    soon(first).await.unwrap();
    assert!(all(small).await.iter().all(Result::is_ok));
    let large = submit(&queues, 0, None, data(2, 50 * BLOCK));
    soon(large).await.unwrap();
    assert_eq!(queues.stats().waits(), 3, "the first in line is never too much");
}

#[tokio::test]
async fn management_waits_for_what_came_before_and_holds_back_what_comes_after() {
    let queues = tight();
    let first = occupy(&queues, 0).await;
    let mut before = vec![append(&queues, 0, 1), append(&queues, 0, 2)];
    begin_all(&mut before).await;
    let mut turn = Box::pin(queues.exclusive(0));
    begin(&mut turn).await;
    let mut after = append(&queues, 0, 3);
    begin(&mut after).await;
    let mut second_turn = Box::pin(queues.exclusive(0));
    begin(&mut second_turn).await;
    queues.target().release();
    soon(first).await.unwrap();
    let zone = soon(turn).await.unwrap();
    assert!(all(before).await.iter().all(Result::is_ok), "both ended before");
    queues.target().state().zones[0].held = true;
    calm().await;
    assert_eq!(queues.target().data(0).len() as u64, 3 * BLOCK);
    begin(&mut second_turn).await;
    queues.target().state().zones[0].held = false;
    zone.finished();
    assert_eq!(soon(after).await.unwrap(), 3 * BLOCK);
    soon(second_turn).await.unwrap().finished();
    assert!(queues.target().state().recovered.is_empty());
    queues.target().check();
}

#[tokio::test]
async fn a_zone_that_is_idle_is_there_for_the_taking() {
    let queues = queues(2);
    let mut turn = Box::pin(queues.exclusive(0));
    let zone = std::future::poll_fn(|cx| turn.as_mut().poll(cx).map(Result::unwrap)).await;
    assert!(soon(append(&queues, 1, 1)).await.is_ok(), "the other zone is not held");
    let mut held_back = append(&queues, 0, 1);
    begin(&mut held_back).await;
    calm().await;
    assert_eq!(queues.target().batches().len(), 1);
    zone.finished();
    soon(held_back).await.unwrap();
}

#[tokio::test]
async fn a_place_in_line_can_be_given_up_at_any_moment() {
    let queues = queues(1);
    let first = occupy(&queues, 0).await;
    let mut early = Box::pin(queues.exclusive(0));
    begin(&mut early).await;
    let mut late = Box::pin(queues.exclusive(0));
    begin(&mut late).await;
    let mut behind = append(&queues, 0, 1);
    begin(&mut behind).await;
    assert_eq!(queues.waiting(0), 3);
    drop(early);
    assert_eq!(queues.waiting(0), 2, "given up while it waited");
    queues.target().release();
    soon(first).await.unwrap();
    calm().await;
    assert_eq!(queues.waiting(0), 1, "its turn has come, and nobody polled it since");
    drop(late);
    assert_eq!(soon(behind).await.unwrap(), BLOCK);
    assert!(queues.target().state().recovered.is_empty(), "nobody had begun anything");
}

#[tokio::test]
async fn management_dropped_in_the_middle_is_recovered_from() {
    let queues = queues(1);
    drop(soon(queues.exclusive(0)).await.unwrap());
    assert!(queues.target().state().recovered.is_empty(), "not before the next use");
    soon(append(&queues, 0, 1)).await.unwrap();
    assert_eq!(queues.target().state().recovered, [0]);
    drop(soon(queues.exclusive(0)).await.unwrap());
    soon(queues.exclusive(0)).await.unwrap().finished();
    assert_eq!(queues.target().state().recovered, [0, 0]);
    soon(append(&queues, 0, 1)).await.unwrap();
    assert_eq!(queues.target().state().recovered, [0, 0]);
}

#[tokio::test]
async fn a_recovery_before_management_can_be_dropped() {
    let queues = queues(1);
    queues.target().script([Outcome::Unknown]);
    assert!(append(&queues, 0, 1).await.is_err());
    let mut turn = Box::pin(queues.exclusive(0));
    begin(&mut turn).await;
    drop(turn);
    assert!(queues.target().state().recovered.is_empty());
    assert_eq!(soon(append(&queues, 0, 2)).await.unwrap(), 0);
    assert_eq!(queues.target().state().recovered, [0]);
}
