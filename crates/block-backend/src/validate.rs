//! The one place where a caller's numbers are checked.
//!
//! Whatever passes here satisfies what drivers assume: the range lies within the node, it is
//! aligned, and nothing changes data on a read-only node.

use block_core::{ErrorKind, Limits, Result, ZonedLimits};

/// A node's facts at the moment of a request.
pub(crate) struct Bounds<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) length: u64,
}

impl Bounds<'_> {
    /// A read, or the range of a write.
    pub(crate) fn check_io(&self, offset: u64, len: u64) -> Result<()> {
        self.check_range(offset, len)?;
        let alignment = u64::from(self.limits.request_alignment);
        check_multiple("offset", offset, alignment)?;
        check_multiple("length", len, alignment)
    }

    /// A write, discard or write-zeroes.
    pub(crate) fn check_write(&self, offset: u64, len: u64) -> Result<()> {
        self.check_writable()?;
        self.check_io(offset, len)
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.limits.read_only { Err(ErrorKind::ReadOnly.into()) } else { Ok(()) }
    }

    pub(crate) fn zoned(&self) -> Result<&ZonedLimits> {
        self.limits.zoned.as_ref().ok_or_else(|| ErrorKind::NotZoned.into())
    }

    /// The range of a management operation: whole zones, at least one.
    pub(crate) fn check_manage(&self, offset: u64, len: u64) -> Result<()> {
        let zoned = self.zoned()?;
        self.check_writable()?;
        let end = self.check_range(offset, len)?;
        check_multiple("zone offset", offset, zoned.zone_size)?;
        if len == 0 {
            return Err(misaligned("length", 0, zoned.zone_size));
        }
        if end == self.length { Ok(()) } else { check_multiple("length", len, zoned.zone_size) }
    }

    /// An append of `len` bytes to the zone at `zone_start`.
    pub(crate) fn check_append(&self, zone_start: u64, len: u64) -> Result<()> {
        let zoned = self.zoned()?;
        self.check_writable()?;
        if zone_start >= self.length {
            return Err(ErrorKind::OutOfRange { length: self.length }.into());
        }
        check_multiple("zone offset", zone_start, zoned.zone_size)?;
        let granularity = u64::from(zoned.write_granularity);
        if len == 0 {
            return Err(misaligned("length", 0, granularity));
        }
        check_multiple("length", len, granularity)?;
        let limit = zoned.max_append_bytes;
        if limit != 0 && len > limit {
            return Err(ErrorKind::AppendTooLarge { given: len, limit }.into());
        }
        Ok(())
    }

    fn check_range(&self, offset: u64, len: u64) -> Result<u64> {
        match offset.checked_add(len) {
            Some(end) if end <= self.length => Ok(end),
            _ => Err(ErrorKind::OutOfRange { length: self.length }.into()),
        }
    }
}

fn check_multiple(what: &'static str, given: u64, required: u64) -> Result<()> {
    // A division takes longer than all else here, and only zones can be of other sizes.
    let is_multiple = match required.is_power_of_two() {
        true => given & required.wrapping_sub(1) == 0,
        // No limit is zero, except in a driver that is broken: then nothing is a multiple.
        false => given.checked_rem(required) == Some(0),
    };
    if is_multiple { Ok(()) } else { Err(misaligned(what, given, required)) }
}

fn misaligned(what: &'static str, given: u64, required: u64) -> block_core::Error {
    ErrorKind::Misaligned { what, given, required }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_core::ZonedModel;

    const ZONE: u64 = 0x3000;

    fn limits() -> Limits {
        Limits {
            request_alignment: 512,
            zoned: Some(ZonedLimits {
                model: ZonedModel::HostManaged,
                zone_size: ZONE,
                nr_zones: 4,
                max_open_zones: 0,
                max_active_zones: 0,
                max_append_bytes: 0x1000,
                write_granularity: 512,
            }),
            ..Limits::unaligned()
        }
    }

    /// Four zones, the last one smaller.
    const LENGTH: u64 = 3 * ZONE + 0x1000;

    fn with<T>(limits: &Limits, check: impl Fn(&Bounds<'_>) -> Result<T>) -> &'static str {
        match check(&Bounds { limits, length: LENGTH }) {
            Ok(_) => "ok",
            Err(e) => e.kind().name(),
        }
    }

    #[test]
    fn ranges_are_checked_without_overflow() {
        let io = |offset, len| with(&limits(), |b| b.check_io(offset, len));
        assert_eq!(io(0, LENGTH), "ok");
        assert_eq!(io(LENGTH, 0), "ok");
        assert_eq!(io(0, LENGTH + 512), "out-of-range");
        assert_eq!(io(u64::MAX - 511, 512), "out-of-range");
        assert_eq!(io(512, u64::MAX), "out-of-range");
        assert_eq!(io(1, 512), "misaligned");
        assert_eq!(io(512, 1), "misaligned");
    }

    #[test]
    fn management_takes_whole_zones_and_a_smaller_last_one() {
        let manage = |offset, len| with(&limits(), |b| b.check_manage(offset, len));
        assert_eq!(manage(0, ZONE), "ok");
        assert_eq!(manage(3 * ZONE, 0x1000), "ok");
        assert_eq!(manage(0, LENGTH), "ok");
        assert_eq!(manage(0, 0), "misaligned");
        assert_eq!(manage(512, ZONE), "misaligned");
        assert_eq!(manage(0, ZONE + 512), "misaligned");
        assert_eq!(manage(3 * ZONE, ZONE), "out-of-range");
        assert_eq!(manage(ZONE, u64::MAX), "out-of-range");
    }

    #[test]
    fn appends_name_a_zone_start_and_stay_below_the_limit() {
        let append = |start, len| with(&limits(), |b| b.check_append(start, len));
        assert_eq!(append(ZONE, 512), "ok");
        assert_eq!(append(ZONE + 512, 512), "misaligned");
        assert_eq!(append(ZONE, 0), "misaligned");
        assert_eq!(append(ZONE, 100), "misaligned");
        assert_eq!(append(ZONE, 0x2000), "append-too-large");
        assert_eq!(append(4 * ZONE, 512), "out-of-range");
    }

    #[test]
    fn what_a_node_cannot_do_is_told_before_what_is_wrong_with_the_numbers() {
        let read_only = Limits { read_only: true, ..limits() };
        assert_eq!(with(&read_only, |b| b.check_append(1, 1)), "read-only");
        assert_eq!(with(&read_only, |b| b.check_manage(1, 1)), "read-only");
        assert_eq!(with(&read_only, |b| b.check_write(1, 1)), "read-only");
        let plain = Limits { zoned: None, ..read_only };
        assert_eq!(with(&plain, |b| b.check_append(1, 1)), "not-zoned");
        assert_eq!(with(&plain, |b| b.check_manage(1, 1)), "not-zoned");
    }
}
