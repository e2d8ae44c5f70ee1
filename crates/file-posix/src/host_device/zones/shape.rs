//! Which zone lies where.

use block_core::{ErrorKind, ZoneId};
use std::ops::Range;

/// The layout of a device's zones, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// At least 1.
    pub zone_size: u64,
    /// Of the device.
    pub length: u64,
}

impl Shape {
    /// How many zones there are, a smaller last one included.
    pub(super) fn count(&self) -> u64 {
        self.length.div_ceil(self.zone_size.max(1))
    }

    pub(super) fn index_of(&self, offset: u64) -> u64 {
        offset.checked_div(self.zone_size).unwrap_or(0)
    }

    /// Where a zone starts; the device's end for one behind the last.
    pub(super) fn start_of(&self, zone: u64) -> u64 {
        zone.saturating_mul(self.zone_size).min(self.length)
    }

    pub(super) fn end_of(&self, zone: u64) -> u64 {
        self.start_of(zone.saturating_add(1))
    }

    pub(super) fn id(&self, zone: u64) -> ZoneId {
        ZoneId { index: zone, start: self.start_of(zone) }
    }

    /// The zones of a range, for a range of whole zones.
    pub(super) fn zones(&self, offset: u64, len: u64) -> Result<Range<u64>, ErrorKind> {
        let end = offset.checked_add(len).filter(|end| *end <= self.length);
        let Some(end) = end else {
            return Err(ErrorKind::OutOfRange { length: self.length });
        };
        let required = self.zone_size;
        if !offset.is_multiple_of(required) {
            return Err(ErrorKind::Misaligned { what: "zone offset", given: offset, required });
        }
        if len == 0 || !(len.is_multiple_of(required) || end == self.length) {
            return Err(ErrorKind::Misaligned { what: "length", given: len, required });
        }
        Ok(self.index_of(offset)..end.div_ceil(required))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_whole_zones() {
        let shape = Shape { zone_size: 0x3000, length: 0x3000 * 3 + 0x1000 };
        assert_eq!(shape.count(), 4);
        assert_eq!((shape.start_of(3), shape.end_of(3)), (0x9000, 0xa000));
        let kind = |offset, len| shape.zones(offset, len).map_err(|e| e.name());
        assert_eq!(kind(0, 0xa000), Ok(0..4));
        assert_eq!(kind(0x3000, 0x3000), Ok(1..2));
        assert_eq!(kind(0x9000, 0x1000), Ok(3..4));
        assert_eq!(kind(1, 0x3000), Err("misaligned"));
        assert_eq!(kind(0, 0x1000), Err("misaligned"));
        assert_eq!(kind(0, 0), Err("misaligned"));
        assert_eq!(kind(0x9000, 0x3000), Err("out-of-range"));
        assert_eq!(kind(0x3000, u64::MAX), Err("out-of-range"));
    }
}
