//! Which requests a rule hits.

use crate::*;

#[tokio::test]
async fn which_requests_are_hit() {
    let s = plain();
    let rule = Rule::new("second", eio(When::Before)).on(Ops::WRITE | Ops::FLUSH);
    s.rule(rule.at(Place::Bytes(4096..8192)).skip(1).times(2));
    // Reads, and what lies beside the range, are other people's business; so are flushes.
    s.node.flush().await.unwrap();
    s.node.read(4096, IoBufMut::zeroed(512).into()).await.unwrap();
    s.write(0, 1, 4096).await.unwrap();
    s.write(8192, 1, 4096).await.unwrap();
    // One is skipped, two are hit, and then no more.
    s.write(4096, 1, 512).await.unwrap();
    assert!(s.write(0, 1, 8192).await.is_err());
    assert!(s.write(7680, 1, 1024).await.is_err());
    s.write(4096, 1, 512).await.unwrap();
    let counts = s.faults.counts("second").unwrap();
    assert_eq!((counts.matched, counts.fired), (4, 2));
    assert_eq!(s.faults.remove("second"), Some(counts));
    let counters = s.node.driver().counters();
    assert_eq!((counters[0].name, counters[0].value), ("faults_injected", 2));
    assert_eq!(s.faults.remove("second"), None);
}

#[tokio::test]
async fn a_rule_for_a_zone_hits_all_that_touches_it() {
    let s = zoned();
    s.rule(Rule::new("zone", eio(When::Before)).at(Place::Zone(3)));
    s.append(2, 1, 512).await.unwrap();
    s.append(4, 1, 512).await.unwrap();
    s.node.report_zones(4 * ZONE, 2).await.unwrap();
    assert!(s.append(3, 1, 512).await.is_err());
    assert!(s.node.report_zones(0, 4).await.is_err());
    assert!(s.node.manage_zones(ZoneOp::Reset, 2 * ZONE, 2 * ZONE).await.is_err());
    assert!(s.node.read(3 * ZONE - 512, IoBufMut::zeroed(1024).into()).await.is_err());
}

#[tokio::test]
async fn chance_is_kept_and_repeats() {
    let run = async |seed| {
        let s = plain();
        s.rule(Rule::new("one-in-four", eio(When::Before)).probability(0.25).seed(seed));
        let mut failed = Vec::new();
        for _ in 0..1000 {
            failed.push(s.node.flush().await.is_err());
        }
        failed
    };
    let first = run(3).await;
    assert_eq!(run(3).await, first);
    assert_ne!(run(4).await, first);
    let count = first.into_iter().filter(|f| *f).count();
    assert!((180..320).contains(&count), "{count}");
}

#[tokio::test]
async fn rules_act_one_after_the_other() {
    let s = plain();
    let by = Duration::from_millis(20);
    s.rule(Rule::new("slow", Action::Delay { by, jitter: by, when: When::Before }));
    s.rule(Rule::new("first", eio(When::Before)));
    s.rule(Rule::new("second", Action::Fail { error: Failure::NoSpace, when: When::Before }));
    let start = Instant::now();
    assert_eq!(kind(s.node.flush().await), "io");
    assert!(start.elapsed() >= by);
    let counts = s.faults.all_counts();
    let matched: Vec<_> = counts.iter().map(|(name, c)| (name.as_str(), c.matched)).collect();
    assert_eq!(matched, [("slow", 1), ("first", 1), ("second", 0)]);
}
