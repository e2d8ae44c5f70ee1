//! Rules as options, and rules that are refused.

use crate::*;

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
