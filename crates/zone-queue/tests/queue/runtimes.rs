//! Runtimes that go away with work in them, and others that go on.

use crate::fake::Outcome;
use crate::*;

/// Polls once, as a task of this runtime would.
fn begin_on(runtime: &tokio::runtime::Runtime, future: &mut (impl Future + Unpin)) {
    let _entered = runtime.enter();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(future).poll(&mut cx).is_pending());
}

#[test]
fn a_runtime_dropped_in_a_write_is_recovered_from_on_another() {
    let queues = queues(1);
    let first = runtime();
    let caller = first.block_on(occupy(&queues, 0));
    drop(first);
    runtime().block_on(async {
        let told = soon(caller).await.unwrap_err().to_string();
        assert!(told.contains("unknown"), "{told}");
        let mut next = append(&queues, 0, 1);
        begin(&mut next).await;
        calm().await;
        assert_eq!(queues.target().batches().len(), 1, "the old write is still under way");
        queues.target().release();
        assert_eq!(soon(next).await.unwrap(), BLOCK, "behind what landed after all");
        assert_eq!(queues.target().state().recovered, [0]);
        soon(queues.settle()).await;
        queues.target().check();
    });
}

/// Three appends, the last two in one batch: the zone then waits a moment before it writes.
fn crowd(queues: &Queues) {
    runtime().block_on(async {
        queues.target().hold();
        let mut replies: Vec<Reply> = (0..3).map(|_| append(queues, 0, 0xcc)).collect();
        begin_all(&mut replies).await;
        queues.target().release();
        assert!(all(replies).await.iter().all(Result::is_ok));
        assert_eq!(queues.target().batch_lens(), [BLOCK, 2 * BLOCK]);
    });
}

#[test]
fn a_runtime_dropped_before_the_zones_task_ran_leaves_no_zone_stuck() {
    let queues = queues(1);
    crowd(&queues);
    let first = runtime();
    let mut caller = append(&queues, 0, 1);
    begin_on(&first, &mut caller);
    drop(first);
    runtime().block_on(async {
        let told = soon(caller).await.unwrap_err().to_string();
        assert!(told.contains("nothing of it was written"), "{told}");
        assert_eq!(soon(append(&queues, 0, 2)).await.unwrap(), 3 * BLOCK);
        soon(queues.settle()).await;
    });
}

#[test]
fn a_runtime_that_is_gone_already_leaves_no_zone_stuck() {
    for crowded in [false, true] {
        append_by_a_gone_runtime(crowded);
    }
}

fn append_by_a_gone_runtime(crowded: bool) {
    let queues = queues(1);
    if crowded {
        crowd(&queues);
    }
    let handle = {
        let gone = runtime();
        gone.handle().clone()
    };
    let _entered = handle.enter();
    let mut caller = append(&queues, 0, 1);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(Err(error)) = caller.as_mut().poll(&mut cx) else { panic!("waits") };
    let told = if crowded { "nothing of it was written" } else { "ended in the middle" };
    assert!(error.to_string().contains(told), "{error}");
    let next = runtime().block_on(append(&queues, 0, 2)).unwrap();
    // What was begun landed after all.
    assert_eq!(next, if crowded { 3 * BLOCK } else { BLOCK });
}

#[test]
fn outside_a_runtime_a_request_is_refused() {
    let queues = queues(1);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let refused = append(&queues, 0, 1).as_mut().poll(&mut cx);
    let Poll::Ready(Err(error)) = refused else { panic!("waits") };
    assert_eq!(error.kind().name(), "unsupported");
    assert_eq!(runtime().block_on(append(&queues, 0, 2)).unwrap(), 0);
}

#[test]
fn requests_of_another_runtime_go_on_there() {
    let queues = queues(1);
    let (first, second) = (runtime(), runtime());
    let in_flight = first.block_on(occupy(&queues, 0));
    let mut lost = append(&queues, 0, 1);
    begin_on(&first, &mut lost);
    let mut kept = vec![append(&queues, 0, 2), append(&queues, 0, 3)];
    kept.iter_mut().for_each(|caller| begin_on(&second, caller));
    drop(first);
    second.block_on(async {
        assert!(soon(in_flight).await.is_err());
        assert!(soon(lost).await.is_err());
        queues.target().release();
        let positions: Vec<u64> = all(kept).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(positions, [BLOCK, 2 * BLOCK]);
        queues.target().check();
    });
}

#[test]
fn management_gets_its_turn_when_the_zones_task_is_gone() {
    let queues = queues(1);
    let (first, second) = (runtime(), runtime());
    let caller = first.block_on(occupy(&queues, 0));
    let mut turn = Box::pin(queues.exclusive(0));
    begin_on(&second, &mut turn);
    drop((first, caller));
    second.block_on(async {
        calm().await;
        begin(&mut turn).await;
        queues.target().release();
        soon(turn).await.unwrap().finished();
        assert_eq!(queues.target().state().recovered, [0]);
    });
}

#[test]
fn a_holder_dropped_with_its_runtime_gives_the_zone_to_others() {
    let queues = queues(1);
    let (first, second) = (runtime(), runtime());
    let holding = queues.clone();
    first.block_on(async {
        tokio::spawn(async move {
            let _zone = holding.exclusive(0).await.unwrap();
            std::future::pending::<()>().await;
        });
        calm().await;
    });
    let mut caller = append(&queues, 0, 1);
    begin_on(&second, &mut caller);
    drop(first);
    assert_eq!(second.block_on(soon(caller)).unwrap(), 0);
    assert_eq!(queues.target().state().recovered, [0]);
}

#[test]
fn a_runtime_dropped_with_all_its_callers_leaves_nothing_behind() {
    let queues = queues(2);
    let first = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    queues.target().hold();
    for n in 0..2000 {
        first.spawn(append(&queues, n % 2, 1));
        let management = queues.clone();
        first.spawn(async move { management.exclusive(n % 2).await.map(|zone| zone.finished()) });
    }
    while queues.target().state().pending.len() < 2 {
        std::thread::yield_now();
    }
    drop(first);
    assert_eq!((queues.waiting(0), queues.waiting(1)), (0, 0));
    queues.target().release();
    runtime().block_on(async {
        soon(queues.settle()).await;
        for zone in 0..2 {
            assert!(soon(append(&queues, zone, 2)).await.is_ok());
        }
    });
    queues.target().check();
}

#[test]
fn a_recovery_cut_off_with_its_runtime_is_made_again() {
    let queues = queues(1);
    let first = runtime();
    drop(first.block_on(occupy(&queues, 0)));
    drop(first);
    let second = runtime();
    let mut caller = append(&queues, 0, 1);
    second.block_on(async {
        begin(&mut caller).await;
        calm().await;
    });
    drop((second, caller));
    queues.target().decide(0, Outcome::Lands);
    queues.target().release();
    assert_eq!(runtime().block_on(soon(append(&queues, 0, 2))).unwrap(), BLOCK);
    assert_eq!(queues.target().state().recovered, [0]);
    queues.target().check();
}
