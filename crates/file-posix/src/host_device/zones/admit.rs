//! What a zone takes, as far as we know it: checked before anything is sent to the device.

use super::track::Known;
use block_core::{ErrorKind, ZoneCondition, ZoneId, ZoneType};

/// A write (`at` is where it must land) or an append of `len` bytes, with `ahead` bytes accepted
/// before it and not yet written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub at: Option<u64>,
    pub len: u64,
    pub ahead: u64,
    /// Positions and lengths of writes must be multiples of this.
    pub granularity: u64,
}

/// Where the request goes.
///
/// # Errors
/// In this order: `Misaligned`; `ConventionalZone`, also for a plain write to any zone that keeps
/// no order; `ZoneBoundary`; `ZoneOffline`, `ZoneReadOnly`; `ZoneFull`; `WritePointerMismatch`.
pub(super) fn admit(known: &Known, zone: ZoneId, request: Request) -> Result<u64, ErrorKind> {
    let Request { at, len, ahead, granularity } = request;
    for (what, given) in [("length", len), ("offset", at.unwrap_or(0))] {
        if !given.is_multiple_of(granularity) || (what == "length" && given == 0) {
            return Err(ErrorKind::Misaligned { what, given, required: granularity });
        }
    }
    match known.zone_type {
        ZoneType::Conventional => return Err(ErrorKind::ConventionalZone { zone }),
        ZoneType::SequentialWritePreferred if at.is_some() => {
            return Err(ErrorKind::ConventionalZone { zone });
        }
        _ => {}
    }
    let pointer = known.pointer.saturating_add(ahead);
    let boundary = known.writable_end;
    let full = known.condition == ZoneCondition::Full || pointer >= boundary;
    let crosses = |at: u64| at < boundary && at.saturating_add(len) > boundary;
    if !full && at.is_some_and(crosses) {
        return Err(ErrorKind::ZoneBoundary { zone, boundary });
    }
    match known.condition {
        ZoneCondition::Offline => return Err(ErrorKind::ZoneOffline { zone }),
        ZoneCondition::ReadOnly => return Err(ErrorKind::ZoneReadOnly { zone }),
        _ => {}
    }
    let remaining = if full { 0 } else { boundary.saturating_sub(pointer) };
    match at {
        Some(_) if full => Err(ErrorKind::ZoneFull { zone, needed: len, remaining }),
        Some(given) if given != pointer => {
            Err(ErrorKind::WritePointerMismatch { zone, expected: pointer, given })
        }
        None if len > remaining => Err(ErrorKind::ZoneFull { zone, needed: len, remaining }),
        _ => Ok(pointer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: ZoneId = ZoneId { index: 1, start: 0x1000 };

    fn known(condition: ZoneCondition) -> Known {
        Known {
            pointer: if condition == ZoneCondition::Full { 0x2000 } else { 0x1200 },
            writable_end: 0x1800,
            condition,
            zone_type: ZoneType::SequentialWriteRequired,
        }
    }

    fn ask(known: &Known, at: Option<u64>, len: u64, ahead: u64) -> Result<u64, &'static str> {
        let request = Request { at, len, ahead, granularity: 0x200 };
        admit(known, ZONE, request).map_err(|e| e.name())
    }

    #[test]
    fn writes_go_to_the_pointer_behind_those_ahead() {
        let known = known(ZoneCondition::ImplicitOpen);
        assert_eq!(ask(&known, Some(0x1200), 0x200, 0), Ok(0x1200));
        assert_eq!(ask(&known, Some(0x1400), 0x400, 0x200), Ok(0x1400));
        assert_eq!(ask(&known, None, 0x400, 0x200), Ok(0x1400));
        assert_eq!(ask(&known, Some(0x1400), 0x200, 0), Err("write-pointer-mismatch"));
        assert_eq!(ask(&known, Some(0x1000), 0x200, 0), Err("write-pointer-mismatch"));
        assert_eq!(ask(&known, Some(0x1800), 0x200, 0), Err("write-pointer-mismatch"));
    }

    #[test]
    fn nothing_passes_the_capacity() {
        let open = known(ZoneCondition::ImplicitOpen);
        assert_eq!(ask(&open, Some(0x1200), 0x600, 0), Ok(0x1200));
        assert_eq!(ask(&open, Some(0x1200), 0x800, 0), Err("zone-boundary"));
        assert_eq!(ask(&open, None, 0x800, 0), Err("zone-full"));
        assert_eq!(ask(&open, None, 0x200, 0x600), Err("zone-full"));
        assert_eq!(ask(&open, Some(0x1800), 0x200, 0x600), Err("zone-full"));
        assert_eq!(ask(&open, Some(0x1200), u64::MAX - 0x1ff, 0), Err("zone-boundary"));
        let full = known(ZoneCondition::Full);
        assert_eq!(ask(&full, Some(0x1200), 0x200, 0), Err("zone-full"));
        assert_eq!(ask(&full, None, 0x200, 0), Err("zone-full"));
    }

    #[test]
    fn conditions_and_types() {
        for (condition, kind) in
            [(ZoneCondition::ReadOnly, "zone-read-only"), (ZoneCondition::Offline, "zone-offline")]
        {
            assert_eq!(ask(&known(condition), Some(0x1200), 0x200, 0), Err(kind));
            assert_eq!(ask(&known(condition), None, 0x200, 0), Err(kind));
        }
        let mut any = known(ZoneCondition::NotWritePointer);
        any.zone_type = ZoneType::Conventional;
        assert_eq!(ask(&any, Some(0x1000), 0x200, 0), Err("conventional-zone"));
        assert_eq!(ask(&any, None, 0x200, 0), Err("conventional-zone"));
        any.zone_type = ZoneType::SequentialWritePreferred;
        assert_eq!(ask(&any, Some(0x1000), 0x200, 0), Err("conventional-zone"));
        assert_eq!(ask(&any, None, 0x200, 0), Ok(0x1200));
    }

    #[test]
    fn the_granularity() {
        let open = known(ZoneCondition::ImplicitOpen);
        assert_eq!(ask(&open, Some(0x1200), 0x100, 0), Err("misaligned"));
        assert_eq!(ask(&open, Some(0x1100), 0x200, 0), Err("misaligned"));
        assert_eq!(ask(&open, None, 0, 0), Err("misaligned"));
    }
}
