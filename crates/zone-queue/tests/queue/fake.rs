//! A device of zones in memory whose writes end when, and how, the test says.

use block_core::{Error, ErrorKind, Result, ZoneId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};
use zone_queue::{Aftermath, Payload, ZoneTarget};

const EIO: i32 = 5;

/// Size of a zone; zone `n` starts at `n * ZONE`.
pub const ZONE: u64 = 1 << 28;

/// How a write ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Lands,
    /// Fails after this many bytes landed.
    Fails(u64),
    /// Fails, and where the pointer stands cannot be found out.
    Unknown,
    /// The driver has a bug.
    Panics,
}

/// A write that the device works on, whether or not anybody waits for it.
#[derive(Debug)]
pub struct Pending {
    pub zone: u64,
    bytes: Vec<u8>,
    decided: oneshot::Sender<Outcome>,
}

/// One write as the device saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub zone: u64,
    pub offset: u64,
    pub len: u64,
    pub zeroes: bool,
}

#[derive(Debug, Default)]
pub struct Zone {
    /// What the medium holds; its length is the true write pointer.
    pub data: Vec<u8>,
    pub capacity: u64,
    /// Where the queue believes the pointer to stand.
    believed: u64,
    /// Somebody else wrote since this was last looked at.
    moved: bool,
    landed_of_failed: u64,
    unknown: bool,
    /// A party is in one of the methods.
    busy: bool,
    /// A test holds the zone exclusively.
    pub held: bool,
}

#[derive(Debug, Default)]
pub struct State {
    pub zones: Vec<Zone>,
    pub pending: Vec<Pending>,
    /// How the next writes end that the device does not hold.
    pub script: VecDeque<Outcome>,
    /// Writes wait until the test decides about them.
    pub hold: bool,
    pub batches: Vec<Batch>,
    pub recovered: Vec<u64>,
    pub failing_recoveries: u32,
    /// What the queue must never do, and did.
    pub violations: Vec<String>,
}

#[derive(Debug)]
pub struct Fake {
    state: Mutex<State>,
    changed: Notify,
}

impl Fake {
    pub fn new(zones: usize, capacity: u64) -> Arc<Self> {
        let zone = |_| Zone { capacity, ..Zone::default() };
        let zones = (0..zones).map(zone).collect();
        Arc::new(Self {
            state: Mutex::new(State { zones, ..State::default() }),
            changed: Notify::new(),
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn hold(&self) {
        self.state().hold = true;
    }

    /// The next writes end like this.
    pub fn script(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.state().script.extend(outcomes);
    }

    pub fn data(&self, zone: usize) -> Vec<u8> {
        self.state().zones[zone].data.clone()
    }

    pub fn batches(&self) -> Vec<Batch> {
        self.state().batches.clone()
    }

    /// Lengths of the writes so far.
    pub fn batch_lens(&self) -> Vec<u64> {
        self.batches().iter().map(|b| b.len).collect()
    }

    /// Waits until the device works on `n` writes.
    pub async fn pending(&self, n: usize) {
        loop {
            let changed = self.changed.notified();
            if self.state().pending.len() >= n {
                return;
            }
            changed.await;
        }
    }

    /// Ends the write at this index among those pending.
    pub fn decide(&self, index: usize, outcome: Outcome) {
        let (pending, outcome) = {
            let mut state = self.state();
            let pending = state.pending.remove(index);
            let outcome = state.end(pending.zone, &pending.bytes, outcome);
            (pending, outcome)
        };
        let _ = pending.decided.send(outcome);
        self.changed.notify_waiters();
    }

    /// Ends all that is pending, and lets later writes through.
    pub fn release(&self) {
        self.state().hold = false;
        while !self.state().pending.is_empty() {
            self.decide(0, Outcome::Lands);
        }
    }

    /// Somebody else writes to the zone, past this queue.
    pub fn intrude(&self, zone: usize, len: usize) {
        let mut state = self.state();
        let zone = &mut state.zones[zone];
        zone.data.extend(std::iter::repeat_n(0xff, len));
        zone.moved = true;
    }

    /// Nothing happened that must not.
    pub fn check(&self) {
        assert_eq!(self.state().violations, Vec::<String>::new());
    }

    fn enter(&self, zone: u64, what: &'static str) -> Party<'_> {
        let mut state = self.state();
        let z = &mut state.zones[index(zone)];
        let (busy, held) = (z.busy, z.held);
        z.busy = true;
        if busy {
            state.violations.push(format!("{what}: two parties in zone {zone}"));
        }
        if held {
            state.violations.push(format!("{what}: zone {zone} is held by somebody else"));
        }
        Party { fake: self, zone }
    }
}

impl State {
    /// Puts on the medium what a write leaves there; a zone whose pointer moved takes nothing.
    fn end(&mut self, zone: u64, bytes: &[u8], wanted: Outcome) -> Outcome {
        let z = &mut self.zones[index(zone)];
        let outcome = match wanted {
            Outcome::Lands | Outcome::Fails(_) if z.moved => Outcome::Fails(0),
            other => other,
        };
        let landed = match outcome {
            Outcome::Lands => bytes.len(),
            Outcome::Fails(landed) => bytes.len().min(index(landed)),
            Outcome::Unknown | Outcome::Panics => 0,
        };
        z.data.extend_from_slice(&bytes[..landed]);
        if outcome != Outcome::Lands {
            z.landed_of_failed = landed as u64;
        }
        z.unknown = outcome == Outcome::Unknown;
        outcome
    }
}

struct Party<'a> {
    fake: &'a Fake,
    zone: u64,
}

impl Drop for Party<'_> {
    fn drop(&mut self) {
        self.fake.state().zones[index(self.zone)].busy = false;
    }
}

impl ZoneTarget for Fake {
    fn admit(&self, zone: u64, at: Option<u64>, len: u64, ahead: u64) -> Result<u64> {
        let state = self.state();
        let z = &state.zones[index(zone)];
        let start = zone * ZONE;
        let id = ZoneId { index: zone, start };
        let given = start + z.believed + ahead;
        if let Some(at) = at
            && at != given
        {
            let mismatch = ErrorKind::WritePointerMismatch { zone: id, expected: given, given: at };
            return Err(mismatch.into());
        }
        let remaining = z.capacity.saturating_sub(z.believed + ahead);
        if len > remaining {
            return Err(ErrorKind::ZoneFull { zone: id, needed: len, remaining }.into());
        }
        Ok(given)
    }

    async fn write(&self, zone: u64, position: u64, payload: Payload) -> Result<()> {
        let _party = self.enter(zone, "write");
        let offset = position - zone * ZONE;
        let (bytes, zeroes) = match payload {
            Payload::Data(bufs) => (bufs.to_vec(), false),
            Payload::Zeroes(len, _) => (vec![0; index(len)], true),
        };
        let decision = {
            let mut state = self.state();
            let len = bytes.len() as u64;
            state.batches.push(Batch { zone, offset, len, zeroes });
            if state.pending.iter().any(|p| p.zone == zone) {
                state.violations.push(format!("zone {zone}: a write while an old one runs"));
            }
            let z = &state.zones[index(zone)];
            if z.moved {
                return Err(refused());
            }
            if offset != z.data.len() as u64 {
                let pointer = z.data.len();
                state.violations.push(format!("zone {zone}: {offset:#x} is not {pointer:#x}"));
            }
            if state.hold {
                let (decided, decision) = oneshot::channel();
                state.pending.push(Pending { zone, bytes, decided });
                Err(decision)
            } else {
                let outcome = state.script.pop_front().unwrap_or(Outcome::Lands);
                Ok(state.end(zone, &bytes, outcome))
            }
        };
        let outcome = match decision {
            Ok(outcome) => {
                tokio::task::yield_now().await;
                outcome
            }
            Err(decision) => {
                self.changed.notify_waiters();
                decision.await.expect("the test decides about every write")
            }
        };
        match outcome {
            Outcome::Lands => Ok(()),
            // A panic, but without the noise of one.
            Outcome::Panics => std::panic::resume_unwind(Box::new("made on purpose")),
            Outcome::Fails(_) | Outcome::Unknown => Err(refused()),
        }
    }

    fn landed(&self, zone: u64, position: u64, len: u64) {
        let mut state = self.state();
        let z = &mut state.zones[index(zone)];
        assert_eq!(position, zone * ZONE + z.believed);
        z.believed += len;
    }

    async fn after_error(&self, zone: u64, _: u64, _: u64, _: &Error) -> Result<Aftermath> {
        let _party = self.enter(zone, "after_error");
        tokio::task::yield_now().await;
        let mut state = self.state();
        let z = &mut state.zones[index(zone)];
        if std::mem::take(&mut z.unknown) {
            return Err(refused());
        }
        let moved = std::mem::take(&mut z.moved);
        let landed = std::mem::take(&mut z.landed_of_failed);
        z.believed = z.data.len() as u64;
        Ok(Aftermath { landed, moved })
    }

    async fn recover(&self, zone: u64) -> Result<()> {
        let _party = self.enter(zone, "recover");
        loop {
            let changed = self.changed.notified();
            let running = self.state().pending.iter().any(|p| p.zone == zone);
            if !running {
                break;
            }
            changed.await;
        }
        tokio::task::yield_now().await;
        let mut state = self.state();
        if state.failing_recoveries > 0 {
            state.failing_recoveries -= 1;
            return Err(refused());
        }
        state.recovered.push(zone);
        let z = &mut state.zones[index(zone)];
        (z.moved, z.unknown, z.landed_of_failed) = (false, false, 0);
        z.believed = z.data.len() as u64;
        Ok(())
    }
}

fn refused() -> Error {
    ErrorKind::Io(std::io::Error::from_raw_os_error(EIO)).into()
}

pub fn index(n: u64) -> usize {
    usize::try_from(n).unwrap()
}
