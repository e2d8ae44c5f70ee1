//! The errors that can be injected.

use block_core::{ErrorKind, ZoneId, ZonedLimits};
use std::io;

/// An error to inject. Each becomes the [`ErrorKind`] of the same name, with the request's own
/// values where the kind has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The operating system's error of this number, as Linux counts them.
    Errno(i32),
    /// The storage below has no space left (`ENOSPC`).
    NoSpace,
    /// The node is read-only (`EROFS`).
    ReadOnly,
    /// Something is misaligned.
    Misaligned,
    /// The range reaches past the end.
    OutOfRange,
    /// The zone is conventional. This one and those below are for nodes with zones.
    ConventionalZone,
    /// The zone is full.
    ZoneFull,
    /// The range crosses the end of a zone.
    ZoneBoundary,
    /// The write does not start at the write pointer.
    WritePointerMismatch,
    /// No more zones may be open.
    TooManyOpen,
    /// No more zones may be active.
    TooManyActive,
    /// The zone is read-only.
    ZoneReadOnly,
    /// The zone is offline.
    ZoneOffline,
    /// The append is too large.
    AppendTooLarge,
    /// Somebody else uses the device.
    Busy,
    /// The device answered with nonsense.
    InvalidDevice,
    /// The device cannot do this.
    Unsupported,
}

impl Failure {
    /// An I/O error (`EIO`), the most common one.
    pub const IO: Self = Self::Errno(5);
}

/// Names in options. The numbers are Linux's errno values.
const NAMES: [(&str, Failure); 35] = [
    ("eio", Failure::IO),
    ("enxio", Failure::Errno(6)),
    ("eagain", Failure::Errno(11)),
    ("enomem", Failure::Errno(12)),
    ("eacces", Failure::Errno(13)),
    ("enodev", Failure::Errno(19)),
    ("einval", Failure::Errno(22)),
    ("enolink", Failure::Errno(67)),
    ("enodata", Failure::Errno(61)),
    ("ebadmsg", Failure::Errno(74)),
    ("eilseq", Failure::Errno(84)),
    ("etimedout", Failure::Errno(110)),
    ("estale", Failure::Errno(116)),
    ("eremoteio", Failure::Errno(121)),
    ("ebusy", Failure::Busy),
    ("enospc", Failure::NoSpace),
    ("erofs", Failure::ReadOnly),
    ("eopnotsupp", Failure::Unsupported),
    ("io", Failure::IO),
    ("busy", Failure::Busy),
    ("no-space", Failure::NoSpace),
    ("read-only", Failure::ReadOnly),
    ("misaligned", Failure::Misaligned),
    ("out-of-range", Failure::OutOfRange),
    ("conventional-zone", Failure::ConventionalZone),
    ("zone-full", Failure::ZoneFull),
    ("zone-boundary", Failure::ZoneBoundary),
    ("write-pointer-mismatch", Failure::WritePointerMismatch),
    ("too-many-open", Failure::TooManyOpen),
    ("too-many-active", Failure::TooManyActive),
    ("zone-read-only", Failure::ZoneReadOnly),
    ("zone-offline", Failure::ZoneOffline),
    ("append-too-large", Failure::AppendTooLarge),
    ("invalid-device", Failure::InvalidDevice),
    ("unsupported", Failure::Unsupported),
];

/// A text that names no error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is no error that can be injected; there are {}", NAMES.map(|(name, _)| name).join(", "))]
pub struct ParseFailureError {
    given: String,
}

/// Reads the name of an errno, as `eio`, or of an error kind, as `zone-full`.
impl std::str::FromStr for Failure {
    type Err = ParseFailureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = NAMES.iter().find(|(name, _)| *name == text);
        known.map(|(_, f)| *f).ok_or_else(|| ParseFailureError { given: text.to_owned() })
    }
}

/// What an injected error of the operating system says of itself.
#[derive(Debug, thiserror::Error)]
#[error("injected by the rule '{rule}': {source}")]
struct Injected {
    rule: String,
    source: io::Error,
}

impl Failure {
    /// Whether it speaks of a zone, so that the node needs some.
    pub(crate) const fn is_of_zones(self) -> bool {
        matches!(
            self,
            Self::ConventionalZone
                | Self::ZoneFull
                | Self::ZoneBoundary
                | Self::WritePointerMismatch
                | Self::TooManyOpen
                | Self::TooManyActive
                | Self::ZoneReadOnly
                | Self::ZoneOffline
                | Self::AppendTooLarge
        )
    }

    /// The error of a request to `len` bytes at `offset`, on a device of `length` bytes.
    pub(crate) fn kind(
        self,
        rule: &str,
        (offset, len): (u64, u64),
        length: u64,
        zoned: Option<&ZonedLimits>,
    ) -> ErrorKind {
        let why = || format!("injected by the rule '{rule}'");
        let (size, limit) = zoned.map_or((0, 0), |z| (z.zone_size, z.write_granularity));
        let index = zoned.map_or(0, |z| z.zone_index(offset));
        let zone = ZoneId { index, start: index.saturating_mul(size) };
        let unit = u64::from(limit).max(1);
        match self {
            Self::Errno(number) => {
                let source = io::Error::from_raw_os_error(number);
                let kind = source.kind();
                ErrorKind::from_io(io::Error::new(kind, Injected { rule: rule.to_owned(), source }))
            }
            Self::NoSpace => ErrorKind::NoSpace(why()),
            Self::ReadOnly => ErrorKind::ReadOnly,
            Self::Misaligned => {
                ErrorKind::Misaligned { what: "offset", given: offset, required: unit }
            }
            Self::OutOfRange => ErrorKind::OutOfRange { length },
            Self::ConventionalZone => ErrorKind::ConventionalZone { zone },
            Self::ZoneFull => ErrorKind::ZoneFull { zone, needed: len, remaining: 0 },
            Self::ZoneBoundary => {
                ErrorKind::ZoneBoundary { zone, boundary: zone.start.saturating_add(size) }
            }
            Self::WritePointerMismatch => ErrorKind::WritePointerMismatch {
                zone,
                expected: offset.saturating_add(unit),
                given: offset,
            },
            Self::TooManyOpen => {
                ErrorKind::TooManyOpen { zone, limit: zoned.map_or(0, |z| z.max_open_zones) }
            }
            Self::TooManyActive => {
                ErrorKind::TooManyActive { zone, limit: zoned.map_or(0, |z| z.max_active_zones) }
            }
            Self::ZoneReadOnly => ErrorKind::ZoneReadOnly { zone },
            Self::ZoneOffline => ErrorKind::ZoneOffline { zone },
            Self::AppendTooLarge => ErrorKind::AppendTooLarge {
                given: len,
                limit: zoned.map_or(0, |z| z.max_append_bytes),
            },
            Self::Busy => ErrorKind::Busy(why()),
            Self::InvalidDevice => ErrorKind::InvalidDevice(why()),
            Self::Unsupported => ErrorKind::Unsupported(why()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_core::ZonedModel;

    #[test]
    fn every_name_gives_the_error_of_that_name() {
        let zoned = ZonedLimits {
            model: ZonedModel::HostManaged,
            zone_size: 0x1000,
            nr_zones: 4,
            max_open_zones: 2,
            max_active_zones: 3,
            max_append_bytes: 0x800,
            write_granularity: 512,
        };
        for (name, failure) in NAMES {
            assert_eq!(name.parse(), Ok(failure));
            let kind = failure.kind("rule", (0x2200, 512), 0x4000, Some(&zoned));
            match (name.strip_prefix('e'), failure) {
                (Some(_), Failure::Errno(number)) => assert_eq!(kind.errno(), number, "{name}"),
                (Some(_), _) => {}
                (None, _) => assert_eq!(kind.name(), name),
            }
        }
        assert!("eio ".parse::<Failure>().is_err());
    }

    #[test]
    fn an_injected_error_says_so_and_keeps_its_number() {
        let kind = Failure::IO.kind("sometimes", (0, 512), 1024, None);
        assert_eq!((kind.name(), kind.errno()), ("io", 5));
        assert!(kind.to_string().starts_with("injected by the rule 'sometimes': "), "{kind}");
        let full = Failure::Errno(28).kind("full", (0, 512), 1024, None);
        assert_eq!((full.name(), full.errno()), ("no-space", 28));
    }

    #[test]
    fn zones_are_named_by_the_request() {
        let zoned = ZonedLimits {
            model: ZonedModel::HostManaged,
            zone_size: 0x1000,
            nr_zones: 4,
            max_open_zones: 0,
            max_active_zones: 0,
            max_append_bytes: 0,
            write_granularity: 512,
        };
        let kind = Failure::ZoneFull.kind("full", (0x2200, 512), 0x4000, Some(&zoned));
        assert!(kind.to_string().starts_with("zone 2 at 0x2000 is full"), "{kind}");
    }
}
