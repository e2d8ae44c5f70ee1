//! What hosts and guests ask for.

use block_core::{IoVec, IoVecMut, Zone, ZoneOp};

/// One request, in bytes. Buffers move in, and those to read into come back in the [`Reply`].
#[derive(Debug)]
pub enum Request {
    /// Fill `into` from `offset` on.
    Read {
        /// First byte.
        offset: u64,
        /// Memory to fill; its length is the request's.
        into: IoVecMut,
    },
    /// Write `data` at `offset`; in a sequential zone that must be the write pointer.
    Write {
        /// First byte.
        offset: u64,
        /// What to write.
        data: IoVec,
        /// Durable on return.
        fua: bool,
    },
    /// Make durable what was answered before.
    Flush,
    /// Say that a range's content is no longer needed.
    Discard {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// Make a range read as zeroes.
    WriteZeroes {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// The space may be given back.
        unmap: bool,
        /// Durable on return.
        fua: bool,
    },
    /// Describe up to `max_zones` zones, from the one that holds `offset` on.
    ReportZones {
        /// Any byte of the first zone; at or past the end, no zones are reported.
        offset: u64,
        /// The most zones that the asker has room for.
        max_zones: usize,
    },
    /// Open the zone that starts at `offset` explicitly.
    Open {
        /// First byte of the zone.
        offset: u64,
    },
    /// Close the zone that starts at `offset`.
    Close {
        /// First byte of the zone.
        offset: u64,
    },
    /// Make the zone that starts at `offset` full.
    Finish {
        /// First byte of the zone.
        offset: u64,
    },
    /// Make the zone that starts at `offset` empty.
    Reset {
        /// First byte of the zone.
        offset: u64,
    },
    /// Make all zones empty that can be.
    ResetAll,
    /// Write `data` at the write pointer of a zone.
    Append {
        /// First byte of the zone.
        zone_offset: u64,
        /// What to write.
        data: IoVec,
        /// Durable on return.
        fua: bool,
    },
}

/// The answer to a [`Request`] that ended well.
#[derive(Debug)]
pub enum Reply {
    /// It is done.
    Done,
    /// The memory, filled.
    Read(IoVecMut),
    /// The zones that were asked for.
    Zones(Vec<Zone>),
    /// Where the first byte of the append landed.
    Appended(u64),
}

/// The kinds of request that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Kind {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Flushes.
    Flush,
    /// Discards.
    Discard,
    /// Write-zeroes.
    WriteZeroes,
    /// Zone reports.
    ReportZones,
    /// Explicit opens of zones.
    Open,
    /// Closes of zones.
    Close,
    /// Finishes of zones.
    Finish,
    /// Resets of a zone.
    Reset,
    /// Resets of all zones.
    ResetAll,
    /// Zone appends.
    Append,
}

impl Kind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 12] = [
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Discard,
        Self::WriteZeroes,
        Self::ReportZones,
        Self::Open,
        Self::Close,
        Self::Finish,
        Self::Reset,
        Self::ResetAll,
        Self::Append,
    ];

    /// The kind's name in counters, messages and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::WriteZeroes => "write-zeroes",
            Self::ReportZones => "zone-report",
            Self::Open => "zone-open",
            Self::Close => "zone-close",
            Self::Finish => "zone-finish",
            Self::Reset => "zone-reset",
            Self::ResetAll => "zone-reset-all",
            Self::Append => "zone-append",
        }
    }

    /// Whether such a request changes anything: what is refused on a read-only device.
    pub const fn changes_data(self) -> bool {
        !matches!(self, Self::Read | Self::Flush | Self::ReportZones)
    }
}

impl Request {
    /// The request's kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Read { .. } => Kind::Read,
            Self::Write { .. } => Kind::Write,
            Self::Flush => Kind::Flush,
            Self::Discard { .. } => Kind::Discard,
            Self::WriteZeroes { .. } => Kind::WriteZeroes,
            Self::ReportZones { .. } => Kind::ReportZones,
            Self::Open { .. } => Kind::Open,
            Self::Close { .. } => Kind::Close,
            Self::Finish { .. } => Kind::Finish,
            Self::Reset { .. } => Kind::Reset,
            Self::ResetAll => Kind::ResetAll,
            Self::Append { .. } => Kind::Append,
        }
    }

    /// The request that does `op` to the zone that starts at `offset`.
    pub const fn manage(op: ZoneOp, offset: u64) -> Self {
        match op {
            ZoneOp::Open => Self::Open { offset },
            ZoneOp::Close => Self::Close { offset },
            ZoneOp::Finish => Self::Finish { offset },
            ZoneOp::Reset => Self::Reset { offset },
        }
    }

    /// First byte that the request is about, and the number of bytes; zone management names the
    /// zone's start and no length.
    pub fn range(&self) -> Option<(u64, u64)> {
        let bytes = |len| u64::try_from(len).unwrap_or(u64::MAX);
        match self {
            Self::Read { offset, into } => Some((*offset, bytes(into.len()))),
            Self::Write { offset, data, .. } => Some((*offset, bytes(data.len()))),
            Self::Append { zone_offset, data, .. } => Some((*zone_offset, bytes(data.len()))),
            Self::Discard { offset, len } | Self::WriteZeroes { offset, len, .. } => {
                Some((*offset, *len))
            }
            Self::ReportZones { offset, .. }
            | Self::Open { offset }
            | Self::Close { offset }
            | Self::Finish { offset }
            | Self::Reset { offset } => Some((*offset, 0)),
            Self::Flush | Self::ResetAll => None,
        }
    }
}
