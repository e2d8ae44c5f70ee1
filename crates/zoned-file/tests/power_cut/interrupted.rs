//! Commits that are cut off in the middle, at each of their events, and what comes after them.

use crate::steps::{Big, Step};
use crate::{attempt, image, variants};
use block_core::ZoneOp;

const SEEDS: u64 = 2;
/// More events than any commit has.
const EVENTS: usize = 12;

const ONE: Big = append(1);
const TWO: Big = append(2);
const FLUSH: Big = Big::Small(Step::Flush);

const fn append(zone: usize) -> Big {
    let len = 8;
    Big::Small(Step::Append { zone, len, fua: false })
}

fn reset(zone: usize) -> Step {
    Step::Manage(ZoneOp::Reset, zone..zone + 1)
}

fn finish(zone: usize) -> Step {
    Step::Manage(ZoneOp::Finish, zone..zone + 1)
}

/// Tells a story for each event at which it can be interrupted, and cuts each everywhere.
fn at_every_event(story: impl Fn(usize) -> Vec<Big>) {
    let variant = &variants::all()[0];
    let image = image(variant);
    for (seed, events) in (0..SEEDS).flat_map(|s| (0..EVENTS).map(move |e| (s, e))) {
        let told = attempt(variant, &image, seed, &story(events));
        told.unwrap_or_else(|e| panic!("seed {seed}, interrupted after {events} events: {e}"));
    }
}

#[test]
fn a_kill_in_a_flush_and_a_reset_after_it() {
    at_every_event(|events| {
        let kill = Big::Kill(vec![Step::Flush], events);
        vec![ONE, TWO, FLUSH, ONE, kill, Big::Small(reset(2)), TWO]
    });
}

#[test]
fn a_kill_in_a_reset_and_data_after_it() {
    at_every_event(|events| {
        let kill = Big::Kill(vec![reset(1)], events);
        vec![ONE, ONE, FLUSH, kill, ONE, ONE, ONE]
    });
}

#[test]
fn a_flush_after_one_that_died_with_its_runtime() {
    at_every_event(|events| vec![ONE, Big::Abandon(vec![Step::Flush], events), FLUSH]);
}

#[test]
fn data_and_a_flush_after_one_that_died_with_its_runtime() {
    // What was abandoned may reach the disk late, over what is written next to the same place.
    at_every_event(|events| {
        vec![ONE, Big::Abandon(vec![Step::Flush], events), ONE, FLUSH, TWO, TWO]
    });
}

#[test]
fn data_and_a_flush_after_data_that_died_with_its_runtime() {
    at_every_event(|events| {
        let append = Step::Append { zone: 1, len: 8, fua: false };
        vec![Big::Abandon(vec![append], events), ONE, FLUSH, TWO, TWO]
    });
}

#[test]
fn a_reset_after_a_flush_that_died_with_its_runtime() {
    at_every_event(|events| {
        let abandon = Big::Abandon(vec![Step::Flush], events);
        vec![ONE, abandon, Big::Small(reset(1)), ONE, TWO]
    });
}

#[test]
fn a_close_after_a_reset_that_died_with_its_runtime() {
    at_every_event(|events| {
        let abandon = Big::Abandon(vec![reset(1)], events);
        vec![ONE, TWO, FLUSH, Big::Reopen, abandon, Big::Reopen, TWO]
    });
}

#[test]
fn a_reset_after_a_finish_that_died_with_its_runtime() {
    at_every_event(|events| {
        let abandon = Big::Abandon(vec![finish(1)], events);
        vec![TWO, FLUSH, ONE, abandon, Big::Small(reset(1)), ONE, FLUSH]
    });
}
