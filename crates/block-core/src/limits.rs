//! What never changes about a node while it is open.

use crate::zone::ZonedLimits;

/// The immutable facts of a node. All sizes are in bytes.
///
/// Parents and backends read them once and keep a copy: a driver must answer with the same values
/// for as long as the node lives. The length is not among them, because a node can be resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The logical block size that a host or guest is shown: a power of two, at least 512.
    pub block_size: u32,
    /// Offsets and lengths of reads and writes must be multiples of this power of two. It is 1
    /// where the storage below takes any byte, such as a buffered file.
    pub request_alignment: u32,
    /// Buffers whose addresses are multiples of this power of two are used as they are; others
    /// are copied ("bounced") on the way.
    pub memory_alignment: u32,
    /// The largest transfer that the storage below takes in one piece, a multiple of
    /// `request_alignment`; 0 = no such limit. Larger
    /// requests are legal and are split on the way; merging beyond this is of no use.
    pub max_transfer: u32,
    /// Whether discards reach the storage. A discard of a node that says no is an error.
    pub discard: bool,
    /// Whether writes and everything else that changes data are refused.
    pub read_only: bool,
    /// The zones' facts, for a node that has zones.
    pub zoned: Option<ZonedLimits>,
}

impl Limits {
    /// Limits of storage that takes any byte: 512-byte blocks, nothing to align, no zones.
    pub const fn unaligned() -> Self {
        Self {
            block_size: 512,
            request_alignment: 1,
            memory_alignment: 1,
            max_transfer: 0,
            discard: true,
            read_only: false,
            zoned: None,
        }
    }
}
