//! The logic of one zone's queue, without I/O and without async.
//!
//! A zone is idle, run by its task, or held exclusively. Every transition happens under the lock
//! around this state, so the rule that at most one party works on a zone is visible here alone.

use crate::entry::{Entry, Payload};
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// Who works on the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Nobody,
    Runner,
    Exclusive,
}

/// What waits for its turn.
#[derive(Debug)]
enum Waiting {
    Entry(Entry),
    /// Somebody who wants the zone for himself, woken by the channel.
    Exclusive(oneshot::Sender<()>),
}

/// What the zone's task does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Write these, all of them data, or a single request for zeroes.
    Batch(Vec<Entry>),
    /// Nothing waits, or the zone was handed to somebody exclusively: the task ends.
    Stop,
}

/// What a party must do after it changed the state.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Then {
    /// Start the zone's task.
    StartRunner,
    /// Nothing.
    Nothing,
}

/// The state of one zone's queue.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: VecDeque<Waiting>,
    holder: Holder,
    /// Set when a party was dropped in the middle of its work: what it started may still run.
    uncertain: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            holder: Holder::Nobody,
            uncertain: false,
        }
    }
}

impl Queue {
    /// Adds a request at the end.
    pub(crate) fn push(&mut self, entry: Entry) -> Then {
        self.waiting.push_back(Waiting::Entry(entry));
        if self.holder == Holder::Nobody {
            self.holder = Holder::Runner;
            Then::StartRunner
        } else {
            Then::Nothing
        }
    }

    /// Asks for the zone: `None` if it is the caller's now, else what tells when it is.
    pub(crate) fn request_exclusive(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.holder == Holder::Nobody {
            self.holder = Holder::Exclusive;
            return None;
        }
        let (wake, woken) = oneshot::channel();
        self.waiting.push_back(Waiting::Exclusive(wake));
        Some(woken)
    }

    /// Ends an exclusive hold. `finished` says that the holder did all that it began.
    pub(crate) fn end_exclusive(&mut self, finished: bool) -> Then {
        self.uncertain |= !finished;
        self.pass_on()
    }

    /// Takes the next requests, in order: up to `max_bytes` of data, but at least one request.
    /// Requests whose callers went away are moved to `cancelled`, to be dropped outside the lock.
    pub(crate) fn next_batch(&mut self, max_bytes: u64, cancelled: &mut Vec<Entry>) -> Next {
        loop {
            let batch = self.take_front(max_bytes, cancelled);
            if !batch.is_empty() {
                return Next::Batch(batch);
            }
            // `StartRunner` means that entries wait behind somebody who went away: the runner is
            // the one who asks, so it goes on.
            if self.pass_on() == Then::Nothing {
                return Next::Stop;
            }
        }
    }

    fn take_front(&mut self, max_bytes: u64, cancelled: &mut Vec<Entry>) -> Vec<Entry> {
        let mut batch: Vec<Entry> = Vec::new();
        let mut bytes = 0_u64;
        while let Some(Waiting::Entry(entry)) = self
            .waiting
            .pop_front_if(|w| matches!(w, Waiting::Entry(_)))
        {
            if entry.is_cancelled() {
                cancelled.push(entry);
                continue;
            }
            bytes = bytes.saturating_add(entry.payload.len());
            let is_data = matches!(entry.payload, Payload::Data(_));
            if !batch.is_empty() && (!is_data || bytes > max_bytes) {
                self.waiting.push_front(Waiting::Entry(entry));
                break;
            }
            batch.push(entry);
            if !is_data {
                break;
            }
        }
        batch
    }

    /// The runner was dropped in the middle of its work: all that waits is given back to be
    /// failed, because nobody is left who could carry it.
    pub(crate) fn abandon_runner(&mut self) -> Vec<Entry> {
        self.uncertain = true;
        let mut lost = Vec::new();
        let mut kept = VecDeque::new();
        for waiting in self.waiting.drain(..) {
            match waiting {
                Waiting::Entry(entry) => lost.push(entry),
                exclusive @ Waiting::Exclusive(_) => kept.push_back(exclusive),
            }
        }
        self.waiting = kept;
        // No entries are left, so nothing asks for a runner.
        let _ = self.pass_on();
        lost
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

    /// Hands the zone to whoever waits first.
    fn pass_on(&mut self) -> Then {
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting {
                Waiting::Exclusive(wake) => {
                    self.holder = Holder::Exclusive;
                    if wake.send(()).is_ok() {
                        return Then::Nothing;
                    }
                    // That party went away while it waited.
                }
                entry @ Waiting::Entry(_) => {
                    self.waiting.push_front(entry);
                    self.holder = Holder::Runner;
                    return Then::StartRunner;
                }
            }
        }
        self.holder = Holder::Nobody;
        Then::Nothing
    }

    /// Requests that wait at this moment.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
