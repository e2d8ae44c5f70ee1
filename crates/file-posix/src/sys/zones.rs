//! Zones of a block device (`<linux/blkzoned.h>`). The kernel counts in sectors of 512 bytes; these
//! functions take bytes. What a device answers is handed on undecided, except for its size.

use super::uninterrupted;
use block_core::ZoneOp;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The kernel's unit of positions and lengths, in bytes.
pub(crate) const SECTOR: u64 = 512;
/// Length of `struct blk_zone_report` without its zones.
const HEADER: usize = 16;
/// Length of `struct blk_zone`.
const DESCRIPTOR: usize = 64;
/// `BLK_ZONE_REP_CAPACITY` (Linux 5.9): the descriptors' capacity has a meaning.
const REP_CAPACITY: u32 = 1;

mod raw {
    /// `struct blk_zone_report`, without the zones that follow.
    #[repr(C)]
    pub(super) struct ReportHeader {
        pub sector: u64,
        pub nr_zones: u32,
        pub flags: u32,
    }

    /// `struct blk_zone_range`.
    #[repr(C)]
    pub(super) struct Range {
        pub sector: u64,
        pub nr_sectors: u64,
    }

    nix::ioctl_readwrite!(blkreportzone, 0x12, 130, ReportHeader);
    nix::ioctl_write_ptr!(blkresetzone, 0x12, 131, Range);
    nix::ioctl_write_ptr!(blkopenzone, 0x12, 134, Range);
    nix::ioctl_write_ptr!(blkclosezone, 0x12, 135, Range);
    nix::ioctl_write_ptr!(blkfinishzone, 0x12, 136, Range);
}

/// One `struct blk_zone`, as it came; positions in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawZone {
    pub start: u64,
    pub len: u64,
    pub write_pointer: u64,
    pub zone_type: u8,
    pub condition: u8,
    /// Means something only if the report says so.
    pub capacity: u64,
}

/// The answer to a report, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawReport {
    /// How many zones the kernel says it reported.
    pub claimed: u32,
    /// Whether the descriptors' capacity has a meaning.
    pub has_capacity: bool,
    /// As many as were claimed, but no more than were asked for.
    pub zones: Vec<RawZone>,
}

/// Asks for up to `max` zones, from the one that holds `offset` (in bytes) on.
#[doc(alias = "BLKREPORTZONE")]
pub(crate) fn report_zones(fd: impl AsFd, offset: u64, max: u32) -> io::Result<RawReport> {
    let room = usize::try_from(max).unwrap_or(usize::MAX).saturating_mul(DESCRIPTOR);
    // The header's alignment is that of u64.
    let mut buffer = vec![0_u64; HEADER.saturating_add(room).div_ceil(size_of::<u64>())];
    let header = raw::ReportHeader { sector: sectors(offset), nr_zones: max, flags: 0 };
    let place = buffer.as_mut_ptr().cast::<raw::ReportHeader>();
    // SAFETY: the buffer is longer than the header and aligned for it.
    unsafe { place.write(header) };
    // SAFETY: the kernel fills the header and at most `nr_zones` descriptors behind it, for which
    // the buffer has room.
    uninterrupted(|| unsafe { raw::blkreportzone(fd.as_fd().as_raw_fd(), place) })?;
    Ok(decode_report(&buffer, max))
}

fn sectors(bytes: u64) -> u64 {
    bytes.checked_div(SECTOR).unwrap_or(0)
}

/// Reads what the kernel wrote, in the machine's own byte order.
pub(crate) fn decode_report(report: &[u64], max: u32) -> RawReport {
    let word = |i: usize| report.get(i).copied().unwrap_or(0);
    let [claimed, flags] = halves(word(1));
    let per_zone = DESCRIPTOR.div_ceil(size_of::<u64>());
    let count = usize::try_from(claimed.min(max)).unwrap_or(usize::MAX);
    let zones = report.get(2..).unwrap_or_default().chunks_exact(per_zone).take(count);
    let zone = |words: &[u64]| {
        let word = |i: usize| words.get(i).copied().unwrap_or(0);
        let [zone_type, condition, ..] = bytes(word(3));
        RawZone {
            start: word(0),
            len: word(1),
            write_pointer: word(2),
            zone_type,
            condition,
            capacity: word(4),
        }
    };
    RawReport { claimed, has_capacity: flags & REP_CAPACITY != 0, zones: zones.map(zone).collect() }
}

/// The bytes of a word in the order of their addresses.
#[allow(clippy::host_endian_bytes)] // The kernel's structures are in the machine's own order.
fn bytes(word: u64) -> [u8; 8] {
    word.to_ne_bytes()
}

/// The two 32-bit numbers that lie in a word, in the order of their addresses.
#[allow(clippy::host_endian_bytes)] // As above.
fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = bytes(word);
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

/// Does one operation on all zones of a range, in bytes. When it fails, some may have changed.
#[doc(alias = "BLKOPENZONE")]
#[doc(alias = "BLKCLOSEZONE")]
#[doc(alias = "BLKFINISHZONE")]
#[doc(alias = "BLKRESETZONE")]
pub(crate) fn manage_zones(fd: impl AsFd, op: ZoneOp, offset: u64, len: u64) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    let range = raw::Range { sector: sectors(offset), nr_sectors: sectors(len) };
    let ioctl = match op {
        ZoneOp::Open => raw::blkopenzone,
        ZoneOp::Close => raw::blkclosezone,
        ZoneOp::Finish => raw::blkfinishzone,
        ZoneOp::Reset => raw::blkresetzone,
    };
    // SAFETY: each of the four reads one range, which lives for as long as the call lasts.
    uninterrupted(|| unsafe { ioctl(fd, &raw const range) }).map(drop)
}

#[cfg(test)]
#[allow(clippy::host_endian_bytes)] // The kernel's structures are in the host's order.
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<raw::ReportHeader>(), HEADER);
        assert_eq!(size_of::<raw::Range>(), 16);
    }

    #[test]
    fn fields_are_found_where_the_kernel_puts_them() {
        let zone_bytes = u64::from_ne_bytes([2, 0xE, 9, 9, 9, 9, 9, 9]);
        let [count, flags] = [1_u32.to_ne_bytes(), 1_u32.to_ne_bytes()];
        let mut second = [0; 8];
        second[..4].copy_from_slice(&count);
        second[4..].copy_from_slice(&flags);
        let report = [7, u64::from_ne_bytes(second), 1, 2, 3, zone_bytes, 4, 5, 6, 7];
        let zone = RawZone {
            start: 1,
            len: 2,
            write_pointer: 3,
            zone_type: 2,
            condition: 0xE,
            capacity: 4,
        };
        let decoded = decode_report(&report, 8);
        assert_eq!(decoded, RawReport { claimed: 1, has_capacity: true, zones: vec![zone] });
    }

    proptest! {
        #[test]
        fn whatever_a_report_claims_no_more_is_read_than_there_is(
            words in prop::collection::vec(any::<u64>(), 0..64),
            max in any::<u32>(),
        ) {
            let decoded = decode_report(&words, max);
            prop_assert!(decoded.zones.len() <= words.len().saturating_sub(2) / 8);
            prop_assert!(decoded.zones.len() <= max as usize);
        }
    }
}
