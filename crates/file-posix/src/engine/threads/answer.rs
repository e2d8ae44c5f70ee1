//! Answers on their way back.

use super::ticket::Reply;
use crate::open_file::OpenFile;
use block_core::{InFlightGuard, Result};
use smallvec::SmallVec;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Not more answers than this wait for others, and not longer than this plus the time of one call.
const MOST: usize = 16;
const LONGEST: Duration = Duration::from_micros(20);

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

/// Answers of one worker that were not given yet.
///
/// All who have theirs are woken before the worker makes its next call, which may take long. Where
/// that is as good as ruled out, waking takes longer than a call: such answers are given together.
pub(super) struct Answers<T> {
    ready: SmallVec<[(End<T>, Result<T>); 1]>,
    /// When the first and the last of them came.
    came: Option<(Instant, Instant)>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self { ready: SmallVec::new(), came: None }
    }
}

impl<T> Answers<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Takes answers of calls that ended just now.
    pub(super) fn put(&mut self, now: Instant, answers: impl Iterator<Item = (End<T>, Result<T>)>) {
        let (first, _) = self.came.unwrap_or((now, now));
        self.came = Some((first, now));
        self.ready.extend(answers);
    }

    /// Whether they may wait for those of the next calls, which are so many quick ones.
    pub(super) fn may_wait(&self, quick_ones: usize) -> bool {
        let age = self.came.map_or(Duration::ZERO, |(first, last)| last.duration_since(first));
        waiting_pays(self.ready.len(), age, quick_ones)
    }

    /// Gives the answers, then wakes those who have theirs.
    pub(super) fn give(&mut self) {
        self.came = None;
        let given: SmallVec<[Waker; MOST]> =
            self.ready.drain(..).filter_map(|(end, result)| end.give(result)).collect();
        given.into_iter().for_each(Waker::wake);
    }
}

/// Half of what is under way is given at a time, so that those who asked have something to do
/// meanwhile.
fn waiting_pays(answers: usize, age: Duration, quick_ones: usize) -> bool {
    answers < MOST.min(quick_ones) && age < LONGEST
}

/// If a call panics, those before it were made all the same.
impl<T> Drop for Answers<T> {
    fn drop(&mut self) {
        self.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_wait_for_a_few_quick_calls_and_for_nothing_else() {
        let young = Duration::from_micros(19);
        // Of 32 that are quick half go back together, and of three the first goes alone.
        assert!(waiting_pays(15, young, 17) && !waiting_pays(16, young, 16));
        assert!(waiting_pays(1, young, 2) && !waiting_pays(1, young, 1));
        // However many there are.
        assert!(waiting_pays(15, young, 1000) && !waiting_pays(16, young, 1000));
        assert!(!waiting_pays(1, Duration::from_micros(20), 1000), "one has waited long enough");
        assert!(!waiting_pays(1, young, 0), "what comes next may take long, or nothing comes");
    }
}
