//! What each rule does, from code and from options.
#![allow(clippy::unwrap_used, clippy::expect_used)] // In helpers of tests.

use block_conformance::memory::{MemoryConfig, MemoryDriver, MemoryZoned, MemoryZonedConfig};
use block_core::{
    BlockDriver, ChildNeeds, ChildRole, Graph, ImageSpec, Inherited, IoBufMut, Node, Registry,
    RequestFlags, Result, Zone, ZoneCondition, ZoneOp,
};
use fault_inject::{
    Action, Failure, FaultHandle, FaultInject, Intrusion, Ops, Place, Rule, When, fault_inject,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ZONE: u64 = 256 << 10;
const CAPACITY: u64 = 192 << 10;
const NONE: RequestFlags = RequestFlags::empty();
const SOON: Duration = Duration::from_millis(30);
const LATE: Duration = Duration::from_secs(10);

struct Subject {
    node: Arc<Node>,
    /// The same storage without faults.
    below: Arc<Node>,
    faults: FaultHandle,
}

fn over(driver: Box<dyn BlockDriver>) -> Subject {
    let needs = ChildNeeds {
        role: ChildRole::Filtered,
        write: true,
        share_write: false,
        carries_zones: true,
    };
    let below = Node::new("child", driver);
    let (driver, faults) = FaultInject::new(below.attach(needs, "faults").unwrap());
    Subject { node: Node::new("faults", Box::new(driver)), below, faults }
}

fn plain() -> Subject {
    over(Box::new(MemoryDriver::new(MemoryConfig::default())))
}

fn zoned() -> Subject {
    over(Box::new(MemoryZoned::new(MemoryZonedConfig::default())))
}

impl Subject {
    fn rule(&self, rule: Rule) {
        self.faults.add(rule).unwrap();
    }

    async fn write(&self, offset: u64, byte: u8, len: usize) -> Result<()> {
        self.node.write(offset, vec![byte; len].into(), NONE).await
    }

    async fn append(&self, zone: u64, byte: u8, len: usize) -> Result<u64> {
        self.node.append(zone * ZONE, vec![byte; len].into(), NONE).await
    }

    async fn below(&self, offset: u64, len: usize) -> Vec<u8> {
        self.below.read(offset, IoBufMut::zeroed(len).into()).await.unwrap().to_vec()
    }

    async fn zone(&self, index: u64) -> Zone {
        self.node.report_zones(index * ZONE, 1).await.unwrap()[0]
    }
}

fn eio(when: When) -> Action {
    Action::Fail { error: Failure::IO, when }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    result.expect_err("must fail").kind().name()
}

#[tokio::test]
async fn an_error_says_who_injected_it_and_leaves_the_child_alone() {
    let s = plain();
    s.rule(Rule::new("bad-write", eio(When::Before)).on(Ops::WRITE).times(1));
    let error = s.write(512, 1, 512).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "write of 0x200 bytes at 0x200 on node 'faults': injected by the rule 'bad-write': \
         Input/output error (os error 5)"
    );
    assert_eq!(error.errno(), 5);
    assert_eq!(s.below(512, 512).await, [0; 512]);
    s.write(512, 1, 512).await.unwrap();
}

#[tokio::test]
async fn an_error_after_the_effect_leaves_the_effect() {
    let s = zoned();
    s.rule(Rule::new("lost", eio(When::After)).on(Ops::APPEND | Ops::ZONE_RESET));
    assert_eq!(kind(s.append(3, 7, 4096).await), "io");
    assert_eq!(s.below(3 * ZONE, 4096).await, [7; 4096]);
    assert_eq!(s.zone(3).await.write_pointer, Some(3 * ZONE + 4096));
    assert_eq!(kind(s.node.manage_zones(ZoneOp::Reset, 3 * ZONE, ZONE).await), "io");
    assert_eq!(s.zone(3).await.condition, ZoneCondition::Empty);
}

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
async fn every_error_of_zones_can_be_given() {
    for name in [
        "conventional-zone",
        "zone-full",
        "zone-boundary",
        "write-pointer-mismatch",
        "too-many-open",
        "too-many-active",
        "zone-read-only",
        "zone-offline",
        "append-too-large",
        "no-space",
        "busy",
        "unsupported",
    ] {
        let s = zoned();
        let error: Failure = name.parse().unwrap();
        s.rule(Rule::new("refuse", Action::Fail { error, when: When::Before }));
        let refusal = s.append(3, 1, 512).await.unwrap_err();
        assert_eq!(refusal.kind().name(), name);
        let names_zone = refusal.to_string().contains("zone 3 at 0xc0000");
        let names_rule = refusal.to_string().contains("injected by the rule 'refuse'");
        assert!(names_zone || names_rule || name == "append-too-large", "{refusal}");
    }
}

#[tokio::test]
async fn a_short_request_reaches_the_child_in_part() {
    let short = |bytes| Action::Short { bytes, error: Failure::NoSpace };
    let s = plain();
    s.rule(Rule::new("short", short(Some(1600))));
    assert_eq!(kind(s.write(0, 1, 4096).await), "no-space");
    assert_eq!(s.below(0, 4096).await, [vec![1; 1536], vec![0; 2560]].concat());
    assert_eq!(kind(s.node.write_zeroes(0, 4096, NONE).await), "no-space");
    assert_eq!(s.below(0, 1536).await, [0; 1536]);
    assert_eq!(kind(s.node.read(0, IoBufMut::zeroed(4096).into()).await), "no-space");
    assert_eq!(kind(s.node.flush().await), "no-space");

    let s = zoned();
    s.rule(Rule::new("short", short(None)).on(Ops::APPEND | Ops::MANAGE));
    assert!(s.append(3, 5, 4096).await.is_err());
    assert_eq!(s.zone(3).await.write_pointer, Some(3 * ZONE + 2048));
    assert_eq!(s.below(3 * ZONE, 4096).await, [vec![5; 2048], vec![0; 2048]].concat());
    // Management is cut between zones.
    assert!(s.node.manage_zones(ZoneOp::Finish, 3 * ZONE, 2 * ZONE).await.is_err());
    assert_eq!(s.zone(3).await.condition, ZoneCondition::Full);
    assert_eq!(s.zone(4).await.condition, ZoneCondition::Empty);
}

#[tokio::test]
async fn of_a_torn_write_some_sectors_land_and_replay_the_same() {
    let torn = || Rule::new("torn", Action::Torn { error: Failure::IO });
    let run = async |seed| {
        let s = plain();
        s.rule(torn().seed(seed));
        let mut landed = Vec::new();
        for round in 0..8 {
            assert!(s.write(round * 4096, 1, 4096).await.is_err());
            let bytes = s.below(round * 4096, 4096).await;
            for sector in bytes.chunks(512) {
                assert!(sector == [0; 512] || sector == [1; 512], "whole sectors");
            }
            landed.push(bytes.chunks(512).map(|sector| sector[0]).collect::<Vec<_>>());
        }
        landed
    };
    let first = run(1).await;
    assert_eq!(run(1).await, first);
    assert_ne!(run(2).await, first);
    let sectors = first.concat();
    assert!(sectors.contains(&0) && sectors.contains(&1));
}

#[tokio::test]
async fn a_torn_write_in_a_sequential_zone_is_a_first_part() {
    let s = zoned();
    s.rule(Rule::new("torn", Action::Torn { error: Failure::IO }).on(Ops::WRITE | Ops::APPEND));
    let mut ends = std::collections::BTreeSet::new();
    for round in 0..20 {
        let at = s.zone(3).await.write_pointer.unwrap();
        match round % 2 {
            0 => assert!(s.append(3, 9, 4096).await.is_err()),
            _ => assert!(s.write(at, 9, 4096).await.is_err()),
        }
        let end = s.zone(3).await.write_pointer.unwrap();
        assert!(end < at + 4096);
        assert_eq!(s.below(at, 4096).await[..(end - at) as usize], vec![9; (end - at) as usize]);
        ends.insert(end - at);
    }
    assert!(ends.len() > 3, "{ends:?}");
    // In a conventional zone anything may land.
    assert!(s.write(0, 3, 8192).await.is_err());
    let sectors: Vec<u8> = s.below(0, 8192).await.chunks(512).map(|sector| sector[0]).collect();
    assert!(sectors.contains(&0) && sectors.contains(&3), "{sectors:?}");
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
async fn a_delay_holds_up_one_request_and_no_thread() {
    let s = plain();
    let by = Duration::from_millis(40);
    for when in [When::Before, When::After] {
        let action = Action::Delay { by, jitter: Duration::ZERO, when };
        s.rule(Rule::new("slow", action).on(Ops::FLUSH));
        let start = Instant::now();
        // On one thread, they wait together.
        let many: Vec<_> = (0..50)
            .map(|_| {
                let node = Arc::clone(&s.node);
                tokio::spawn(async move { node.flush().await })
            })
            .collect();
        s.write(0, 1, 512).await.unwrap();
        assert!(start.elapsed() < by, "a write is not delayed");
        for flush in many {
            flush.await.unwrap().unwrap();
        }
        assert!(start.elapsed() >= by && start.elapsed() < by * 20, "{:?}", start.elapsed());
        s.faults.remove("slow");
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

#[tokio::test]
async fn a_corrupt_read_differs_in_as_many_bits() {
    let s = plain();
    s.write(0, 0x55, 4096).await.unwrap();
    s.rule(Rule::new("rot", Action::Corrupt { bits: 3 }).times(1));
    let read = async || s.node.read(0, IoBufMut::zeroed(4096).into()).await.unwrap().to_vec();
    let wrong: u32 = read().await.iter().map(|byte| (byte ^ 0x55).count_ones()).sum();
    assert_eq!(wrong, 3);
    assert_eq!(read().await, [0x55; 4096]);
}

#[tokio::test]
async fn a_zone_changes_behind_everybodys_back() {
    let s = zoned();
    s.append(3, 1, 512).await.unwrap();
    let intrude = |change, zone| Action::Intrude { change, zone };
    s.rule(Rule::new("append", intrude(Intrusion::Append(1024), None)).on(Ops::APPEND).times(1));
    assert_eq!(s.append(3, 2, 512).await.unwrap(), 3 * ZONE + 512 + 1024);
    s.rule(Rule::new("reset", intrude(Intrusion::Reset, None)).on(Ops::WRITE).times(1));
    let at = s.zone(3).await.write_pointer.unwrap();
    assert_eq!(kind(s.write(at, 3, 512).await), "write-pointer-mismatch");
    assert_eq!(s.zone(3).await.condition, ZoneCondition::Empty);
    s.rule(Rule::new("finish", intrude(Intrusion::Finish, Some(5))).on(Ops::FLUSH).times(1));
    s.node.flush().await.unwrap();
    assert_eq!(s.zone(5).await.condition, ZoneCondition::Full);
    // What the child refuses does not concern the request.
    s.rule(Rule::new("refused", intrude(Intrusion::Reset, Some(0))).on(Ops::FLUSH).times(1));
    s.node.flush().await.unwrap();
    assert_eq!(s.faults.counts("refused").unwrap().fired, 1);
}

#[tokio::test]
async fn a_zone_goes_out_of_service() {
    let s = zoned();
    for zone in 2..6 {
        s.append(zone, 1, 512).await.unwrap();
    }
    let retire = |condition| Action::Retire { condition, zone: None };
    let wears_out = Rule::new("wears-out", retire(ZoneCondition::ReadOnly)).on(Ops::APPEND);
    s.rule(wears_out.at(Place::Zone(3)).times(1));
    s.rule(Rule::new("dies", retire(ZoneCondition::Offline)).on(Ops::READ).at(Place::Zone(4)));
    assert_eq!(kind(s.append(3, 2, 512).await), "zone-read-only");
    let read = async |zone: u64| s.node.read(zone * ZONE, IoBufMut::zeroed(512).into()).await;
    assert_eq!(kind(read(4).await), "zone-offline");
    let (three, four) = (s.zone(3).await, s.zone(4).await);
    assert_eq!((three.condition, three.write_pointer), (ZoneCondition::ReadOnly, None));
    assert_eq!((four.condition, four.write_pointer), (ZoneCondition::Offline, None));
    assert_eq!(read(3).await.unwrap().to_vec(), [1; 512]);
    assert_eq!(kind(s.write(3 * ZONE + 512, 2, 512).await), "zone-read-only");
    assert_eq!(kind(s.node.manage_zones(ZoneOp::Reset, 3 * ZONE, ZONE).await), "zone-read-only");
    assert_eq!(kind(s.node.manage_zones(ZoneOp::Reset, 4 * ZONE, ZONE).await), "zone-offline");
    assert_eq!(kind(s.append(4, 2, 512).await), "zone-offline");
    // All zones at once leaves them out.
    s.node.manage_zones(ZoneOp::Reset, 0, s.node.length()).await.unwrap();
    assert_eq!(s.zone(2).await.condition, ZoneCondition::Empty);
    assert_eq!(s.zone(5).await.condition, ZoneCondition::Empty);
    assert_eq!(s.zone(3).await.condition, ZoneCondition::ReadOnly);
    // The child's own zones are as they were, and come back.
    assert!(s.faults.revive(3) && !s.faults.revive(3));
    assert_eq!(s.zone(3).await.write_pointer, Some(3 * ZONE + 512));
    s.faults.clear();
    assert_eq!(s.zone(4).await.write_pointer, Some(4 * ZONE + 512));
    assert_eq!(CAPACITY, s.zone(4).await.capacity);
}

#[tokio::test]
async fn a_rule_that_makes_no_sense_is_refused() {
    let retire = |zone| Action::Retire { condition: ZoneCondition::ReadOnly, zone };
    let append = |bytes| Action::Intrude { change: Intrusion::Append(bytes), zone: None };
    let ok = || Rule::new("x", eio(When::Before));
    let full = Action::Fail { error: Failure::ZoneFull, when: When::Before };
    let closed = Action::Retire { condition: ZoneCondition::Closed, zone: None };
    let refusal = |s: &Subject, rule| s.faults.add(rule).unwrap_err().kind().to_string();
    let z = zoned();
    for (rule, message) in [
        (Rule::new("", eio(When::Before)), "a rule needs a name"),
        (ok().on(Ops::empty()), "no operation"),
        (ok().probability(0.0), "above 0 and at most 1"),
        (ok().probability(1.1), "above 0 and at most 1"),
        (ok().probability(f64::NAN), "above 0 and at most 1"),
        (ok().at(Place::Bytes(512..512)), "its range is empty"),
        (ok().at(Place::Zone(12)), "there is no zone 12: the zones are 0 to 11"),
        (Rule::new("x", retire(Some(12))), "there is no zone 12"),
        (Rule::new("x", closed), "not closed"),
        (Rule::new("x", append(100)), "positive multiple of 0x200"),
        (Rule::new("x", append(0)), "positive multiple"),
        (Rule::new("x", append(1 << 40)), "at most 0x40000"),
        (Rule::new("x", Action::Corrupt { bits: 0 }), "1 to 64"),
        (Rule::new("x", Action::Corrupt { bits: 65 }), "1 to 64"),
    ] {
        let said = refusal(&z, rule);
        assert!(said.contains(message), "{said}");
    }
    let p = plain();
    for rule in [
        ok().at(Place::Zone(0)),
        Rule::new("x", full),
        Rule::new("x", retire(None)),
        Rule::new("x", append(512)),
    ] {
        assert!(refusal(&p, rule).contains("has none"));
    }
    p.rule(ok());
    assert_eq!(refusal(&p, ok()), "there is a rule named 'x' already");
}

async fn open(rules: &str) -> Result<Arc<Node>> {
    let graph = Graph::new(Registry::new().with(fault_inject()));
    let driver = MemoryZoned::new(MemoryZonedConfig::default());
    let _child = graph.add(Some("child"), Box::new(driver))?;
    let text = match rules.strip_prefix("json:") {
        Some(rules) => {
            format!(r#"json:{{"driver":"fault-inject","file":"child","rules":{rules}}}"#)
        }
        None => format!("driver=fault-inject,file=child{rules}"),
    };
    graph.open(&ImageSpec::parse(&text)?, Inherited::default()).await
}

#[tokio::test]
async fn rules_from_options() {
    let node = open(
        ",rules.full.op=append+write,rules.full.zone=3,rules.full.skip=1,\
         rules.full.times=1,rules.full.action=error,rules.full.error=enospc",
    )
    .await
    .unwrap();
    let append = async || node.append(3 * ZONE, vec![1; 512].into(), NONE).await;
    append().await.unwrap();
    assert_eq!(kind(append().await), "no-space");
    append().await.unwrap();

    let node = open(
        r#"json:{"b":{"op":"flush","action":"error"},
            "a":{"op":"flush","action":"error","when":"after","error":"zone-full",
                 "probability":0.5,"seed":1,"times":1}}"#,
    )
    .await
    .unwrap();
    let mut kinds = Vec::new();
    for _ in 0..20 {
        kinds.push(kind(node.flush().await));
    }
    assert_eq!(kinds.iter().filter(|k| **k == "zone-full").count(), 1, "{kinds:?}");
}

#[tokio::test]
async fn every_action_can_be_an_option() {
    for rule in [
        "action=error,rules.x.when=after,rules.x.error=eio,rules.x.offset=4k,rules.x.length=1M",
        "action=short,rules.x.bytes=512,rules.x.error=enospc",
        "action=torn,rules.x.probability=0.01,rules.x.seed=7",
        "action=delay,rules.x.delay-us=100,rules.x.jitter-us=50,rules.x.when=before",
        "action=hang,rules.x.when=before,rules.x.op=flush",
        "action=corrupt,rules.x.bits=2,rules.x.op=read",
        "action=append,rules.x.bytes=4k,rules.x.target-zone=5",
        "action=finish",
        "action=reset,rules.x.target-zone=4",
        "action=read-only,rules.x.zone=3",
        "action=offline",
    ] {
        open(&format!(",rules.x.{rule}")).await.expect(rule);
    }
}

#[tokio::test]
async fn wrong_options_are_refused_by_name() {
    for (rules, message) in [
        (",rules.x.op=read", "driver 'fault-inject': missing option 'action'"),
        (
            ",rules.x.actoin=error",
            "driver 'fault-inject' has no option 'rules.x.actoin'; did you mean 'rules.x.action'?",
        ),
        (
            ",rules.x.action=explode",
            "driver 'fault-inject', option 'rules.x': 'explode' is no action; there are error, \
             short, torn, delay, hang, corrupt, append, finish, reset, read-only, offline",
        ),
        (
            ",rules.x.action=error,rules.x.op=wirte",
            "driver 'fault-inject', option 'rules.x.op' = \"wirte\": 'wirte' is no operation; \
             give one or more of read, write, append, write-zeroes, discard, flush, resize, \
             report, open, close, finish, reset, manage, any, with '+' between them",
        ),
        (
            ",rules.x.action=error,rules.x.bits=1",
            "driver 'fault-inject', option 'rules.x': the action 'error' takes no 'bits'; it takes \
             error, when",
        ),
        (
            ",rules.x.action=error,rules.x.zone=1,rules.x.offset=0",
            "driver 'fault-inject', option 'rules.x': give a zone or a range of bytes, not both",
        ),
        (",rules.x.action=error,rules.x.zone=99", "rule 'x': there is no zone 99"),
        (",rules.x.action=error,rules.x.probability=2", "rule 'x': a probability is above 0"),
        (",rules.x.action=error,rules.x.when=never", "before (the request"),
        (",rules.x.action=delay", "the action 'delay' needs 'delay-us' or 'jitter-us'"),
        (",rules.x.action=append", "the action 'append' needs 'bytes'"),
        (",rules.x.action=error,rules.x.error=ewhat", "'ewhat' is no error that can be injected"),
        (",rules=5", "driver 'fault-inject', option 'rules' = \"5\""),
    ] {
        let said = open(rules).await.expect_err(rules).kind().to_string();
        assert!(said.contains(message), "{said}");
    }
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
