//! The disk: its journal, its pace, and what became of requests that nobody waits for.

use crate::cut;
use crate::journal::Journal;
use crate::op::{Change, Part};
use crate::{Content, Rng};
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use tokio::sync::watch;

/// How often a request lets others run before it ends, at most.
const PATIENCE: u64 = 4;

/// A disk in memory that knows what it may hold after a power cut; see the [crate](crate).
///
/// It is a handle: clones are the same disk, so that one can be a node of a graph while another
/// looks into its journal. Requests are multiples of [`SECTOR`](crate::SECTOR) within the disk's
/// length.
#[derive(Clone)]
pub struct PowerCutDisk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    held: watch::Sender<bool>,
}

struct State {
    journal: Journal,
    rng: Rng,
    /// Requests whose futures were dropped, and that have not landed yet.
    abandoned: Vec<usize>,
    /// Requests in flight, the abandoned ones not counted.
    running: Vec<usize>,
}

impl PowerCutDisk {
    /// A disk that holds this, durably. The seed decides how long requests take, and what they
    /// leave undone where they have the choice.
    pub fn new(content: Content, seed: u64) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                journal: Journal::new(content),
                rng: Rng::new(seed),
                abandoned: Vec::new(),
                running: Vec::new(),
            }),
            held: watch::Sender::new(false),
        }))
    }

    /// How many points of its history the disk's power can be cut at, apart from 0, the
    /// beginning: one after each beginning and end of a request.
    pub fn points(&self) -> usize {
        self.state().journal.now()
    }

    /// What the disk may hold if the power was cut at this point. Another `rng` gives another
    /// outcome.
    pub fn after_cut(&self, point: usize, rng: &mut Rng) -> Content {
        cut::after_cut(&self.state().journal, point, rng)
    }

    /// What is durable for certain at this point, whatever else may be there.
    pub fn durable_at(&self, point: usize) -> Content {
        self.state().journal.durable_at(point).clone()
    }

    /// What reads give at this moment.
    pub fn live(&self) -> Content {
        self.state().journal.live.clone()
    }

    /// The journal in words: the n-th line is what happened between the points n and n + 1.
    pub fn trace(&self) -> Vec<String> {
        self.state().journal.trace()
    }

    /// From now on no request that changes the disk ends, and no flush, until
    /// [`release`](Self::release).
    pub fn hold(&self) {
        self.0.held.send_replace(true);
    }

    /// Lets requests end again.
    pub fn release(&self) {
        self.0.held.send_replace(false);
    }

    /// How many requests are in flight, those included whose futures were dropped.
    pub fn in_flight(&self) -> usize {
        let state = self.state();
        state.running.len().saturating_add(state.abandoned.len())
    }

    /// The process that used the disk is gone: each request whose future was dropped has landed
    /// wholly, in part, or not at all, and nothing more of it will. Flushed is nothing by this.
    pub fn kill(&self) {
        let mut state = self.state();
        for number in std::mem::take(&mut state.abandoned) {
            let State { journal, rng, .. } = &mut *state;
            let part = journal.ops.get(number).map_or(Part::Nothing, |op| op.any_part(rng));
            journal.end(number, part);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a request out, in its own time.
    pub(crate) async fn change(&self, change: Change, offset: u64, len: u64, fua: bool) {
        let running = {
            let mut state = self.state();
            state.land_some();
            let number = state.journal.begin(change, offset, len, fua);
            state.running.push(number);
            Running { disk: self, number }
        };
        self.linger().await;
        running.end();
    }

    pub(crate) async fn flush_all(&self) {
        let number = self.state().journal.begin_flush();
        self.linger().await;
        self.state().journal.end_flush(number);
    }

    /// Lands what was abandoned, and waits for what else began before this.
    pub(crate) async fn settle_all(&self) {
        let before = {
            let mut state = self.state();
            for number in std::mem::take(&mut state.abandoned) {
                state.land(number);
            }
            state.running.clone()
        };
        loop {
            {
                let mut state = self.state();
                // One of them may have been abandoned meanwhile.
                let dropped = |number: &usize| before.contains(number);
                let late: Vec<usize> = state.abandoned.extract_if(.., |n| dropped(n)).collect();
                late.into_iter().for_each(|number| state.land(number));
                if !state.running.iter().any(|number| before.contains(number)) {
                    return;
                }
            }
            let_others_run().await;
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.state().journal.live.length()
    }

    pub(crate) fn read_live(&self, offset: u64, bytes: &mut [u8]) {
        self.state().journal.live.read(offset, bytes);
    }

    async fn linger(&self) {
        let turns = self.state().rng.below(PATIENCE);
        for _ in 0..turns {
            let_others_run().await;
        }
        let mut held = self.0.held.subscribe();
        // The sender lives as long as the disk does.
        let _ = held.wait_for(|held| !held).await;
    }
}

impl State {
    /// Whatever was abandoned may land at any moment.
    fn land_some(&mut self) {
        let rng = &mut self.rng;
        let landing = self.abandoned.extract_if(.., |_| rng.chance(1, 4));
        let landing: Vec<usize> = landing.collect();
        landing.into_iter().for_each(|number| self.land(number));
    }

    fn land(&mut self, number: usize) {
        let Some(op) = self.journal.ops.get(number) else {
            return;
        };
        let part = match op.change {
            // What of a discard is carried out is up to the disk.
            Change::Discard => op.any_part(&mut self.rng),
            _ => Part::Whole,
        };
        self.journal.end(number, part);
    }
}

/// A request in flight; abandoned if it is dropped before its end.
struct Running<'a> {
    disk: &'a PowerCutDisk,
    number: usize,
}

impl Running<'_> {
    fn end(self) {
        let mut state = self.disk.state();
        // Whoever landed it in the meantime took it off the list.
        if let Some(at) = state.running.iter().position(|n| *n == self.number) {
            state.running.swap_remove(at);
            state.land(self.number);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if let Some(at) = state.running.iter().position(|n| *n == self.number) {
            state.running.swap_remove(at);
            state.abandoned.push(self.number);
        }
    }
}

/// Lets every other task run once. Needs no particular runtime.
async fn let_others_run() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl fmt::Debug for PowerCutDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("PowerCutDisk")
            .field("points", &state.journal.now())
            .field("live", &state.journal.live)
            .field("running", &state.running.len())
            .field("abandoned", &state.abandoned.len())
            .finish()
    }
}
