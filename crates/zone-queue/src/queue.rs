//! The logic of one zone's queue, without I/O and without async.
//!
//! A zone is idle, run by its task, or held exclusively. Every transition happens under the lock
//! around this state, so the rule that at most one party works on a zone is visible here alone.
//! Nothing is woken, started or freed in here: what is to be done is handed out.

use crate::entry::{Entry, Payload};
use block_core::Waitlist;
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

pub(crate) use block_core::waitlist::Place;

/// A request counts as this many bytes at least against the size of a queue.
const MIN_SIZE: u64 = 4096;

/// A batch of so many is made in one piece of memory.
const MANY: usize = 64;

/// Requests that are carried out together.
pub(crate) type Batch = Vec<Box<Entry>>;

/// Who works on the zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody; then nobody waits either.
    #[default]
    Nobody,
    /// The zone's task, which is running or about to be started.
    Runner,
    /// Somebody who has the zone to himself.
    Exclusive,
}

/// What waits for its turn.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A write or an append.
    Entry(Box<Entry>),
    /// Somebody who wants the zone for himself, woken by the channel.
    Exclusive(oneshot::Sender<()>),
}

/// What the zone's task does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Write these, all of them data, or a single request for zeroes.
    Batch(Batch),
    /// No request is first in line: the task ends.
    Stop(Then),
}

/// What a party must do, outside the lock, after it changed the state.
#[derive(Debug)]
#[must_use]
pub(crate) enum Then {
    /// Start the zone's task, on this runtime.
    StartRunner(Handle),
    /// Take the first steps of the zone's task at once, then leave the rest to this runtime: nobody
    /// is likely to follow for whom it would be worth to wait.
    BeginHere(Handle),
    /// Tell the one who holds the zone now.
    Wake(oneshot::Sender<()>),
    /// Nothing.
    Nothing,
}

/// The state of one zone's queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Waitlist<Waiting>,
    holder: Holder,
    /// Size of all requests that wait.
    size: u64,
    /// The last batch was of several requests, so that the next are likely to come together too.
    crowded: bool,
    /// Set when a party was dropped in the middle of its work: what it started may still run.
    uncertain: bool,
}

impl Queue {
    /// Adds a request at the end.
    pub(crate) fn push(&mut self, entry: Box<Entry>) -> (Place, Then) {
        let runtime = entry.runtime.clone();
        self.size = self.size.saturating_add(size(&entry));
        let place = self.waiting.push(Waiting::Entry(entry));
        if self.holder == Holder::Nobody {
            self.holder = Holder::Runner;
            let then = match self.crowded {
                true => Then::StartRunner(runtime),
                false => Then::BeginHere(runtime),
            };
            return (place, then);
        }
        (place, Then::Nothing)
    }

    /// Size of the requests that wait.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Asks for the zone: `None` if it is the caller's now, else what tells when it is.
    pub(crate) fn request_exclusive(&mut self) -> Option<(Place, oneshot::Receiver<()>)> {
        if self.holder == Holder::Nobody {
            self.holder = Holder::Exclusive;
            return None;
        }
        let (wake, woken) = oneshot::channel();
        Some((self.waiting.push(Waiting::Exclusive(wake)), woken))
    }

    /// Ends an exclusive hold. `finished` says that the holder did all that it began.
    pub(crate) fn end_exclusive(&mut self, finished: bool) -> Then {
        self.uncertain |= !finished;
        self.pass_on()
    }

    /// Gives up a place in line: what stood there, or `None` if its turn has come.
    pub(crate) fn withdraw(&mut self, place: Place) -> Option<Waiting> {
        let waiting = self.waiting.remove(place);
        if let Some(Waiting::Entry(entry)) = &waiting {
            self.size = self.size.saturating_sub(size(entry));
        }
        waiting
    }

    /// Takes the next requests, in order: up to `max_bytes` of data, but at least one request.
    pub(crate) fn next_batch(&mut self, max_bytes: u64) -> Next {
        let mut batch: Batch = Vec::with_capacity(self.waiting.len().min(MANY));
        let mut bytes = 0_u64;
        while let Some(Waiting::Entry(entry)) = self.waiting.first() {
            let is_data = matches!(entry.payload, Payload::Data(_));
            bytes = bytes.saturating_add(entry.payload.len());
            if !batch.is_empty() && (!is_data || bytes > max_bytes) {
                break;
            }
            self.size = self.size.saturating_sub(size(entry));
            if let Some(Waiting::Entry(entry)) = self.waiting.pop() {
                batch.push(entry);
            }
            if !is_data {
                break;
            }
        }
        if batch.is_empty() {
            return Next::Stop(self.pass_on());
        }
        self.crowded = batch.len() > 1;
        Next::Batch(batch)
    }

    /// Ends the runner's work unless a request from its own runtime is next.
    pub(crate) fn hand_over(&mut self, runtime: Id) -> Option<Then> {
        let stays = matches!(self.waiting.first(), Some(Waiting::Entry(entry)) if entry.runtime.id() == runtime);
        (!stays).then(|| self.pass_on())
    }

    /// The runner was dropped in the middle of its work, with its runtime: the requests from there
    /// are given back to be failed. Those from other runtimes go on there.
    pub(crate) fn abandon_runner(&mut self, gone: Id) -> (Batch, Then) {
        self.uncertain = true;
        let is_lost = |waiting: &Waiting| match waiting {
            Waiting::Entry(entry) => entry.runtime.id() == gone,
            Waiting::Exclusive(_) => false,
        };
        let mut lost = Vec::new();
        for waiting in self.waiting.extract(is_lost) {
            if let Waiting::Entry(entry) = waiting {
                self.size = self.size.saturating_sub(size(&entry));
                lost.push(entry);
            }
        }
        (lost, self.pass_on())
    }

    /// Whether work that was dropped may still run; asked, and thereby taken over, by the next
    /// party.
    pub(crate) fn take_uncertain(&mut self) -> bool {
        std::mem::take(&mut self.uncertain)
    }

    /// Says again that dropped work may still run.
    pub(crate) fn set_uncertain(&mut self) {
        self.uncertain = true;
    }

    /// How many stand in line at this moment.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Size of the requests that wait, with `entry` behind them; 0 if it would be the first.
    pub(crate) fn size_before(&self, entry: &Entry) -> u64 {
        match self.size {
            0 => 0,
            before => before.saturating_add(size(entry)),
        }
    }

    /// Hands the zone to whoever waits first.
    fn pass_on(&mut self) -> Then {
        match self.waiting.first() {
            None => {
                self.holder = Holder::Nobody;
                self.waiting.release();
                return Then::Nothing;
            }
            Some(Waiting::Entry(entry)) => {
                self.holder = Holder::Runner;
                return Then::StartRunner(entry.runtime.clone());
            }
            Some(Waiting::Exclusive(_)) => self.holder = Holder::Exclusive,
        }
        match self.waiting.pop() {
            Some(Waiting::Exclusive(wake)) => Then::Wake(wake),
            _ => Then::Nothing,
        }
    }
}

fn size(entry: &Entry) -> u64 {
    entry.payload.len().max(MIN_SIZE)
}

#[cfg(test)]
mod tests;
