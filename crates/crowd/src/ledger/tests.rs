use super::*;
use crate::record::record;
use block_backend::ZoneType;

const START: u64 = 1 << 20;
const CAPACITY: u64 = 16 * BLOCK as u64;

fn id(task: u64, number: u64) -> Id {
    Id { generation: 0, task, number }
}

fn at(block: u64) -> u64 {
    START + block * BLOCK as u64
}

/// A zone in which so many blocks are written.
fn zone(blocks: u64) -> Zone {
    Zone {
        start: START,
        length: 2 * CAPACITY,
        capacity: CAPACITY,
        write_pointer: Some(at(blocks)),
        condition: ZoneCondition::ImplicitOpen,
        zone_type: ZoneType::SequentialWriteRequired,
    }
}

/// Two records landed, of one block and of two.
fn ledger() -> (Ledger, Vec<u8>) {
    let ledger = Ledger::new(&[zone(0)]);
    let place = &ledger.places[0];
    place.landed(Landed { position: at(0), id: id(1, 1), count: 1 }).unwrap();
    place.landed(Landed { position: at(1), id: id(2, 1), count: 2 }).unwrap();
    (ledger, [record(id(1, 1), 1), record(id(2, 1), 2)].concat())
}

#[track_caller]
fn complains(verified: Result<u64, String>, of: &str) {
    let error = verified.unwrap_err();
    assert!(error.contains(of), "{error}");
}

#[test]
fn what_landed_is_there_and_more_may_be() {
    let (ledger, mut bytes) = ledger();
    assert_eq!(ledger.verify(&zone(3), &bytes), Ok(2));
    // A caller went away, and yet its append was done.
    bytes.extend(record(id(3, 9), 2));
    assert_eq!(ledger.verify(&zone(5), &bytes), Ok(3));
    bytes.resize(CAPACITY as usize, 0);
    assert_eq!(ledger.verify(&zone(5), &bytes), Ok(3));
    let full = Zone { condition: ZoneCondition::Full, ..zone(16) };
    assert_eq!(ledger.verify(&full, &bytes), Ok(3), "a finished zone has zeroes behind its data");
}

#[test]
fn what_is_lost_is_missed() {
    let (ledger, bytes) = ledger();
    complains(ledger.verify(&zone(1), &bytes[..BLOCK]), "lost: Landed");
    complains(ledger.verify(&zone(0), &[]), "lost: Landed");
    complains(ledger.verify(&zone(3), &bytes[..2 * BLOCK]), "cut short");
    // A record of two blocks of which only one is there.
    let half = [&bytes[..2 * BLOCK], &record(id(3, 1), 1)].concat();
    complains(ledger.verify(&zone(3), &half), "expected after");
}

#[test]
fn what_is_in_another_place_is_not_where_it_landed() {
    let (ledger, bytes) = ledger();
    let swapped = [&bytes[BLOCK..], &bytes[..BLOCK]].concat();
    complains(ledger.verify(&zone(3), &swapped), "in the place of");
    let moved = [&record(id(3, 1), 1), &bytes[..]].concat();
    complains(ledger.verify(&zone(4), &moved), "in the place of");
    let behind = [&record(id(3, 1), 3), &bytes[..BLOCK]].concat();
    complains(ledger.verify(&zone(4), &behind), "in the place of");
    let (alone, first) =
        (Ledger::new(&[zone(0)]), Landed { position: at(5), id: id(1, 1), count: 1 });
    alone.places[0].landed(first).unwrap();
    complains(alone.verify(&zone(1), &bytes[..BLOCK]), "not where it landed");
}

#[test]
fn every_wrong_bit_is_seen() {
    let (ledger, bytes) = ledger();
    for at in (0..bytes.len()).step_by(61) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(ledger.verify(&zone(3), &bytes).is_err(), "byte {at}");
    }
    let zeroes = [&bytes[..], &[0; BLOCK]].concat();
    complains(ledger.verify(&zone(4), &zeroes), "garbage at 0x103000");
    let mut above = zeroes;
    *above.last_mut().unwrap() = 1;
    complains(ledger.verify(&zone(3), &above), "above its pointer");
}

#[test]
fn nothing_is_there_twice_or_of_another_life() {
    let (ledger, bytes) = ledger();
    let twice = [&bytes[..], &record(id(3, 1), 1), &record(id(3, 1), 1)].concat();
    complains(ledger.verify(&zone(5), &twice), "twice there");
    ledger.places[0].reborn();
    complains(ledger.verify(&zone(3), &bytes), "of another life");
    assert_eq!(ledger.verify(&zone(0), &[]), Ok(0));
}

#[test]
fn two_records_cannot_land_in_one_place() {
    let (ledger, _) = ledger();
    let place = &ledger.places[0];
    for (block, count) in [(0, 1), (1, 1), (2, 1), (2, 3)] {
        let landed = Landed { position: at(block), id: id(3, block), count };
        complains(place.landed(landed).map(|()| 0), "lies on");
    }
    place.landed(Landed { position: at(3), id: id(3, 3), count: 1 }).unwrap();
}
