//! What a bench is asked to do.

use block_core::{ErrorKind, Result};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Most requests in flight.
const MAX_DEPTH: u32 = 1 << 16;
/// Most bytes of all requests in flight together.
const MAX_IN_FLIGHT: u64 = 4 << 30;

/// The operation that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Reads one after the other, from the offset on; after the last one, from the offset again.
    Read,
    /// Writes one after the other. On a device with sequential zones: at the write pointer of one
    /// zone after the other; a full zone is reset when its turn comes again, and what is left of
    /// a zone when a request does not fit any more is given up by finishing the zone.
    Write,
    /// Reads at random multiples of the size, counted from the offset.
    RandRead,
    /// Writes at random multiples of the size. On a zoned device it stays in the conventional
    /// zones that follow the offset without a gap; if there are none, it is
    /// [`Unsupported`](ErrorKind::Unsupported).
    RandWrite,
    /// Zone appends, in turn to each of a number of sequential zones. A zone with no more room is
    /// reset.
    Append,
    /// Zone reports, from the offset on.
    Report,
}

impl Op {
    /// All operations.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Write, Self::RandRead, Self::RandWrite, Self::Append, Self::Report];

    /// `read`, `write`, `randread`, `randwrite`, `append` or `report`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::RandRead => "randread",
            Self::RandWrite => "randwrite",
            Self::Append => "append",
            Self::Report => "report",
        }
    }

    /// Whether it destroys data, so that a program should ask first.
    pub const fn destroys_data(self) -> bool {
        matches!(self, Self::Write | Self::RandWrite | Self::Append)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A text that names no operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseOpError(String);

impl fmt::Display for ParseOpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Op::ALL.map(Op::name).join(", ");
        write!(f, "'{}' is not an operation: it is one of {names}", self.0)
    }
}

impl std::error::Error for ParseOpError {}

impl FromStr for Op {
    type Err = ParseOpError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|op| op.name() == text)
            .ok_or_else(|| ParseOpError(text.to_owned()))
    }
}

/// When a bench ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this many requests.
    Count(u64),
    /// After this much time; requests in flight at that moment are waited for and counted.
    Time(Duration),
}

/// A load on a backend. Sizes and offsets are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What is measured.
    pub op: Op,
    /// How many requests are kept in flight: a new one starts when one ends.
    pub depth: u32,
    /// Length of each request. A report has none; there it only appears in the result.
    pub size: u64,
    /// When to stop.
    pub until: Until,
    /// Over how many zones appends are spread: 0 means one; never more than may be open or active
    /// at once. For a report: how many zones each asks for, 0 for all. For a write to a zoned
    /// device: how many zones are used in turn, 0 for all.
    pub zones: u64,
    /// Where the load begins; it reaches to the end of the node. For zone operations: zones before
    /// the one that holds it are left alone.
    pub offset: u64,
    /// Chooses the random positions: the same seed gives the same ones.
    pub seed: u64,
    /// After how many writes or appends a flush follows, 0 for never. Others go on meanwhile; its
    /// time is part of the run and of no request's latency.
    pub flush_interval: u64,
}

impl Workload {
    /// 4 KiB requests, 64 in flight, 75,000 of them, over the whole node: the defaults of
    /// `qemu-img bench`.
    pub const fn new(op: Op) -> Self {
        Self {
            op,
            depth: 64,
            size: 4096,
            until: Until::Count(75_000),
            zones: 0,
            offset: 0,
            seed: 0,
            flush_interval: 0,
        }
    }

    /// Checks what can be checked without a backend.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.depth == 0 || self.depth > MAX_DEPTH {
            return invalid(format!("depth {} is not in 1..={MAX_DEPTH}", self.depth));
        }
        if self.op != Op::Report && self.size == 0 {
            return invalid("a request needs a size above 0".to_owned());
        }
        let in_flight = u64::from(self.depth).saturating_mul(self.size);
        if self.op != Op::Report && in_flight > MAX_IN_FLIGHT {
            return invalid(format!(
                "{} requests of {} bytes are more than {MAX_IN_FLIGHT} bytes in flight",
                self.depth, self.size
            ));
        }
        Ok(())
    }
}

pub(crate) fn invalid<T>(message: String) -> Result<T> {
    Err(ErrorKind::InvalidOption(message).into())
}
