//! What a worker does: one request, or a row of neighbours as one call.

use super::super::job::Durable;
use super::super::transfer::{Reading, Writing};
use super::calls;
use crate::open_file::OpenFile;
use block_core::{IoVecMut, Result};
use smallvec::SmallVec;
use std::ops::Range;

/// Copying more takes longer than waking somebody.
const SHORT: usize = 32 << 10;

/// Requests that go together, in order of their place in the file.
pub(super) type Row<T> = SmallVec<[T; 1]>;

/// A request to one file.
pub(super) trait Work: Send + 'static {
    type Done: Send + 'static;

    /// How many bytes.
    fn len(&self) -> usize;

    /// Whether it does not take long, as far as can be told.
    fn is_short(&self) -> bool;

    /// Whether `next` begins where this ends, and one call can do both.
    fn is_followed_by(&self, next: &Self) -> bool;

    /// Does it.
    fn make(self, file: &OpenFile) -> Result<Self::Done>;

    /// Does each of a row of several with as few calls as can be. Each gets the result that it would
    /// get alone.
    fn make_row(row: Row<Self>, file: &OpenFile) -> Row<Result<Self::Done>>
    where
        Self: Sized;
}

impl Work for Reading {
    type Done = IoVecMut;

    fn len(&self) -> usize {
        self.len()
    }

    /// What is not in the page cache comes from the device.
    fn is_short(&self) -> bool {
        false
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        self.is_followed_by(next)
    }

    fn make(mut self, file: &OpenFile) -> Result<IoVecMut> {
        calls::read(file, &mut self)?;
        Ok(self.finish())
    }

    fn make_row(row: Row<Self>, file: &OpenFile) -> Row<Result<IoVecMut>> {
        let lens: Row<usize> = row.iter().map(Self::len).collect();
        let Some(mut joined) = row.into_iter().reduce(Self::join) else { return Row::new() };
        // What failed for all is tried for each.
        let _ = calls::read(file, &mut joined);
        joined.split(&lens).map(|each| each.make(file)).collect()
    }
}

/// A request to write.
pub(in super::super) struct Write {
    pub writing: Writing,
    /// Durable on return, if that can be done without a sync of the whole file.
    pub durable: bool,
    pub first: First,
}

/// What is done before a write, so that those that follow need no thread.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum First {
    Nothing,
    /// Find space here.
    FindSpace(Range<u64>),
    /// Have the page cache forget this part of the file.
    Uncache(Range<u64>),
}

impl Work for Write {
    type Done = Durable;

    fn len(&self) -> usize {
        self.writing.len()
    }

    fn is_short(&self) -> bool {
        self.writing.len() <= SHORT && !self.durable && self.first == First::Nothing
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        // What a failed sync means is told by writing again without one: each for itself.
        !self.durable && !next.durable && self.writing.is_followed_by(&next.writing)
    }

    fn make(mut self, file: &OpenFile) -> Result<Durable> {
        calls::prepare(file, &self.first);
        calls::write(file, &mut self.writing, self.durable)
    }

    fn make_row(row: Row<Self>, file: &OpenFile) -> Row<Result<Durable>> {
        let lens: Row<usize> = row.iter().map(Self::len).collect();
        let mut before = First::Nothing;
        let find = |each: Self| {
            if each.first != before {
                calls::prepare(file, &each.first);
                before = each.first;
            }
            each.writing
        };
        let joined = row.into_iter().map(find).reduce(Writing::join);
        let Some(mut joined) = joined else { return Row::new() };
        match calls::write(file, &mut joined, false) {
            Ok(done) => lens.iter().map(|_| Ok(done)).collect(),
            // What failed for all is tried for each that is not written.
            Err(_) => joined
                .split(&lens)
                .map(|mut writing| calls::write(file, &mut writing, false))
                .collect(),
        }
    }
}
