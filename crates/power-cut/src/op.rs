//! One request that changes the disk.

use crate::{Content, Rng, SECTOR};
use bytes::Bytes;
use std::fmt;

/// What a request does.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Data(Bytes),
    Zeroes,
    Discard,
    /// Changes the length of the disk.
    Resize(u64),
}

/// A request, and what became of it. Moments are numbers of events in the journal.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) change: Change,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) fua: bool,
    pub(crate) began: usize,
    pub(crate) ended: Option<usize>,
    /// When it became durable.
    pub(crate) durable: Option<usize>,
    /// Which part has landed, once it has ended.
    pub(crate) part: Part,
}

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Nothing,
    Whole,
    /// For each of its sectors, in order, whether it is there.
    Sectors(Vec<bool>),
}

impl Op {
    /// How many pieces there are that land each by itself.
    fn sectors(&self) -> u64 {
        match self.change {
            Change::Resize(_) => 1,
            _ => self.len.div_ceil(SECTOR),
        }
    }

    /// Whether the request had ended before this moment.
    pub(crate) fn ended_by(&self, moment: usize) -> bool {
        self.ended.is_some_and(|end| end <= moment)
    }

    /// Any part of it.
    pub(crate) fn any_part(&self, rng: &mut Rng) -> Part {
        match rng.below(10) {
            0..=2 => Part::Nothing,
            3..=6 => Part::Whole,
            _ => self.torn(rng),
        }
    }

    /// Some of its sectors: half of them, all before one, all after one, all but one, or one.
    fn torn(&self, rng: &mut Rng) -> Part {
        let count = self.sectors();
        if count < 2 {
            return if rng.chance(1, 2) { Part::Whole } else { Part::Nothing };
        }
        let (how, at) = (rng.below(5), rng.below(count));
        let sector = |n: u64| match how {
            0 => rng.chance(1, 2),
            1 => n < at,
            2 => n >= at,
            3 => n != at,
            _ => n == at,
        };
        Part::Sectors((0..count).map(sector).collect())
    }

    /// Does a part of the request to the content, but leaves alone what is in the range of one of
    /// `stronger`.
    pub(crate) fn apply(&self, content: &mut Content, part: &Part, stronger: &[&Self]) {
        if let Change::Resize(length) = self.change {
            if *part != Part::Nothing {
                content.resize(length);
            }
            return;
        }
        if *part == Part::Whole && stronger.is_empty() {
            return self.apply_range(content, 0, self.len);
        }
        let count = self.sectors();
        let mut from = 0;
        // Sectors in a row are done in one piece.
        for n in 0..=count {
            let at = n.saturating_mul(SECTOR);
            let place = self.offset.saturating_add(at);
            let there = n < count && part.has(n) && !stronger.iter().any(|op| op.covers(place));
            if !there {
                self.apply_range(content, from, at.min(self.len));
                from = at.saturating_add(SECTOR);
            }
        }
    }

    fn apply_range(&self, content: &mut Content, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let place = self.offset.saturating_add(from);
        match &self.change {
            Change::Data(data) => {
                let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
                let piece = range.and_then(|(from, to)| data.get(from..to));
                content.write(place, piece.unwrap_or_default());
            }
            Change::Zeroes | Change::Discard => content.zero(place, to.saturating_sub(from)),
            Change::Resize(_) => {}
        }
    }

    /// Whether their ranges have something in common.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.offset < other.offset.saturating_add(other.len)
            && other.offset < self.offset.saturating_add(self.len)
    }

    /// Whether this byte of the disk is in its range.
    fn covers(&self, offset: u64) -> bool {
        (self.offset..self.offset.saturating_add(self.len)).contains(&offset)
    }
}

impl Part {
    /// What is in both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Whole, part) | (part, Self::Whole) => part.clone(),
            (Self::Sectors(a), Self::Sectors(b)) => {
                Self::Sectors(a.iter().zip(b).map(|(a, b)| *a && *b).collect())
            }
            _ => Self::Nothing,
        }
    }

    fn has(&self, sector: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Whole => true,
            Self::Sectors(there) => {
                usize::try_from(sector).ok().and_then(|n| there.get(n)).is_some_and(|t| *t)
            }
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.change {
            Change::Data(_) => "write",
            Change::Zeroes => "write-zeroes",
            Change::Discard => "discard",
            Change::Resize(length) => return write!(f, "resize to {length:#x}"),
        };
        let fua = if self.fua { " fua" } else { "" };
        write!(f, "{name} {:#x}+{:#x}{fua}", self.offset, self.len)
    }
}
