//! `struct virtio_blk_zone_report` (virtio 1.3, 5.2.6).

use super::{DESCRIPTOR, put, sectors, write_pointer};
use block_core::Zone;

/// Bytes of a report's header.
pub const HEADER: usize = 64;

/// The header of a report that holds this many descriptors.
pub fn header(nr_zones: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    put(&mut bytes, 0, nr_zones.to_le_bytes());
    bytes
}

/// How many descriptors fit behind the header in a buffer of this many bytes; `None` if not even
/// the header does.
pub fn room(bytes: u64) -> Option<u64> {
    let header = u64::try_from(HEADER).ok()?;
    bytes.checked_sub(header)?.checked_div(u64::try_from(DESCRIPTOR).ok()?)
}

/// One zone's descriptor: capacity, start, write pointer (le64), type, state.
pub fn descriptor(zone: &Zone) -> [u8; DESCRIPTOR] {
    let mut bytes = [0; DESCRIPTOR];
    put(&mut bytes, 0, sectors(zone.capacity).to_le_bytes());
    put(&mut bytes, 8, sectors(zone.start).to_le_bytes());
    put(&mut bytes, 16, write_pointer(zone).to_le_bytes());
    put(&mut bytes, 24, [zone.zone_type.code(), zone.condition.code()]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_core::{ZoneCondition, ZoneType};

    #[test]
    fn a_descriptor_has_each_fact_in_its_place() {
        let zone = Zone {
            start: 0x20_0000,
            length: 0x10_0000,
            capacity: 0xc_0000,
            write_pointer: Some(0x20_1000),
            zone_type: ZoneType::SequentialWriteRequired,
            condition: ZoneCondition::ImplicitOpen,
        };
        let mut expected = [0_u8; 64];
        expected[0..2].copy_from_slice(&[0x00, 0x06]);
        expected[8..10].copy_from_slice(&[0x00, 0x10]);
        expected[16..18].copy_from_slice(&[0x08, 0x10]);
        expected[24..26].copy_from_slice(&[2, 2]);
        assert_eq!(descriptor(&zone), expected);
        let dead = Zone { write_pointer: None, condition: ZoneCondition::Offline, ..zone };
        assert_eq!(descriptor(&dead)[16..26], [255, 255, 255, 255, 255, 255, 255, 255, 2, 15]);
    }

    #[test]
    fn the_header_comes_first_and_counts() {
        assert_eq!(header(0x0102)[..3], [2, 1, 0]);
        assert_eq!(header(5)[1..], [0; 63]);
        assert_eq!(room(0), None);
        assert_eq!(room(63), None);
        assert_eq!(room(64), Some(0));
        assert_eq!(room(127), Some(0));
        assert_eq!(room(64 + 128), Some(2));
        assert_eq!(room(u64::MAX), Some((u64::MAX - 64) / 64));
    }
}
