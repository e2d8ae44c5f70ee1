//! Typed errors as doors can carry them.
//!
//! Each door has one small number for a failure. Two rules decide which: what a standard says of a
//! case is told exactly so, and what a file system or a tool behind the door acts on (no space, too
//! many open zones, not supported) is never lost in a general I/O error.

use crate::request::Kind;
use block_core::{Error, ErrorKind};

/// The status byte of a virtio-blk request (virtio 1.3, 5.2.6).
pub mod virtio_blk {
    /// It is done.
    pub const OK: u8 = 0;
    /// An error of the device or of the driver.
    pub const IOERR: u8 = 1;
    /// The device cannot do such requests.
    pub const UNSUPP: u8 = 2;
    /// A request that the zoned model forbids.
    pub const ZONE_INVALID_CMD: u8 = 3;
    /// A write to a sequential zone that does not start at the write pointer, or does not end on
    /// the write granularity.
    pub const ZONE_UNALIGNED_WP: u8 = 4;
    /// Too many zones would be open.
    pub const ZONE_OPEN_RESOURCE: u8 = 5;
    /// Too many zones would be active.
    pub const ZONE_ACTIVE_RESOURCE: u8 = 6;
}

/// The virtio-blk status of a failed request of this kind (virtio 1.3, 5.2.6.2).
///
/// `sequential` says whether the request's zone has a write pointer; false for a device without
/// zones.
pub fn virtio(error: &Error, kind: Kind, sequential: bool) -> u8 {
    use virtio_blk::{
        IOERR, UNSUPP, ZONE_ACTIVE_RESOURCE, ZONE_INVALID_CMD, ZONE_OPEN_RESOURCE,
        ZONE_UNALIGNED_WP,
    };
    match error.kind() {
        ErrorKind::NotZoned | ErrorKind::Unsupported(_) => UNSUPP,
        ErrorKind::WritePointerMismatch { .. } => ZONE_UNALIGNED_WP,
        ErrorKind::TooManyOpen { .. } => ZONE_OPEN_RESOURCE,
        ErrorKind::TooManyActive { .. } => ZONE_ACTIVE_RESOURCE,
        ErrorKind::ConventionalZone { .. }
        | ErrorKind::ZoneFull { .. }
        | ErrorKind::ZoneBoundary { .. }
        | ErrorKind::ZoneReadOnly { .. }
        | ErrorKind::ZoneOffline { .. }
        | ErrorKind::AppendTooLarge { .. } => ZONE_INVALID_CMD,
        // A position that is not the write pointer, or an end off the granularity; but where a
        // zone is named by its start, it is no zone.
        ErrorKind::Misaligned { what, .. } => match kind {
            Kind::Write | Kind::WriteZeroes if sequential => ZONE_UNALIGNED_WP,
            Kind::Append if *what != "zone offset" => ZONE_UNALIGNED_WP,
            kind if names_a_zone(kind) => ZONE_INVALID_CMD,
            _ => IOERR,
        },
        ErrorKind::OutOfRange { .. } if names_a_zone(kind) => ZONE_INVALID_CMD,
        _ => IOERR,
    }
}

const fn names_a_zone(kind: Kind) -> bool {
    matches!(kind, Kind::Open | Kind::Close | Kind::Finish | Kind::Reset | Kind::Append)
}

/// The errno, positive, from which Linux's block layer makes the status of a failed request
/// (`errno_to_blk_status` in `block/blk-core.c`). A number that it does not tell apart would become
/// `EIO` there, and one that asks for a retry would hang the request: neither is ever returned.
pub fn errno(error: &Error) -> i32 {
    match error.kind() {
        ErrorKind::NotZoned | ErrorKind::Unsupported(_) => EOPNOTSUPP,
        ErrorKind::NoSpace(_) => ENOSPC,
        ErrorKind::TooManyOpen { .. } => ETOOMANYREFS,
        ErrorKind::TooManyActive { .. } => EOVERFLOW,
        ErrorKind::Misaligned { .. }
        | ErrorKind::OutOfRange { .. }
        | ErrorKind::RequestTooLarge { .. }
        | ErrorKind::AppendTooLarge { .. } => EINVAL,
        ErrorKind::Io(_) => match error.errno() {
            known @ (ENODEV | EBADE | ENODATA | ENOLINK | EILSEQ | ETIMEDOUT | EREMOTEIO
            | EOPNOTSUPP | ETOOMANYREFS | EOVERFLOW) => known,
            _ => EIO,
        },
        // Among them what breaks the rules of zones: a real zoned disk fails it with EIO, and a
        // full zone is no full disk.
        _ => EIO,
    }
}

const EIO: i32 = 5;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const EBADE: i32 = 52;
const ENODATA: i32 = 61;
const ENOLINK: i32 = 67;
const EOVERFLOW: i32 = 75;
const EILSEQ: i32 = 84;
const EOPNOTSUPP: i32 = 95;
const ETOOMANYREFS: i32 = 109;
const ETIMEDOUT: i32 = 110;
const EREMOTEIO: i32 = 121;

#[cfg(test)]
mod tests;
