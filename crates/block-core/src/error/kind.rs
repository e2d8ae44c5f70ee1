//! The kinds of failure, each with one errno, one name and one piece of advice.

use crate::zone::ZoneId;
use std::io;

/// Linux errno values. They are named here, not taken from libc, because the vocabulary is the
/// same on every system that can build this crate.
mod errno {
    pub const EIO: i32 = 5;
    pub const EBADF: i32 = 9;
    pub const EBUSY: i32 = 16;
    pub const EINVAL: i32 = 22;
    pub const ENOSPC: i32 = 28;
    pub const EROFS: i32 = 30;
    pub const EOVERFLOW: i32 = 75;
    pub const EOPNOTSUPP: i32 = 95;
    pub const ETOOMANYREFS: i32 = 109;
    pub const EUCLEAN: i32 = 117;
}

/// What went wrong, with the values that a caller needs to tell cases apart.
///
/// Offsets and lengths are in bytes. The request itself (operation, node, offset, length) is in
/// the [`Error`](crate::Error) around it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A zone operation was asked of a node without zones.
    #[error("the node has no zones")]
    NotZoned,
    /// A write, or anything else that changes data, was asked of a node that is open read-only.
    #[error("the node is open read-only")]
    ReadOnly,
    /// An offset, length or zone start is not a multiple of what it must be.
    #[error("{what} {given:#x} is not a {}multiple of {required:#x}", positive(*given))]
    Misaligned {
        /// What is misaligned: `offset`, `length`, `zone offset`, …
        what: &'static str,
        /// The value given; 0 where zero is not allowed.
        given: u64,
        /// The value that it must be a multiple of.
        required: u64,
    },
    /// The range reaches past the end of the node, or its end overflows.
    #[error("the range reaches past the end, which is at {length:#x}")]
    OutOfRange {
        /// The node's length.
        length: u64,
    },
    /// A zone operation or append was asked of a conventional zone.
    #[error("{zone} is conventional: it has no write pointer")]
    ConventionalZone {
        /// The zone.
        zone: ZoneId,
    },
    /// The zone takes no more data: it is full, or what was asked does not fit in what is left.
    #[error("{zone} is full{}", asked(*needed, *remaining))]
    ZoneFull {
        /// The zone.
        zone: ZoneId,
        /// Bytes that the request needs (0 where the request was an open).
        needed: u64,
        /// Bytes that can still be written; 0 for a full zone.
        remaining: u64,
    },
    /// A write crosses the end of a zone, or of the zone's capacity.
    #[error("the range crosses {boundary:#x}, the end of what can be written in {zone}")]
    ZoneBoundary {
        /// The zone in which the range starts.
        zone: ZoneId,
        /// The first byte that a write in this zone may not touch.
        boundary: u64,
    },
    /// A write to a sequential zone does not start at its write pointer.
    #[error("{zone} expects its next write at {expected:#x}, not at {given:#x}")]
    WritePointerMismatch {
        /// The zone.
        zone: ZoneId,
        /// The zone's write pointer.
        expected: u64,
        /// Where the write was to go.
        given: u64,
    },
    /// One more open zone would exceed the device's limit.
    #[error("{zone} cannot be opened: all of the {limit} zones that may be open are in use")]
    TooManyOpen {
        /// The zone that would have become open.
        zone: ZoneId,
        /// The limit of open zones.
        limit: u32,
    },
    /// One more active zone would exceed the device's limit.
    #[error("{zone} cannot become active: all of the {limit} zones that may be active are in use")]
    TooManyActive {
        /// The zone that would have become active.
        zone: ZoneId,
        /// The limit of active zones.
        limit: u32,
    },
    /// The zone's condition is read-only.
    #[error("{zone} is read-only")]
    ZoneReadOnly {
        /// The zone.
        zone: ZoneId,
    },
    /// The zone's condition is offline.
    #[error("{zone} is offline")]
    ZoneOffline {
        /// The zone.
        zone: ZoneId,
    },
    /// An append is larger than the device takes in one piece.
    #[error("an append of {given:#x} bytes is larger than the limit of {limit:#x}")]
    AppendTooLarge {
        /// Length of the append.
        given: u64,
        /// The limit.
        limit: u64,
    },
    /// A request asks for more memory than one request may take.
    #[error("a request of {given:#x} bytes is larger than the limit of {limit:#x}")]
    RequestTooLarge {
        /// Length of the request.
        given: u64,
        /// The limit.
        limit: u64,
    },
    /// The storage of a node that is in use has become shorter than the node.
    #[error("the storage shrank from {length:#x} to {found:#x} bytes")]
    Shrunk {
        /// The node's length, which it keeps.
        length: u64,
        /// How much there is.
        found: u64,
    },
    /// The image, device or node is in use by somebody who does not share it.
    #[error("{0}")]
    Busy(String),
    /// The content of an image is not what its format demands.
    #[error("{0}")]
    InvalidImage(String),
    /// An option, a driver's name or a geometry is wrong.
    #[error("{0}")]
    InvalidOption(String),
    /// A device answered with something that its standard does not define.
    #[error("{0}")]
    InvalidDevice(String),
    /// The storage below has no space left.
    #[error("no space left: {0}")]
    NoSpace(String),
    /// The node or its device cannot do this at all.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The node was closed.
    #[error("the node is closed")]
    Closed,
    /// The operating system or the device failed the request.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl ErrorKind {
    /// The kind's name in kebab-case, as in the `kind` of `zblk --json`. Names never change.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotZoned => "not-zoned",
            Self::ReadOnly => "read-only",
            Self::Misaligned { .. } => "misaligned",
            Self::OutOfRange { .. } => "out-of-range",
            Self::ConventionalZone { .. } => "conventional-zone",
            Self::ZoneFull { .. } => "zone-full",
            Self::ZoneBoundary { .. } => "zone-boundary",
            Self::WritePointerMismatch { .. } => "write-pointer-mismatch",
            Self::TooManyOpen { .. } => "too-many-open",
            Self::TooManyActive { .. } => "too-many-active",
            Self::ZoneReadOnly { .. } => "zone-read-only",
            Self::ZoneOffline { .. } => "zone-offline",
            Self::AppendTooLarge { .. } => "append-too-large",
            Self::RequestTooLarge { .. } => "request-too-large",
            Self::Shrunk { .. } => "shrunk",
            Self::Busy(_) => "busy",
            Self::InvalidImage(_) => "invalid-image",
            Self::InvalidOption(_) => "invalid-option",
            Self::InvalidDevice(_) => "invalid-device",
            Self::NoSpace(_) => "no-space",
            Self::Unsupported(_) => "unsupported",
            Self::Closed => "closed",
            Self::Io(_) => "io",
        }
    }

    /// The Linux errno for a caller that can only take a number.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotZoned | Self::Unsupported(_) => errno::EOPNOTSUPP,
            Self::ReadOnly | Self::ZoneReadOnly { .. } => errno::EROFS,
            Self::Misaligned { .. }
            | Self::OutOfRange { .. }
            | Self::ZoneBoundary { .. }
            | Self::AppendTooLarge { .. }
            | Self::RequestTooLarge { .. }
            | Self::InvalidOption(_) => errno::EINVAL,
            Self::ConventionalZone { .. }
            | Self::WritePointerMismatch { .. }
            | Self::ZoneOffline { .. }
            | Self::Shrunk { .. }
            | Self::InvalidDevice(_) => errno::EIO,
            Self::ZoneFull { .. } | Self::NoSpace(_) => errno::ENOSPC,
            Self::TooManyOpen { .. } => errno::ETOOMANYREFS,
            Self::TooManyActive { .. } => errno::EOVERFLOW,
            Self::Busy(_) => errno::EBUSY,
            Self::InvalidImage(_) => errno::EUCLEAN,
            Self::Closed => errno::EBADF,
            Self::Io(e) => os_error(e).unwrap_or(errno::EIO),
        }
    }

    /// What the caller can do about it, as a short imperative, where there is general advice.
    pub const fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotZoned => "use a zoned device, or make one with `zblk create`",
            Self::ReadOnly => "open it without read-only",
            Self::Misaligned { .. } => "align the request; `zblk info` shows the sizes",
            Self::OutOfRange { .. } => "stay below the node's length",
            Self::ConventionalZone { .. } => "use plain reads and writes there",
            Self::ZoneFull { .. } => "reset the zone, or use another one",
            Self::ZoneBoundary { .. } => "split the write at the boundary",
            Self::WritePointerMismatch { .. } => "write at the write pointer, or append",
            Self::TooManyOpen { .. } => "close or finish an open zone first",
            Self::TooManyActive { .. } => "finish or reset an active zone first",
            Self::ZoneReadOnly { .. } => "read it, and write elsewhere",
            Self::ZoneOffline { .. } => "its data is gone; use another zone",
            Self::AppendTooLarge { .. } => "split the append",
            Self::RequestTooLarge { .. } => "split the request",
            Self::Shrunk { .. } => "make it as long again; what was cut off reads as zeroes then",
            Self::Busy(_) => "close the other user first; readers may share, a writer is alone",
            Self::Closed => "open it again",
            Self::NoSpace(_) => "free space below, then try again",
            Self::InvalidImage(_)
            | Self::InvalidOption(_)
            | Self::InvalidDevice(_)
            | Self::Unsupported(_)
            | Self::Io(_) => return None,
        })
    }

    /// Turns an operating system error into the kind that a caller can act on.
    ///
    /// `ENOSPC`, `EDQUOT` and `EFBIG` become [`NoSpace`](Self::NoSpace), `EROFS` becomes
    /// [`ReadOnly`](Self::ReadOnly); all else is [`Io`](Self::Io).
    pub fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace(error.to_string()),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Io(error),
        }
    }
}

/// The operating system's number, also where the error was wrapped to say more about it.
fn os_error(error: &io::Error) -> Option<i32> {
    if let Some(number) = error.raw_os_error() {
        return Some(number);
    }
    let mut source = error.get_ref().map(|e| e as &(dyn std::error::Error + 'static));
    while let Some(error) = source {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(os_error) {
            return Some(number);
        }
        source = error.source();
    }
    None
}

fn asked(needed: u64, remaining: u64) -> String {
    match needed {
        0 => String::new(),
        _ => format!(": {needed:#x} bytes asked, {remaining:#x} left of its capacity"),
    }
}

const fn positive(given: u64) -> &'static str {
    if given == 0 { "positive " } else { "" }
}
