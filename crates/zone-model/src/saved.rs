//! What of a zone survives a restart.

use block_core::{ErrorKind, ZoneCondition};

use crate::geometry::ZoneSpan;

/// The condition of a zone as far as it survives a restart. Open conditions do not (ZBC and ZNS:
/// open zones are closed by a power cycle).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SavedCondition {
    /// Empty if nothing is written, closed otherwise. Also what conventional zones say.
    Written,
    /// Takes no more writes until it is reset: written to its capacity, or finished before that.
    Full,
    /// Can be read but not changed.
    ReadOnly,
    /// Neither reads nor writes work.
    Offline,
}

/// What of a zone survives a restart; see [`ZoneModel::saved`](crate::ZoneModel::saved) and
/// [`ZoneModel::restore`](crate::ZoneModel::restore).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SavedZone {
    /// Bytes of data from the zone's start; at most its capacity. 0 for a conventional zone.
    pub written: u64,
    /// The condition.
    pub condition: SavedCondition,
}

impl SavedZone {
    /// A sequential zone without data; also the only value for a conventional zone.
    pub const EMPTY: Self = Self { written: 0, condition: SavedCondition::Written };

    /// Checks the saved state against the zone that it is meant for, and gives the zone's
    /// condition after the restart.
    pub(crate) fn check(&self, span: &ZoneSpan, block: u64) -> Result<ZoneCondition, ErrorKind> {
        let Self { written, condition } = *self;
        let zone = span.id();
        if !span.is_sequential() {
            if *self == Self::EMPTY {
                return Ok(ZoneCondition::NotWritePointer);
            }
            return Err(ErrorKind::InvalidImage(format!(
                "{zone} is conventional, but its saved state is {condition:?}, {written:#x} written"
            )));
        }
        if written > span.capacity {
            return Err(ErrorKind::InvalidImage(format!(
                "{zone} has {written:#x} bytes written, above its capacity {:#x}",
                span.capacity
            )));
        }
        if !written.is_multiple_of(block) {
            return Err(ErrorKind::InvalidImage(format!(
                "{zone} has {written:#x} bytes written, not a multiple of the block size {block}"
            )));
        }
        Ok(match condition {
            SavedCondition::Written if written == 0 => ZoneCondition::Empty,
            SavedCondition::Written if written == span.capacity => ZoneCondition::Full,
            SavedCondition::Written => ZoneCondition::Closed,
            SavedCondition::Full => ZoneCondition::Full,
            SavedCondition::ReadOnly => ZoneCondition::ReadOnly,
            SavedCondition::Offline => ZoneCondition::Offline,
        })
    }
}
