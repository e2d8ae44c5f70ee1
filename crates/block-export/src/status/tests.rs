//! Every kind of error, through every door.

use super::virtio_blk::*;
use super::*;
use block_core::ZoneId;
use std::io;

const ZONE: ZoneId = ZoneId { index: 1, start: 0x1000 };

fn text() -> String {
    String::new()
}

fn misaligned(what: &'static str) -> ErrorKind {
    ErrorKind::Misaligned { what, given: 1, required: 512 }
}

/// One of each, with its status for a write to a sequential zone and its errno.
fn table() -> Vec<(ErrorKind, u8, i32)> {
    use ErrorKind::*;
    vec![
        (NotZoned, UNSUPP, EOPNOTSUPP),
        (ReadOnly, IOERR, EIO),
        (misaligned("length"), ZONE_UNALIGNED_WP, EINVAL),
        (OutOfRange { length: 1 }, IOERR, EINVAL),
        (ConventionalZone { zone: ZONE }, ZONE_INVALID_CMD, EIO),
        (ZoneFull { zone: ZONE, needed: 1, remaining: 0 }, ZONE_INVALID_CMD, EIO),
        (ZoneBoundary { zone: ZONE, boundary: 1 }, ZONE_INVALID_CMD, EIO),
        (WritePointerMismatch { zone: ZONE, expected: 1, given: 2 }, ZONE_UNALIGNED_WP, EIO),
        (TooManyOpen { zone: ZONE, limit: 1 }, ZONE_OPEN_RESOURCE, ETOOMANYREFS),
        (TooManyActive { zone: ZONE, limit: 1 }, ZONE_ACTIVE_RESOURCE, EOVERFLOW),
        (ZoneReadOnly { zone: ZONE }, ZONE_INVALID_CMD, EIO),
        (ZoneOffline { zone: ZONE }, ZONE_INVALID_CMD, EIO),
        (AppendTooLarge { given: 2, limit: 1 }, ZONE_INVALID_CMD, EINVAL),
        (RequestTooLarge { given: 2, limit: 1 }, IOERR, EINVAL),
        (Busy(text()), IOERR, EIO),
        (InvalidImage(text()), IOERR, EIO),
        (InvalidOption(text()), IOERR, EIO),
        (InvalidDevice(text()), IOERR, EIO),
        (NoSpace(text()), IOERR, ENOSPC),
        (Unsupported(text()), UNSUPP, EOPNOTSUPP),
        (Closed, IOERR, EIO),
        (Io(io::Error::from_raw_os_error(5)), IOERR, EIO),
    ]
}

#[test]
fn every_kind_of_error_has_a_status_and_an_errno() {
    for (kind, status, number) in table() {
        let error = Error::new(kind);
        let name = error.kind().name();
        assert_eq!(virtio(&error, Kind::Write, true), status, "{name}");
        assert_eq!(errno(&error), number, "{name}");
    }
}

#[test]
fn a_misaligned_request_is_told_by_what_it_was() {
    let length = Error::new(misaligned("length"));
    let zone = Error::new(misaligned("zone offset"));
    assert_eq!(virtio(&length, Kind::Write, false), IOERR, "a conventional zone");
    assert_eq!(virtio(&length, Kind::Read, true), IOERR);
    assert_eq!(virtio(&length, Kind::WriteZeroes, true), ZONE_UNALIGNED_WP);
    assert_eq!(virtio(&length, Kind::Append, true), ZONE_UNALIGNED_WP);
    assert_eq!(virtio(&zone, Kind::Append, true), ZONE_INVALID_CMD);
    for kind in [Kind::Open, Kind::Close, Kind::Finish, Kind::Reset] {
        assert_eq!(virtio(&zone, kind, true), ZONE_INVALID_CMD);
    }
}

#[test]
fn past_the_end_there_is_no_zone_to_manage() {
    let error = Error::new(ErrorKind::OutOfRange { length: 1 });
    for kind in Kind::ALL {
        let zone_command =
            matches!(kind, Kind::Open | Kind::Close | Kind::Finish | Kind::Reset | Kind::Append);
        let expected = if zone_command { ZONE_INVALID_CMD } else { IOERR };
        assert_eq!(virtio(&error, kind, true), expected, "{}", kind.name());
    }
}

#[test]
fn a_devices_errno_passes_only_if_the_block_layer_knows_it() {
    let of = |number| errno(&Error::new(ErrorKind::Io(io::Error::from_raw_os_error(number))));
    for known in [ENODATA, ETIMEDOUT, EREMOTEIO, ENOLINK, EBADE, EILSEQ, ENODEV] {
        assert_eq!(of(known), known);
    }
    // EAGAIN, ENOMEM and EBUSY would be tried again without end; EINTR means nothing there.
    for other in [11, 12, 16, 4, 1, 9999] {
        assert_eq!(of(other), EIO, "{other}");
    }
}

#[test]
fn a_retry_is_never_asked_for() {
    for (kind, _, _) in table() {
        let number = errno(&Error::new(kind));
        assert!(![11, 12, 16].contains(&number) && number > 0);
    }
}
