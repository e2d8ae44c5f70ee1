//! The kernel's errors as typed ones.

use super::shape::Shape;
use block_core::{Error, ErrorKind, Zone, ZoneCondition, ZoneId, ZoneOp, ZoneType, ZonedLimits};

/// Block layer statuses that the kernel has for zones: `BLK_STS_ZONE_OPEN_RESOURCE` and
/// `BLK_STS_ZONE_ACTIVE_RESOURCE`.
const ETOOMANYREFS: i32 = 109;
const EOVERFLOW: i32 = 75;

/// An error of a request to one zone, with what its number alone says.
pub(super) fn by_number(limits: &ZonedLimits, zone: ZoneId, error: Error) -> Error {
    let ErrorKind::Io(_) = error.kind() else {
        return error;
    };
    match error.errno() {
        ETOOMANYREFS => ErrorKind::TooManyOpen { zone, limit: limits.max_open_zones }.into(),
        EOVERFLOW => ErrorKind::TooManyActive { zone, limit: limits.max_active_zones }.into(),
        _ => error,
    }
}

/// Why a write to a zone found no open or active zone to be had, from how all zones stand: where a
/// large write is cut in pieces, the kernel may tell the error of a later piece.
pub(super) fn by_resources(limits: &ZonedLimits, zone: ZoneId, all: &[Zone]) -> Option<ErrorKind> {
    let condition = all.iter().find(|z| z.start == zone.start)?.condition;
    let reached = |limit: u32, counts: fn(ZoneCondition) -> bool| {
        let count = all.iter().filter(|z| counts(z.condition)).count();
        limit != 0 && usize::try_from(limit).is_ok_and(|limit| count >= limit)
    };
    let needs_open = matches!(condition, ZoneCondition::Empty | ZoneCondition::Closed);
    if condition == ZoneCondition::Empty
        && reached(limits.max_active_zones, ZoneCondition::is_active)
    {
        Some(ErrorKind::TooManyActive { zone, limit: limits.max_active_zones })
    } else if needs_open && reached(limits.max_open_zones, |c| c == ZoneCondition::ExplicitOpen) {
        Some(ErrorKind::TooManyOpen { zone, limit: limits.max_open_zones })
    } else {
        None
    }
}

/// Why an operation cannot be done to this zone, whatever its write pointer.
pub(super) fn of_zone(shape: &Shape, zone: &Zone) -> Option<ErrorKind> {
    let id = shape.id(shape.index_of(zone.start));
    if zone.zone_type == ZoneType::Conventional {
        return Some(ErrorKind::ConventionalZone { zone: id });
    }
    unusable(id, zone.condition)
}

/// The error of a zone that failed.
pub(super) fn unusable(zone: ZoneId, condition: ZoneCondition) -> Option<ErrorKind> {
    match condition {
        ZoneCondition::Offline => Some(ErrorKind::ZoneOffline { zone }),
        ZoneCondition::ReadOnly => Some(ErrorKind::ZoneReadOnly { zone }),
        _ => None,
    }
}

/// Whether the operation would change a zone in this condition.
pub(super) fn changes(op: ZoneOp, condition: ZoneCondition) -> bool {
    match op {
        ZoneOp::Open => condition != ZoneCondition::ExplicitOpen,
        ZoneOp::Close => condition.is_open(),
        ZoneOp::Finish => condition != ZoneCondition::Full,
        ZoneOp::Reset => condition != ZoneCondition::Empty,
    }
}

/// Names an error of management, from the zones as they were just after it.
pub(super) fn of_management(
    limits: &ZonedLimits,
    shape: &Shape,
    op: ZoneOp,
    after: &[Zone],
    all: bool,
    error: Error,
) -> Error {
    let skipped = |zone: &&Zone| !(all && of_zone(shape, zone).is_some());
    let stopped_at = after.iter().filter(skipped).find(|z| changes(op, z.condition));
    let Some(zone) = stopped_at else {
        return error;
    };
    if let Some(kind) = of_zone(shape, zone) {
        return kind.into();
    }
    let id = shape.id(shape.index_of(zone.start));
    if op == ZoneOp::Open && zone.condition == ZoneCondition::Full {
        return ErrorKind::ZoneFull { zone: id, needed: 0, remaining: 0 }.into();
    }
    by_number(limits, id, error)
}

/// Whether this refusal came from what we believed, which may be out of date.
pub(super) fn is_belief(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WritePointerMismatch { .. }
            | ErrorKind::ZoneFull { .. }
            | ErrorKind::ZoneReadOnly { .. }
            | ErrorKind::ZoneOffline { .. }
    )
}

/// Whether the device failed the request and says no more than that. SCSI disks answer most
/// refusals with the one number, all else with the other.
pub(super) fn is_vague(error: &Error) -> bool {
    const EIO: i32 = 5;
    const EREMOTEIO: i32 = 121;
    matches!(error.kind(), ErrorKind::Io(_)) && matches!(error.errno(), EIO | EREMOTEIO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_core::ZonedModel;
    use std::io;

    const LIMITS: ZonedLimits = ZonedLimits {
        model: ZonedModel::HostManaged,
        zone_size: 4096,
        nr_zones: 4,
        max_open_zones: 2,
        max_active_zones: 3,
        max_append_bytes: 0,
        write_granularity: 512,
    };
    const SHAPE: Shape = Shape { zone_size: 4096, length: 4 * 4096 };

    fn os(errno: i32) -> Error {
        io::Error::from_raw_os_error(errno).into()
    }

    fn zone(index: u64, condition: ZoneCondition) -> Zone {
        Zone {
            start: index * 4096,
            length: 4096,
            capacity: 4096,
            write_pointer: None,
            zone_type: ZoneType::SequentialWriteRequired,
            condition,
        }
    }

    #[test]
    fn exhausted_resources_are_told_apart() {
        let kind = |errno| by_number(&LIMITS, SHAPE.id(1), os(errno)).kind().name();
        assert_eq!(kind(109), "too-many-open");
        assert_eq!(kind(75), "too-many-active");
        assert_eq!(kind(5), "io");
    }

    #[test]
    fn what_a_scsi_disk_says_is_as_vague_as_any() {
        assert!(is_vague(&os(5)) && is_vague(&os(121)));
        assert!(!is_vague(&os(19)), "a device that is gone says so");
        assert!(!is_vague(&ErrorKind::ReadOnly.into()));
    }

    #[test]
    fn a_vague_error_is_told_by_the_resources_that_are_left() {
        use ZoneCondition::{Closed, Empty, ExplicitOpen, ImplicitOpen};
        let told = |index, conditions: &[ZoneCondition]| {
            let all: Vec<Zone> = (0..).zip(conditions).map(|(i, c)| zone(i, *c)).collect();
            by_resources(&LIMITS, SHAPE.id(index), &all).map(|e| e.name())
        };
        let full = [Closed, ExplicitOpen, ImplicitOpen, Empty];
        assert_eq!(told(3, &full), Some("too-many-active"));
        assert_eq!(told(0, &full), None);
        let open = [ExplicitOpen, ExplicitOpen, Closed, Empty];
        assert_eq!(told(2, &open), Some("too-many-open"));
        assert_eq!(told(3, &open), Some("too-many-active"));
        assert_eq!(told(1, &open), None);
        assert_eq!(told(3, &[ExplicitOpen, ExplicitOpen, Empty, Empty]), Some("too-many-open"));
    }

    #[test]
    fn a_failed_range_names_the_zone_at_which_it_stopped() {
        use ZoneCondition::{Empty, ExplicitOpen, Full, Offline};
        let told = |op, conditions: &[ZoneCondition], errno| {
            let after: Vec<Zone> = (0..).zip(conditions).map(|(i, c)| zone(i, *c)).collect();
            let error = of_management(&LIMITS, &SHAPE, op, &after, false, os(errno));
            (error.kind().name(), error.to_string())
        };
        let (kind, text) = told(ZoneOp::Open, &[ExplicitOpen, ExplicitOpen, Empty, Empty], 109);
        assert_eq!(kind, "too-many-open");
        assert!(text.contains("zone 2 at 0x2000"), "{text}");
        assert_eq!(told(ZoneOp::Open, &[ExplicitOpen, Full], 5).0, "zone-full");
        assert_eq!(told(ZoneOp::Reset, &[Empty, Offline], 5).0, "zone-offline");
        assert_eq!(told(ZoneOp::Reset, &[Empty, Empty], 5).0, "io", "nothing to see");
    }
}
