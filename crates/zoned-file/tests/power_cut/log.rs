//! What was asked of the device and what it answered, each with its moment.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A request. Places and lengths are in sectors; those of zones from the zone's start.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A write (`at` is given) or an append to a sequential zone.
    Write {
        zone: usize,
        at: Option<u64>,
        len: u64,
        zeroes: bool,
        fua: bool,
    },
    /// A write to conventional zones; the place is on the device.
    Conventional {
        at: u64,
        len: u64,
        zeroes: bool,
        fua: bool,
    },
    Flush,
    Reset(Range<usize>),
    Finish(Range<usize>),
    /// What promises and changes nothing.
    Other(&'static str),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It was done; an append tells where.
    Done(Option<u64>),
    /// It was refused, without a trace.
    Refused(&'static str),
}

/// An entry of the log. `order` counts beginnings and ends; `point` is the journal's.
#[derive(Clone, Debug)]
pub struct Entry {
    pub what: What,
    pub begun: Moment,
    pub ended: Option<(Moment, Outcome)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    pub order: usize,
    pub point: usize,
}

impl Entry {
    /// Whether it can have had an effect before the power was cut at this point.
    pub fn begun_by(&self, point: usize) -> bool {
        self.begun.point < point && !matches!(self.ended, Some((_, Outcome::Refused(_))))
    }

    /// Whether it was done, and its caller knew, before the power was cut at this point.
    pub fn done_by(&self, point: usize) -> bool {
        matches!(self.ended, Some((at, Outcome::Done(_))) if at.point <= point)
    }

    /// Whether this was done before the other began.
    pub fn before(&self, other: &Self) -> bool {
        matches!(self.ended, Some((at, Outcome::Done(_))) if at.order < other.begun.order)
    }

    pub fn position(&self) -> Option<u64> {
        match self.ended {
            Some((_, Outcome::Done(position))) => position,
            _ => None,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "point {}", self.begun.point)?;
        match self.ended {
            Some((at, outcome)) => write!(f, " to {}: {:?} -> {outcome:?}", at.point, self.what),
            None => write!(f, ": {:?} -> never heard of again", self.what),
        }
    }
}

/// The log of one session. The ids of requests are their places in it, from `first_id` on.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: Arc<Mutex<(Vec<Entry>, usize)>>,
    pub first_id: u32,
}

impl Log {
    pub fn starting_at(first_id: u32) -> Self {
        Self { first_id, ..Self::default() }
    }

    pub fn begin(&self, what: What, point: usize) -> u32 {
        let (entries, orders) = &mut *self.entries.lock().unwrap();
        *orders += 1;
        entries.push(Entry { what, begun: Moment { order: *orders, point }, ended: None });
        self.first_id + u32::try_from(entries.len()).unwrap() - 1
    }

    pub fn end(&self, id: u32, outcome: Outcome, point: usize) {
        let (entries, orders) = &mut *self.entries.lock().unwrap();
        *orders += 1;
        let moment = Moment { order: *orders, point };
        entries[(id - self.first_id) as usize].ended = Some((moment, outcome));
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().0.clone()
    }

    pub fn next_id(&self) -> u32 {
        self.first_id + u32::try_from(self.entries.lock().unwrap().0.len()).unwrap()
    }
}
