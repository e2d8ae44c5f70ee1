//! Zones: types, conditions, descriptors and the operations that manage them.
//!
//! The vocabulary is that of ZBC (INCITS 536), ZAC (INCITS 537) and the NVMe Zoned Namespace
//! command set; the numeric codes are those of Linux's `<linux/blkzoned.h>`, which are also the
//! codes on the wire in virtio-blk. All positions and lengths are in bytes.

use std::fmt;
use std::ops::Range;

/// How a zoned device constrains writes (`queue/zoned` in sysfs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZonedModel {
    /// Random writes are allowed, sequential writes are faster. Legacy: Linux 6.10 and later
    /// present such devices as regular ones.
    HostAware,
    /// Sequential zones accept writes at their write pointer only.
    HostManaged,
}

impl ZonedModel {
    /// The name that Linux and `zblk` print: `host-aware` or `host-managed`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HostAware => "host-aware",
            Self::HostManaged => "host-managed",
        }
    }
}

/// The type of a zone (`enum blk_zone_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ZoneType {
    /// Takes writes anywhere, has no write pointer.
    Conventional = 1,
    /// Takes writes at its write pointer only.
    SequentialWriteRequired = 2,
    /// Takes writes anywhere, and prefers them at its write pointer.
    SequentialWritePreferred = 3,
}

impl ZoneType {
    /// The type with this code, or `None` for a code that the kernel headers do not define.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Conventional),
            2 => Some(Self::SequentialWriteRequired),
            3 => Some(Self::SequentialWritePreferred),
            _ => None,
        }
    }

    /// The code in `<linux/blkzoned.h>` and on the virtio wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether zones of this type have a write pointer.
    pub const fn is_sequential(self) -> bool {
        !matches!(self, Self::Conventional)
    }

    /// The standards' name in kebab-case, as in `zblk report --json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conventional => "conventional",
            Self::SequentialWriteRequired => "sequential-write-required",
            Self::SequentialWritePreferred => "sequential-write-preferred",
        }
    }
}

/// The condition of a zone (`enum blk_zone_cond`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ZoneCondition {
    /// A conventional zone: it has no write pointer and never changes condition.
    NotWritePointer = 0x0,
    /// Nothing is written since the last reset.
    Empty = 0x1,
    /// Opened by a write; the device may close it to make room for another.
    ImplicitOpen = 0x2,
    /// Opened by an open command; stays so until closed, finished, filled or reset.
    ExplicitOpen = 0x3,
    /// Partly written and not open; holds active resources, no open ones.
    Closed = 0x4,
    /// Can be read but never written or reset again.
    ReadOnly = 0xD,
    /// Written to its capacity, or finished: takes no more writes until it is reset.
    Full = 0xE,
    /// Dead: neither reads nor writes work.
    Offline = 0xF,
}

impl ZoneCondition {
    /// The condition with this code, or `None` for a code that the kernel headers do not define.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0x0 => Some(Self::NotWritePointer),
            0x1 => Some(Self::Empty),
            0x2 => Some(Self::ImplicitOpen),
            0x3 => Some(Self::ExplicitOpen),
            0x4 => Some(Self::Closed),
            0xD => Some(Self::ReadOnly),
            0xE => Some(Self::Full),
            0xF => Some(Self::Offline),
            _ => None,
        }
    }

    /// The code in `<linux/blkzoned.h>` and on the virtio wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether a zone in this condition counts against the limit of open zones.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::ImplicitOpen | Self::ExplicitOpen)
    }

    /// Whether a zone in this condition counts against the limit of active zones
    /// (open or closed).
    pub const fn is_active(self) -> bool {
        matches!(self, Self::ImplicitOpen | Self::ExplicitOpen | Self::Closed)
    }

    /// The standards' name in kebab-case, as in `zblk report --json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotWritePointer => "not-write-pointer",
            Self::Empty => "empty",
            Self::ImplicitOpen => "implicit-open",
            Self::ExplicitOpen => "explicit-open",
            Self::Closed => "closed",
            Self::ReadOnly => "read-only",
            Self::Full => "full",
            Self::Offline => "offline",
        }
    }
}

/// What a zone report says about one zone. All values are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zone {
    /// First byte of the zone on the device.
    pub start: u64,
    /// Distance to the next zone's start. All zones have the same length except the last, which
    /// may be shorter.
    pub length: u64,
    /// How much of `length` can be written, from `start` on.
    pub capacity: u64,
    /// Where the next write must go. `None` where the standards give it no meaning: conventional,
    /// read-only and offline zones. For a full zone it is `start + length`, as Linux reports it.
    pub write_pointer: Option<u64>,
    /// The zone's type, which never changes.
    pub zone_type: ZoneType,
    /// The zone's condition at the time of the report.
    pub condition: ZoneCondition,
}

impl Zone {
    /// First byte after the writable part of the zone.
    pub const fn writable_end(&self) -> u64 {
        self.start.saturating_add(self.capacity)
    }

    /// First byte after the zone.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// Whether the zone's condition can be changed: not that of a conventional zone, nor of one
    /// that is read-only or offline.
    pub const fn is_manageable(&self) -> bool {
        self.zone_type.is_sequential()
            && !matches!(self.condition, ZoneCondition::ReadOnly | ZoneCondition::Offline)
    }

    /// The byte ranges of adjacent zones that can be managed. For a filter whose parent asks for
    /// all zones, of which some are skipped, where its child is asked for a part, in which none
    /// may be.
    pub fn manageable_runs(zones: &[Self]) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for zone in zones.iter().filter(|zone| zone.is_manageable()) {
            match runs.last_mut() {
                Some(run) if run.end == zone.start => run.end = zone.end(),
                _ => runs.push(zone.start..zone.end()),
            }
        }
        runs
    }
}

/// A management operation on a range of zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZoneOp {
    /// Open explicitly: reserves an open resource until close, finish, full or reset.
    Open,
    /// Close: gives the open resource back; an untouched zone becomes empty again.
    Close,
    /// Finish: makes the zone full, whatever was written.
    Finish,
    /// Reset: makes the zone empty and its data unreadable.
    Reset,
}

impl ZoneOp {
    /// All four operations, for tables and tests.
    pub const ALL: [Self; 4] = [Self::Open, Self::Close, Self::Finish, Self::Reset];

    /// `open`, `close`, `finish` or `reset`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Finish => "finish",
            Self::Reset => "reset",
        }
    }
}

/// What never changes about a zoned node while it is open. Sizes in bytes; 0 = no limit where so
/// said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZonedLimits {
    /// Host-managed or host-aware.
    pub model: ZonedModel,
    /// Distance between zone starts. Any multiple of the block size; not always a power of two.
    pub zone_size: u64,
    /// Number of zones, a shorter last one included.
    pub nr_zones: u64,
    /// Most zones that may be open (implicitly or explicitly) at once; 0 = no limit.
    pub max_open_zones: u32,
    /// Most zones that may be active (open or closed) at once; 0 = no limit.
    pub max_active_zones: u32,
    /// Largest single zone append; 0 = no limit beyond the zone's capacity.
    pub max_append_bytes: u64,
    /// Writes to sequential zones must be multiples of this.
    pub write_granularity: u32,
}

impl ZonedLimits {
    /// The index of the zone that holds `offset`, for any offset on the device.
    pub const fn zone_index(&self, offset: u64) -> u64 {
        match offset.checked_div(self.zone_size) {
            Some(index) => index,
            None => 0,
        }
    }
}

/// A zone named for an error message: by index and by first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ZoneId {
    /// Position in the zone report of the whole device, from 0.
    pub index: u64,
    /// First byte of the zone.
    pub start: u64,
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone {} at {:#x}", self.index, self.start)
    }
}

macro_rules! display_by_name {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    )*};
}
display_by_name!(ZonedModel, ZoneType, ZoneCondition, ZoneOp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_and_unknown_codes_are_refused() {
        for code in 0..=u8::MAX {
            if let Some(t) = ZoneType::from_code(code) {
                assert_eq!(t.code(), code);
            }
            if let Some(c) = ZoneCondition::from_code(code) {
                assert_eq!(c.code(), code);
            }
        }
        assert_eq!((0..=u8::MAX).filter_map(ZoneType::from_code).count(), 3);
        assert_eq!((0..=u8::MAX).filter_map(ZoneCondition::from_code).count(), 8);
    }

    #[test]
    fn zones_that_cannot_be_managed_split_a_range_into_runs() {
        use ZoneCondition::{Closed, Empty, Full, NotWritePointer, Offline, ReadOnly};
        let conditions = [NotWritePointer, Empty, Full, ReadOnly, Closed, Offline, Offline, Empty];
        let zones: Vec<_> = (0_u64..)
            .zip(conditions)
            .map(|(i, condition)| Zone {
                start: i * 100,
                length: if i == 7 { 50 } else { 100 },
                capacity: 50,
                write_pointer: None,
                zone_type: match condition {
                    NotWritePointer => ZoneType::Conventional,
                    _ => ZoneType::SequentialWriteRequired,
                },
                condition,
            })
            .collect();
        assert_eq!(Zone::manageable_runs(&zones), [100..300, 400..500, 700..750]);
        assert_eq!(Zone::manageable_runs(&zones[..1]), []);
    }

    #[test]
    fn an_open_zone_is_always_active() {
        for c in (0..=u8::MAX).filter_map(ZoneCondition::from_code) {
            assert!(!c.is_open() || c.is_active(), "{c}");
        }
    }
}
