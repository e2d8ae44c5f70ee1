//! Asking the kernel about zones, in bounded pieces. Blocks.

use super::parse;
use super::shape::Shape;
use crate::open_file::{OpenFile, removed};
use crate::sys::{self, RawReport};
use block_core::{Result, Zone};
use std::ops::Range;

/// As many zones are asked for in one call: 256 KiB of descriptors.
const PIECE: u64 = 4096;

/// Describes the zones of the range, which lies on the device.
#[doc(alias = "BLKREPORTZONE")]
pub(super) fn read(file: &OpenFile, shape: &Shape, range: Range<u64>) -> Result<Vec<Zone>> {
    in_pieces(shape, range, |offset, asked| {
        let report = sys::report_zones(file.fd(), offset, asked)?;
        if report.claimed == 0 && sys::block_device_size(file.fd())? == 0 {
            return Err(removed().into());
        }
        Ok(report)
    })
}

/// Gathers the zones of the range from as many answers as it takes, and asks for no others.
fn in_pieces(
    shape: &Shape,
    range: Range<u64>,
    mut ask: impl FnMut(u64, u32) -> Result<RawReport>,
) -> Result<Vec<Zone>> {
    let mut zones: Vec<Zone> = Vec::new();
    let mut next = range.start;
    while next < range.end {
        let asked = range.end.saturating_sub(next).min(PIECE);
        let asked = u32::try_from(asked).unwrap_or(u32::MAX);
        let report = ask(shape.start_of(next), asked)?;
        // At least one zone, or an error: this comes to an end.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::RawZone;
    use proptest::prelude::*;

    const SECTORS: u64 = 8;

    fn shape(zones: u64) -> Shape {
        // The last zone is smaller.
        Shape { zone_size: SECTORS * 512, length: zones * SECTORS * 512 - 512 }
    }

    /// A device with so many zones, of which it tells `most` at a time.
    fn answer(zones: u64, most: u32, offset: u64, asked: u32) -> RawReport {
        let first = offset / (SECTORS * 512);
        let list: Vec<RawZone> = (first..zones)
            .take(asked.min(most) as usize)
            .map(|index| RawZone {
                start: index * SECTORS,
                len: if index + 1 == zones { SECTORS - 1 } else { SECTORS },
                write_pointer: index * SECTORS,
                zone_type: 2,
                condition: 1,
                capacity: 0,
            })
            .collect();
        RawReport { claimed: u32::try_from(list.len()).unwrap(), has_capacity: false, zones: list }
    }

    #[test]
    fn a_hundred_thousand_zones_take_25_calls_and_one_zone_takes_one() {
        for (range, calls) in [(0..100_000, 25), (99_999..100_000, 1), (5..6, 1), (0..4097, 2)] {
            let mut count = 0;
            let found = in_pieces(&shape(100_000), range.clone(), |offset, asked| {
                count += 1;
                Ok(answer(100_000, u32::MAX, offset, asked))
            });
            assert_eq!(found.unwrap().len() as u64, range.end - range.start);
            assert_eq!(count, calls, "{range:?}");
        }
    }

    #[test]
    fn a_device_with_fewer_zones_than_it_should_have_is_an_error() {
        let found = in_pieces(&shape(10), 0..10, |offset, asked| Ok(answer(7, 3, offset, asked)));
        assert_eq!(found.unwrap_err().kind().name(), "invalid-device");
        let found = in_pieces(&shape(10), 0..10, |offset, _| Ok(answer(10, 9, offset, 9)));
        found.unwrap();
        // And one that tells more than it was asked for.
        let found = in_pieces(&shape(10), 2..4, |offset, _| Ok(answer(10, 9, offset, 9)));
        assert_eq!(found.unwrap_err().kind().name(), "invalid-device");
    }

    #[test]
    fn an_error_of_a_later_piece_is_the_error_of_all() {
        let mut count = 0;
        let found = in_pieces(&shape(9000), 0..9000, |offset, asked| {
            count += 1;
            if count == 2 {
                return Err(removed().into());
            }
            Ok(answer(9000, u32::MAX, offset, asked))
        });
        assert_eq!((found.unwrap_err().kind().name(), count), ("io", 2));
    }

    proptest! {
        #[test]
        fn a_range_is_read_wholly_in_bounded_pieces_and_nothing_beside_it(
            zones in 1_u64..20_000,
            from in 0_u64..20_000,
            len in 0_u64..20_000,
            most in prop_oneof![1_u32..50, 1000_u32..10_000],
        ) {
            let shape = shape(zones);
            let range = from.min(zones)..from.saturating_add(len).min(zones).max(from.min(zones));
            let mut asked_for = Vec::new();
            let found = in_pieces(&shape, range.clone(), |offset, asked| {
                asked_for.push((shape.index_of(offset), u64::from(asked)));
                Ok(answer(zones, most, offset, asked))
            }).unwrap();
            let starts: Vec<u64> = found.iter().map(|z| z.start).collect();
            let expected: Vec<u64> = range.clone().map(|zone| shape.start_of(zone)).collect();
            prop_assert_eq!(starts, expected);
            for (first, asked) in &asked_for {
                prop_assert!(*asked >= 1 && *asked <= PIECE);
                prop_assert!(range.start <= *first && first + asked <= range.end);
            }
            let fewest = (range.end - range.start).div_ceil(PIECE.min(u64::from(most)));
            prop_assert_eq!(asked_for.len() as u64, fewest);
        }
    }
}
