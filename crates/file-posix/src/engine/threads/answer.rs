//! Answers on their way back: those that wait are woken in batches.

use super::ticket::Reply;
use crate::open_file::OpenFile;
use block_core::{InFlightGuard, Result};
use smallvec::SmallVec;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Those that wait are woken when so many have their answers, or the first has it for so long.
const WAKE_AT_ONCE: usize = 16;
const WAKE_AFTER: Duration = Duration::from_micros(10);

/// What lives as long as a request. Dropped in this order.
pub(super) struct End<T> {
    pub file: Arc<OpenFile>,
    pub guard: InFlightGuard,
    pub reply: Reply<T>,
}

impl<T> End<T> {
    /// Ends the request; returns who is to be woken.
    pub(super) fn give(self, result: Result<T>) -> Option<Waker> {
        let Self { file, guard, reply } = self;
        drop(file);
        drop(guard);
        reply.answer(result)
    }
}

/// Answers of one worker that were not given yet, and those who have theirs but were not woken.
pub(super) struct Answers<T> {
    ready: SmallVec<[(End<T>, Result<T>); 1]>,
    given: SmallVec<[Waker; WAKE_AT_ONCE]>,
    /// When the last calls ended.
    now: Option<Instant>,
    /// When the first of `given` could have been woken.
    since: Option<Instant>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self { ready: SmallVec::new(), given: SmallVec::new(), now: None, since: None }
    }
}

impl<T> Answers<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.given.is_empty()
    }

    /// Takes answers of calls that have just ended.
    pub(super) fn put(&mut self, answers: impl Iterator<Item = (End<T>, Result<T>)>, now: Instant) {
        self.ready.extend(answers);
        self.now = Some(now);
    }

    /// Gives the answers, and wakes those who have theirs if that is due.
    pub(super) fn give(&mut self) {
        let Some(now) = self.now else { return };
        let given = self.ready.drain(..).filter_map(|(end, result)| end.give(result));
        self.given.extend(given);
        if self.given.is_empty() {
            return;
        }
        let since = *self.since.get_or_insert(now);
        let waited = now.saturating_duration_since(since) >= WAKE_AFTER;
        if waited || self.given.len() >= WAKE_AT_ONCE {
            self.wake();
        }
    }

    /// Wakes all who have their answers.
    pub(super) fn wake(&mut self) {
        self.since = None;
        self.given.drain(..).for_each(Waker::wake);
    }
}

impl<T> Drop for Answers<T> {
    fn drop(&mut self) {
        // Only a panic leaves any.
        self.wake();
    }
}
