//! Answers on their way back.

use super::ticket::Reply;
use crate::open_file::OpenFile;
use block_core::{InFlightGuard, Result};
use smallvec::SmallVec;
use std::sync::Arc;
use std::task::Waker;

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
/// All who have theirs are woken before the worker makes its next call, which may take long, or wait
/// for one of them.
pub(super) struct Answers<T> {
    ready: SmallVec<[(End<T>, Result<T>); 1]>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self { ready: SmallVec::new() }
    }
}

impl<T> Answers<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Takes answers of calls that have just ended.
    pub(super) fn put(&mut self, answers: impl Iterator<Item = (End<T>, Result<T>)>) {
        self.ready.extend(answers);
    }

    /// Gives the answers, then wakes those who have theirs.
    pub(super) fn give(&mut self) {
        let given: SmallVec<[Waker; 1]> =
            self.ready.drain(..).filter_map(|(end, result)| end.give(result)).collect();
        given.into_iter().for_each(Waker::wake);
    }
}
