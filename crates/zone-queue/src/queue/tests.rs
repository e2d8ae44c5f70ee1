//! Random histories of a queue, each step one critical section, beside a naive reference.
//!
//! Whatever threads do, a queue sees one critical section after the other: a random sequence of
//! them is an interleaving.

use super::*;
use block_core::{InFlight, IoVec};
use proptest::prelude::*;
use std::sync::LazyLock;
use tokio::runtime::{Builder, Runtime};

const MAX_BATCH: u64 = 3 * MIN_SIZE;

static RUNTIMES: LazyLock<[Runtime; 2]> =
    LazyLock::new(|| [0, 1].map(|_| Builder::new_current_thread().build().unwrap()));

fn handle(runtime: usize) -> Handle {
    RUNTIMES[runtime].handle().clone()
}

fn entry(id: u64, payload: Payload, runtime: usize) -> Box<Entry> {
    Entry::new(Some(id), payload, handle(runtime), InFlight::default().start()).0
}

fn data(len: usize) -> Payload {
    Payload::Data(IoVec::from(vec![0; len]))
}

#[derive(Clone, Debug)]
enum Op {
    Push {
        units: usize,
        zeroes: bool,
        runtime: usize,
    },
    Exclusive,
    /// The one at this place (modulo their number) of all that ever lined up goes away.
    GoAway(usize),
    /// The runner asks for its next batch.
    Run,
    /// The runner is dropped: before its first poll, between two batches or in one.
    Abandon,
    EndExclusive {
        finished: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4_usize, prop::bool::weighted(0.2), 0..2_usize)
            .prop_map(|(units, zeroes, runtime)| Op::Push { units, zeroes, runtime }),
        2 => Just(Op::Exclusive),
        2 => any::<usize>().prop_map(Op::GoAway),
        3 => Just(Op::Run),
        1 => Just(Op::Abandon),
        2 => any::<bool>().prop_map(|finished| Op::EndExclusive { finished }),
    ]
}

/// Who waits, in the reference.
#[derive(Clone, Debug)]
struct Item {
    id: u64,
    /// Length, whether zeroes, and runtime of a request; `None` for one who wants the zone.
    request: Option<(u64, bool, usize)>,
}

/// A queue, its parties, and the reference: a plain list.
#[derive(Default)]
struct World {
    queue: Queue,
    line: Vec<Item>,
    /// The runtime of the runner that runs or was asked for.
    runner: Option<usize>,
    /// Who has the zone to himself.
    holder: Option<u64>,
    /// Whether the last batch was of several.
    crowded: bool,
    uncertain: bool,
    next_id: u64,
    places: Vec<(u64, Place)>,
    wakers: Vec<(u64, oneshot::Receiver<()>)>,
    /// Who left the line, and how often: each must leave exactly once.
    left: Vec<u64>,
}

impl World {
    fn step(&mut self, op: &Op) {
        match *op {
            Op::Push { units, zeroes, runtime } => self.push(units, zeroes, runtime),
            Op::Exclusive => self.exclusive(),
            Op::GoAway(which) => self.go_away(which),
            Op::Run => self.run(),
            Op::Abandon => self.abandon(),
            Op::EndExclusive { finished } => {
                if self.holder.take().is_some() {
                    self.uncertain |= !finished;
                    let then = self.queue.end_exclusive(finished);
                    self.passed_on(then);
                }
            }
        }
        self.check();
    }

    fn push(&mut self, units: usize, zeroes: bool, runtime: usize) {
        let len = units * usize::try_from(MIN_SIZE).unwrap();
        let payload = if zeroes {
            Payload::Zeroes(len as u64, block_core::RequestFlags::empty())
        } else {
            data(len)
        };
        let id = self.new_id();
        let entry = entry(id, payload, runtime);
        let before = self.size();
        let with_it = if before == 0 { 0 } else { before + (len as u64).max(MIN_SIZE) };
        assert_eq!(self.queue.size_before(&entry), with_it);
        let (place, then) = self.queue.push(entry);
        self.places.push((id, place));
        self.line.push(Item { id, request: Some((len as u64, zeroes, runtime)) });
        if self.runner.is_none() && self.holder.is_none() {
            let on = match (then, self.crowded) {
                (Then::StartRunner(on), true) | (Then::BeginHere(on), false) => on,
                (then, crowded) => panic!("a runner is needed, crowded {crowded}: {then:?}"),
            };
            assert_eq!(on.id(), handle(runtime).id());
            self.runner = Some(runtime);
        } else {
            assert!(matches!(then, Then::Nothing), "somebody works already: {then:?}");
        }
    }

    fn exclusive(&mut self) {
        let id = self.new_id();
        let turn = self.queue.request_exclusive();
        if self.runner.is_none() && self.holder.is_none() {
            assert!(turn.is_none(), "an idle zone is there for the taking");
            self.holder = Some(id);
            self.left.push(id);
        } else {
            let (place, woken) = turn.expect("must wait");
            self.places.push((id, place));
            self.wakers.push((id, woken));
            self.line.push(Item { id, request: None });
        }
    }

    fn go_away(&mut self, which: usize) {
        if self.places.is_empty() {
            return;
        }
        let (id, place) = self.places[which % self.places.len()];
        let withdrawn = self.queue.withdraw(place);
        match self.line.iter().position(|item| item.id == id) {
            Some(at) => {
                let item = self.line.remove(at);
                let is_request = matches!(withdrawn, Some(Waiting::Entry(_)));
                assert_eq!(is_request, item.request.is_some());
                assert!(withdrawn.is_some());
                self.left.push(id);
            }
            None => assert!(withdrawn.is_none(), "whose turn has come cannot be withdrawn"),
        }
    }

    fn run(&mut self) {
        if self.runner.is_none() {
            return;
        }
        let mut expected = Vec::new();
        let mut bytes = 0;
        for item in &self.line {
            let Some((len, zeroes, _)) = item.request else { break };
            bytes += len;
            if !expected.is_empty() && (zeroes || bytes > MAX_BATCH) {
                break;
            }
            expected.push(item.id);
            if zeroes {
                break;
            }
        }
        if !expected.is_empty() {
            self.crowded = expected.len() > 1;
        }
        match self.queue.next_batch(MAX_BATCH) {
            Next::Batch(batch) => {
                let batch: Vec<u64> = batch.iter().map(|e| e.at.unwrap()).collect();
                assert_eq!(batch, expected);
                self.line.drain(..batch.len());
                self.left.extend(batch);
            }
            Next::Stop(then) => {
                assert_eq!(expected, [0_u64; 0], "requests wait");
                self.runner = None;
                self.passed_on(then);
            }
        }
    }

    fn abandon(&mut self) {
        let Some(runtime) = self.runner.take() else { return };
        self.uncertain = true;
        let (lost, then) = self.queue.abandon_runner(handle(runtime).id());
        let lost: Vec<u64> = lost.iter().map(|e| e.at.unwrap()).collect();
        let gone = |item: &Item| item.request.is_some_and(|(_, _, on)| on == runtime);
        let expected: Vec<u64> = self.line.iter().filter(|i| gone(i)).map(|i| i.id).collect();
        assert_eq!(lost, expected);
        self.line.retain(|item| !gone(item));
        self.left.extend(lost);
        self.passed_on(then);
    }

    /// The zone was given back: it must go to the first in line.
    fn passed_on(&mut self, then: Then) {
        match (self.line.first().cloned(), then) {
            (None, Then::Nothing) => {}
            (Some(Item { request: Some((_, _, runtime)), .. }), Then::StartRunner(on)) => {
                assert_eq!(on.id(), handle(runtime).id());
                self.runner = Some(runtime);
            }
            (Some(Item { id, request: None }), Then::Wake(wake)) => {
                wake.send(()).expect("he waits");
                let (_, woken) = self.wakers.iter_mut().find(|(w, _)| *w == id).unwrap();
                woken.try_recv().expect("the right one was woken");
                self.line.remove(0);
                self.left.push(id);
                self.holder = Some(id);
            }
            (first, then) => panic!("first in line is {first:?}, but {then:?}"),
        }
    }

    fn check(&self) {
        let holder = match (self.runner, self.holder) {
            (None, None) => Holder::Nobody,
            (Some(_), None) => Holder::Runner,
            (None, Some(_)) => Holder::Exclusive,
            both => panic!("two parties work on the zone: {both:?}"),
        };
        assert_eq!(self.queue.holder, holder);
        assert_eq!(self.queue.uncertain, self.uncertain);
        assert_eq!(self.queue.waiting(), self.line.len());
        assert_eq!(self.queue.size, self.size());
        assert!(holder != Holder::Nobody || self.line.is_empty(), "nobody serves the line");
        let mut seen: Vec<u64> = self.left.clone();
        seen.extend(self.line.iter().map(|i| i.id));
        seen.sort_unstable();
        assert_eq!(seen, (0..self.next_id).collect::<Vec<_>>(), "lost, or there twice");
    }

    fn size(&self) -> u64 {
        self.line.iter().filter_map(|i| i.request).map(|(len, ..)| len.max(MIN_SIZE)).sum()
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_does_what_a_plain_list_would(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::default();
        for op in &ops {
            world.step(op);
        }
        // Whoever works goes on, and everybody gets his turn.
        while world.runner.is_some() || world.holder.is_some() {
            world.step(&Op::Run);
            world.step(&Op::EndExclusive { finished: true });
        }
        prop_assert!(world.line.is_empty());
    }
}

#[test]
fn doubt_is_taken_over_once_and_can_be_given_back() {
    let mut queue = Queue::default();
    assert!(queue.request_exclusive().is_none());
    let _ = queue.end_exclusive(false);
    assert!(queue.take_uncertain());
    assert!(!queue.take_uncertain());
    queue.set_uncertain();
    assert!(queue.take_uncertain());
}

#[test]
fn a_request_larger_than_a_batch_goes_alone() {
    let mut queue = Queue::default();
    for id in 0..3 {
        let _ = queue.push(entry(id, data(100_000), 0));
    }
    for id in 0..3 {
        let Next::Batch(batch) = queue.next_batch(4096) else { panic!("{id} waits") };
        assert_eq!(batch.iter().map(|e| e.at).collect::<Vec<_>>(), [Some(id)]);
    }
}

#[test]
fn an_idle_zone_is_small() {
    let size = size_of::<std::sync::Mutex<Queue>>();
    assert!(size <= 72, "100,000 zones would take {size} bytes each");
}
