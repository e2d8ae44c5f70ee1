//! A request as a value, so that one piece of code injects faults into all kinds.

use crate::ops::Ops;
use block_core::{
    Child, Error, ErrorKind, IoVec, IoVecMut, RequestFlags, Result, Zone, ZoneOp, ZonedLimits,
};
use std::ops::Range;

/// A request that the filter was asked to carry out. Offsets and lengths in bytes.
#[derive(Debug)]
pub(crate) enum Request {
    Read { offset: u64, bufs: IoVecMut },
    Write { offset: u64, bufs: IoVec, flags: RequestFlags },
    Append { zone_start: u64, bufs: IoVec, flags: RequestFlags },
    WriteZeroes { offset: u64, len: u64, flags: RequestFlags },
    Discard { offset: u64, len: u64 },
    Flush,
    Resize { length: u64 },
    Report { offset: u64, max: usize },
    Manage { op: ZoneOp, offset: u64, len: u64 },
}

/// What the child answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Bufs(IoVecMut),
    Position(u64),
    Zones(Vec<Zone>),
    Done,
}

/// What a rule looks at.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) op: Ops,
    /// The offset that the request names; 0 if it names none.
    pub(crate) start: u64,
    /// What it touches; `None` for what concerns no part of the device.
    pub(crate) range: Option<Range<u64>>,
    /// The zone in which it starts.
    pub(crate) zone: Option<u64>,
    pub(crate) zone_size: Option<u64>,
}

impl Shape {
    /// Length of what it touches, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.range.as_ref().map_or(0, |r| r.end.saturating_sub(r.start))
    }
}

impl Request {
    pub(crate) const fn op(&self) -> Ops {
        match self {
            Self::Read { .. } => Ops::READ,
            Self::Write { .. } => Ops::WRITE,
            Self::Append { .. } => Ops::APPEND,
            Self::WriteZeroes { .. } => Ops::WRITE_ZEROES,
            Self::Discard { .. } => Ops::DISCARD,
            Self::Flush => Ops::FLUSH,
            Self::Resize { .. } => Ops::RESIZE,
            Self::Report { .. } => Ops::REPORT,
            Self::Manage { op, .. } => Ops::manage(*op),
        }
    }

    /// Offset and length that the request names.
    pub(crate) fn named(&self) -> Option<(u64, u64)> {
        match self {
            Self::Read { offset, bufs } => Some((*offset, as_u64(bufs.len()))),
            Self::Write { offset, bufs, .. } => Some((*offset, as_u64(bufs.len()))),
            Self::Append { zone_start, bufs, .. } => Some((*zone_start, as_u64(bufs.len()))),
            Self::WriteZeroes { offset, len, .. }
            | Self::Discard { offset, len }
            | Self::Manage { offset, len, .. } => Some((*offset, *len)),
            Self::Report { offset, .. } => Some((*offset, 0)),
            Self::Flush | Self::Resize { .. } => None,
        }
    }

    pub(crate) fn shape(&self, zoned: Option<&ZonedLimits>) -> Shape {
        let named = self.named();
        let size = zoned.map(|z| z.zone_size);
        let range = named.map(|(start, len)| {
            let touched = match self {
                Self::Append { .. } => size.unwrap_or(len),
                Self::Report { max, .. } => as_u64(*max).saturating_mul(size.unwrap_or(0)),
                _ => len,
            };
            start..start.saturating_add(touched)
        });
        let start = named.map_or(0, |(start, _)| start);
        let zone = named.and_then(|(start, _)| Some(zoned?.zone_index(start)));
        Shape { op: self.op(), start, range, zone, zone_size: size }
    }

    /// The same request for a part of its range: `part` counts from the range's start. `None` if
    /// it has no parts.
    pub(crate) fn part(&self, part: &Range<u64>) -> Option<Self> {
        let at = |offset: &u64| offset.saturating_add(part.start);
        let len = part.end.saturating_sub(part.start);
        let cut = |bufs: &IoVec| {
            let mut rest = bufs.clone();
            drop(rest.split_to(usize::try_from(part.start).unwrap_or(usize::MAX)));
            rest.split_to(usize::try_from(len).unwrap_or(usize::MAX))
        };
        Some(match self {
            Self::Write { offset, bufs, flags } => {
                Self::Write { offset: at(offset), bufs: cut(bufs), flags: *flags }
            }
            Self::Append { zone_start, bufs, flags } => {
                Self::Append { zone_start: *zone_start, bufs: cut(bufs), flags: *flags }
            }
            Self::WriteZeroes { offset, flags, .. } => {
                Self::WriteZeroes { offset: at(offset), len, flags: *flags }
            }
            Self::Discard { offset, .. } => Self::Discard { offset: at(offset), len },
            Self::Manage { op, offset, .. } => Self::Manage { op: *op, offset: at(offset), len },
            // What a failed read has read nobody sees.
            Self::Read { .. } | Self::Flush | Self::Resize { .. } | Self::Report { .. } => {
                return None;
            }
        })
    }

    /// Carries the request out on the child.
    pub(crate) async fn pass(self, child: &Child) -> Result<Answer> {
        let done = |()| Answer::Done;
        match self {
            Self::Read { offset, bufs } => child.read(offset, bufs).await.map(Answer::Bufs),
            Self::Write { offset, bufs, flags } => child.write(offset, bufs, flags).await.map(done),
            Self::Append { zone_start, bufs, flags } => {
                child.append(zone_start, bufs, flags).await.map(Answer::Position)
            }
            Self::WriteZeroes { offset, len, flags } => {
                child.write_zeroes(offset, len, flags).await.map(done)
            }
            Self::Discard { offset, len } => child.discard(offset, len).await.map(done),
            Self::Flush => child.flush().await.map(done),
            Self::Resize { length } => child.resize(length).await.map(done),
            Self::Report { offset, max } => {
                child.report_zones(offset, max).await.map(Answer::Zones)
            }
            Self::Manage { op, offset, len } => child.manage_zones(op, offset, len).await.map(done),
        }
    }
}

impl Answer {
    pub(crate) fn bufs(self) -> Result<IoVecMut> {
        if let Self::Bufs(bufs) = self { Ok(bufs) } else { Err(mixed_up()) }
    }

    pub(crate) fn position(self) -> Result<u64> {
        if let Self::Position(position) = self { Ok(position) } else { Err(mixed_up()) }
    }

    pub(crate) fn zones(self) -> Result<Vec<Zone>> {
        if let Self::Zones(zones) = self { Ok(zones) } else { Err(mixed_up()) }
    }
}

/// Cannot happen: each request has its own kind of answer.
fn mixed_up() -> Error {
    ErrorKind::InvalidDevice("the answer is that of another request".to_owned()).into()
}

pub(crate) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
