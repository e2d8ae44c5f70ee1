//! What becomes of a request, and of the zones.

use crate::*;

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
async fn a_corrupt_read_differs_in_as_many_bits() {
    let s = plain();
    s.write(0, 0x55, 4096).await.unwrap();
    s.rule(Rule::new("rot", Action::Corrupt { bits: 3 }).times(1));
    let read = async || s.node.read(0, IoBufMut::zeroed(4096).into()).await.unwrap().to_vec();
    let wrong: u32 = read().await.iter().map(|byte| (byte ^ 0x55).count_ones()).sum();
    assert_eq!(wrong, 3);
    // Of what gives no bytes back it knows nothing.
    s.node.flush().await.unwrap();
    assert_eq!(s.faults.counts("rot").unwrap().matched, 1);
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
