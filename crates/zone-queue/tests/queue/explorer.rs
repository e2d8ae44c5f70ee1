//! Random schedules of the real queues: which caller is polled when, who goes away, when a runtime
//! runs a step or dies, and how each write ends, all decided by a seed.
//!
//! A failure prints its seed; `ZONE_QUEUE_SEED=<seed>` runs that schedule alone.

use crate::fake::{Fake, Outcome, ZONE, index};
use crate::{Queues, append, queues_of, runtime, soon};
use block_core::{IoVec, Result};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::runtime::{Builder, Handle, Runtime};
use zone_queue::{Payload, QueueLimits};

const SEEDS: u64 = 2000;
const STEPS: usize = 120;
const BLOCK: usize = 512;
const ZONES: u64 = 2;

#[test]
fn every_schedule_keeps_the_promises() {
    let chosen = std::env::var("ZONE_QUEUE_SEED").ok().map(|s| s.parse().unwrap());
    for seed in chosen.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let _named = Named(seed);
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.drain();
        world.check();
    }
}

struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with ZONE_QUEUE_SEED={}", self.0);
        }
    }
}

/// A waker that remembers.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Ok(u64),
    Failed {
        begun: bool,
    },
    /// The caller went away, before its turn or after.
    Dropped {
        begun: bool,
    },
}

struct Request {
    zone: u64,
    len: usize,
    zeroes: bool,
    fate: Fate,
}

struct Client {
    /// The request's number; `None` for management.
    id: Option<usize>,
    runtime: Handle,
    zone: u64,
    woken: Arc<Flag>,
    future: Pin<Box<dyn Future<Output = Result<u64>>>>,
}

struct World {
    random: u64,
    failures: bool,
    kills: bool,
    fake: Arc<Fake>,
    queues: Queues,
    runtimes: [Runtime; 2],
    clients: Vec<Client>,
    /// In order of first poll.
    requests: Vec<Request>,
}

fn stepped_runtime() -> Runtime {
    Builder::new_current_thread().event_interval(1).build().unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let fake = Fake::new(2, 64 * BLOCK as u64);
        fake.hold();
        let limits = QueueLimits { max_batch_bytes: 4 * BLOCK as u64, congested_above: 8192 };
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1,
            failures: seed % 4 == 1 || seed % 4 == 3,
            kills: seed % 4 >= 2,
            queues: queues_of(&fake, limits),
            fake,
            runtimes: [stepped_runtime(), stepped_runtime()],
            clients: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        index((self.random >> 11) % n.max(1) as u64)
    }

    fn step(&mut self) {
        match self.below(100) {
            0..20 => self.request(),
            20..25 => self.manage(),
            25..55 => {
                let runtime = self.below(2);
                self.runtimes[runtime].block_on(tokio::task::yield_now());
            }
            55..70 => {
                let client = self.below(self.clients.len());
                self.poll(client);
            }
            70..77 => self.go_away(),
            77..95 => self.end_a_write(),
            95..97 if self.failures => {
                let (zone, blocks) = (self.below(2), 1 + self.below(3));
                self.fake.intrude(zone, blocks * BLOCK);
            }
            97 if self.failures => self.fake.state().failing_recoveries += 1,
            98.. if self.kills => {
                let runtime = self.below(2);
                self.runtimes[runtime] = stepped_runtime();
            }
            _ => {}
        }
    }

    fn request(&mut self) {
        let id = self.requests.len();
        let zone = self.below(2) as u64;
        let blocks = 1 + self.below(3);
        let zeroes = self.below(8) == 0;
        let at = (self.below(3) == 0).then(|| self.likely_pointer(zone));
        let payload = if zeroes {
            Payload::Zeroes((blocks * BLOCK) as u64, block_core::RequestFlags::empty())
        } else {
            Payload::Data(IoVec::from(content(id, blocks)))
        };
        self.requests.push(Request { zone, len: blocks * BLOCK, zeroes, fate: Fate::Open });
        let queues = self.queues.clone();
        self.start(Some(id), zone, async move { queues.submit(zone, at, payload).await });
    }

    /// Where a plain write may have to go, if all that waits lands.
    fn likely_pointer(&self, zone: u64) -> u64 {
        let landed = self.fake.data(index(zone)).len();
        let open = |r: &&Request| r.zone == zone && r.fate == Fate::Open;
        let waiting: usize = self.requests.iter().filter(open).map(|r| r.len).sum();
        zone * ZONE + (landed + waiting) as u64
    }

    fn manage(&mut self) {
        let (zone, polls) = (self.below(2) as u64, self.below(4));
        let finishes = !self.failures || self.below(3) > 0;
        let queues = self.queues.clone();
        self.start(None, zone, async move {
            let hold = queues.exclusive(zone).await?;
            let held = Held::new(queues.target(), zone);
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
            drop(held);
            if finishes {
                hold.finished();
            }
            Ok(0)
        });
    }

    fn start(
        &mut self,
        id: Option<usize>,
        zone: u64,
        future: impl Future<Output = Result<u64>> + 'static,
    ) {
        let runtime = self.below(2);
        let runtime = self.runtimes[runtime].handle().clone();
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        self.clients.push(Client { id, runtime, zone, woken, future: Box::pin(future) });
        self.poll(self.clients.len() - 1);
    }

    fn poll(&mut self, which: usize) {
        let Some(client) = self.clients.get_mut(which) else { return };
        client.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&client.woken));
        let entered = client.runtime.enter();
        let polled = client.future.as_mut().poll(&mut Context::from_waker(&waker));
        drop(entered);
        let Poll::Ready(result) = polled else { return };
        let client = self.clients.swap_remove(which);
        let fate = match &result {
            Ok(position) => Fate::Ok(*position),
            Err(error) => {
                let text = error.to_string();
                let expected =
                    ["write-pointer-mismatch", "zone-full"].contains(&error.kind().name());
                let unfaulted = !self.failures && !self.kills;
                assert!(expected || !unfaulted, "without a cause: {text}");
                Fate::Failed { begun: !text.contains("nothing of it was written") && !expected }
            }
        };
        if let Some(id) = client.id {
            self.requests[id].fate = fate;
        }
    }

    fn go_away(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let which = self.below(self.clients.len());
        let client = self.clients.swap_remove(which);
        let before = self.queues.waiting(client.zone);
        // What a holder that goes away passes on to does not matter to a request.
        drop(client.future);
        if let Some(id) = client.id {
            let begun = self.queues.waiting(client.zone) == before;
            self.requests[id].fate = Fate::Dropped { begun };
        }
    }

    fn end_a_write(&mut self) {
        let pending = self.fake.state().pending.len();
        if pending == 0 {
            return;
        }
        let which = self.below(pending);
        let blocks = self.below(5) * BLOCK;
        let outcome = match self.below(12) {
            0..2 if self.failures => Outcome::Fails(0),
            2..4 if self.failures => Outcome::Fails(blocks as u64),
            4 if self.failures => Outcome::Unknown,
            5 if self.failures && self.kills => Outcome::Panics,
            _ => Outcome::Lands,
        };
        self.fake.decide(which, outcome);
    }

    /// No more trouble: everybody who waits must be served, and only those polled who were woken.
    fn drain(&mut self) {
        self.fake.state().failing_recoveries = 0;
        for _ in 0..10_000 {
            if self.clients.is_empty() {
                return;
            }
            for runtime in &self.runtimes {
                runtime.block_on(tokio::task::yield_now());
            }
            self.end_a_write();
            for which in (0..self.clients.len()).rev() {
                if self.clients[which].woken.0.load(Ordering::SeqCst) {
                    self.poll(which);
                }
            }
        }
        panic!("{} callers wait forever", self.clients.len());
    }

    fn check(&mut self) {
        self.fake.release();
        let fresh = runtime();
        for zone in 0..ZONES {
            assert_eq!(self.queues.waiting(zone), 0);
            self.fake.state().zones[index(zone)].capacity = ZONE;
        }
        // What callers that went away left under way ends where it runs.
        for runtime in self.runtimes.iter().cycle().take(200) {
            runtime.block_on(tokio::task::yield_now());
        }
        fresh.block_on(soon(self.queues.settle()));
        for zone in 0..ZONES {
            let last = fresh.block_on(soon(append(&self.queues, zone, 0xff)));
            assert!(last.is_ok(), "zone {zone} is unusable: {last:?}");
            self.check_medium(zone);
        }
        self.fake.check();
    }

    fn check_medium(&self, zone: u64) {
        let medium = self.fake.data(index(zone));
        let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut last = 0;
        for (n, block) in medium.chunks(BLOCK).enumerate() {
            if block.iter().all(|b| *b == 0) || block.iter().all(|b| *b == 0xff) {
                continue;
            }
            let number = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
            let (id, part) = (number(0) as usize - 1, number(4) as usize);
            assert!(id >= last, "request {id} landed behind {last}, which was asked later");
            last = id;
            let places = found.entry(id).or_default();
            assert_eq!(part, places.len(), "request {id} landed in pieces, or twice");
            places.push(n * BLOCK);
        }
        for (id, request) in self.requests.iter().enumerate().filter(|(_, r)| r.zone == zone) {
            let places = found.get(&id).map_or(&[][..], Vec::as_slice);
            match request.fate {
                Fate::Ok(position) => {
                    let at = index(position - zone * ZONE);
                    let range = at..at + request.len;
                    if request.zeroes {
                        assert!(medium[range].iter().all(|b| *b == 0), "request {id}");
                    } else {
                        assert!(places.iter().copied().eq(range.step_by(BLOCK)), "request {id}");
                    }
                }
                Fate::Failed { begun: false } | Fate::Dropped { begun: false } => {
                    assert!(places.is_empty(), "request {id} never had its turn, and landed");
                }
                Fate::Failed { begun: true } | Fate::Dropped { begun: true } => {}
                Fate::Open => panic!("request {id} was forgotten"),
            }
        }
    }
}

/// Blocks that say whose they are, and which part.
fn content(id: usize, blocks: usize) -> Vec<u8> {
    let mut bytes = vec![0; blocks * BLOCK];
    for (part, block) in bytes.chunks_mut(BLOCK).enumerate() {
        block[..4].copy_from_slice(&u32::try_from(id + 1).unwrap().to_le_bytes());
        block[4..8].copy_from_slice(&u32::try_from(part).unwrap().to_le_bytes());
    }
    bytes
}

/// Says that the zone is held, for the device to complain if it is touched.
struct Held(Arc<Fake>, u64);

impl Held {
    fn new(fake: &Arc<Fake>, zone: u64) -> Self {
        let mut state = fake.state();
        assert!(!state.zones[index(zone)].held, "zone {zone} has two holders");
        assert!(state.pending.iter().all(|p| p.zone != zone), "work goes on in a held zone");
        state.zones[index(zone)].held = true;
        drop(state);
        Self(Arc::clone(fake), zone)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state().zones[index(self.1)].held = false;
    }
}
