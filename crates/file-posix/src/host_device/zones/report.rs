//! Asking the kernel about zones, in bounded pieces. Blocks.

use super::parse;
use super::shape::Shape;
use crate::open_file::{OpenFile, removed};
use crate::sys;
use block_core::{Result, Zone};
use std::ops::Range;

/// As many zones are asked for in one call: 256 KiB of descriptors.
const PIECE: u64 = 4096;

/// Describes the zones of the range, which lies on the device.
#[doc(alias = "BLKREPORTZONE")]
pub(super) fn read(file: &OpenFile, shape: &Shape, range: Range<u64>) -> Result<Vec<Zone>> {
    let mut zones: Vec<Zone> = Vec::new();
    let mut next = range.start;
    while next < range.end {
        let asked = range.end.saturating_sub(next).min(PIECE);
        let asked = u32::try_from(asked).unwrap_or(u32::MAX);
        let report = sys::report_zones(file.fd(), shape.start_of(next), asked)?;
        if report.claimed == 0 && sys::block_device_size(file.fd())? == 0 {
            return Err(removed().into());
        }
        let piece = parse::zones(shape, next, asked, &report)?;
        next = next.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if zones.is_empty() {
            zones = piece;
        } else {
            zones.extend(piece);
        }
    }
    Ok(zones)
}

/// Reads the kernel's reply to `BLKREPORTZONE` exactly as `host_device` does: a pure function, so
/// that it can be tried with whatever a hostile or broken device may say.
///
/// `reply` is a `struct blk_zone_report` with its zones, as words of the machine; what is missing
/// at its end counts as not there. `zone_size` and `device_length` are in bytes; `first_zone` is
/// the number of the zone that was asked for first, and `asked` the number of zones.
///
/// # Errors
/// [`InvalidDevice`](block_core::ErrorKind::InvalidDevice), naming the zone and what is wrong, for
/// anything but at least one and at most `asked` zones that this device can have.
#[doc(alias = "BLKREPORTZONE")]
pub fn parse_zone_report(
    reply: &[u64],
    zone_size: u64,
    device_length: u64,
    first_zone: u64,
    asked: u32,
) -> Result<Vec<Zone>> {
    let shape = Shape { zone_size, length: device_length };
    parse::zones(&shape, first_zone, asked, &sys::decode_report(reply, asked))
}
