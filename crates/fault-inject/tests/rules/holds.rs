//! Requests that take long, and that are never answered.

use crate::*;

#[tokio::test]
async fn a_delay_holds_up_one_request_and_no_thread() {
    for when in [When::Before, When::After] {
        let s = plain();
        let delay = |by| {
            let action = Action::Delay { by, jitter: Duration::ZERO, when };
            s.rule(Rule::new("slow", action).on(Ops::FLUSH));
        };
        let by = Duration::from_millis(40);
        delay(by);
        let start = Instant::now();
        s.node.flush().await.unwrap();
        assert!(start.elapsed() >= by);
        s.faults.remove("slow");

        // On one thread all of them wait together, and a write goes past them.
        delay(Duration::from_secs(3600));
        let flush = || {
            let node = Arc::clone(&s.node);
            tokio::spawn(async move { node.flush().await })
        };
        let many: Vec<_> = (0..50).map(|_| flush()).collect();
        s.write(0, 1, 512).await.unwrap();
        tokio::time::sleep(SOON).await;
        let counts = s.faults.counts("slow").unwrap();
        assert_eq!((counts.matched, counts.fired), (50, 50), "{when:?}");
        assert!(many.iter().all(|flush| !flush.is_finished()), "{when:?}");
    }
}

#[tokio::test]
async fn a_lost_completion_comes_when_the_rule_is_removed() {
    let s = plain();
    s.rule(Rule::new("lost", Action::Hang { when: When::After }).on(Ops::WRITE));
    let write = tokio::spawn({
        let node = Arc::clone(&s.node);
        async move { node.write(0, vec![1; 512].into(), NONE).await }
    });
    tokio::time::sleep(SOON).await;
    assert!(!write.is_finished());
    assert_eq!(s.below(0, 512).await, [1; 512], "it was carried out");
    assert_eq!(s.faults.counts("lost").unwrap().fired, 1);
    s.faults.remove("lost");
    tokio::time::timeout(LATE, write).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_was_held_back_goes_on_without_its_caller() {
    let s = plain();
    s.rule(Rule::new("stuck", Action::Hang { when: When::Before }).on(Ops::WRITE));
    assert!(tokio::time::timeout(SOON, s.write(0, 1, 512)).await.is_err());
    assert_eq!(s.below(0, 512).await, [0; 512]);
    assert!(tokio::time::timeout(SOON, s.node.settle()).await.is_err(), "it is still under way");
    s.faults.remove("stuck");
    tokio::time::timeout(LATE, s.node.settle()).await.unwrap().unwrap();
    assert_eq!(s.below(0, 512).await, [1; 512]);
}

#[tokio::test]
async fn a_filter_that_is_dropped_lets_its_child_go() {
    let Subject { node, below, faults } = plain();
    faults.add(Rule::new("stuck", Action::Hang { when: When::Before })).unwrap();
    let write = node.write(0, vec![1; 512].into(), NONE);
    assert!(tokio::time::timeout(SOON, write).await.is_err());
    drop(node);
    tokio::time::sleep(SOON).await;
    assert!(faults.add(Rule::new("late", eio(When::Before))).is_err(), "the filter is gone");
    assert_eq!(Arc::strong_count(&below), 1);
}

/// A timer that the runtime does not have is an error, not a panic.
#[test]
fn a_delay_without_a_timer_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let s = plain();
    let by = Duration::from_millis(1);
    s.rule(Rule::new("slow", Action::Delay { by, jitter: by, when: When::After }));
    assert_eq!(kind(runtime.block_on(s.node.flush())), "unsupported");
}
