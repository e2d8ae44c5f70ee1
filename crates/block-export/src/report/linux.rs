//! `struct blk_zone` of `<linux/blkzoned.h>`, in the byte order of this machine.

use super::{DESCRIPTOR, put, sectors, write_pointer};
use block_core::Zone;

/// One zone's descriptor: start, length, write pointer, type, condition, and capacity. All unused
/// bytes are zero: what is left of another report would show as flags.
pub fn descriptor(zone: &Zone) -> [u8; DESCRIPTOR] {
    let mut bytes = [0; DESCRIPTOR];
    put(&mut bytes, 0, native(sectors(zone.start)));
    put(&mut bytes, 8, native(sectors(zone.length)));
    put(&mut bytes, 16, native(write_pointer(zone)));
    put(&mut bytes, 24, [zone.zone_type.code(), zone.condition.code()]);
    put(&mut bytes, 32, native(sectors(zone.capacity)));
    bytes
}

#[expect(clippy::host_endian_bytes, reason = "the kernel of this machine reads it")]
fn native(number: u64) -> [u8; 8] {
    number.to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_core::{ZoneCondition, ZoneType};

    #[test]
    fn a_descriptor_has_each_fact_in_its_place() {
        let zone = Zone {
            start: 1 << 21,
            length: 1 << 20,
            capacity: 3 << 18,
            write_pointer: Some((1 << 21) + 4096),
            zone_type: ZoneType::SequentialWriteRequired,
            condition: ZoneCondition::Closed,
        };
        let bytes = descriptor(&zone);
        let words = [(0, 4096), (8, 2048), (16, 4104), (32, 1536)];
        for (at, word) in words {
            assert_eq!(bytes[at..at + 8], native(word), "at {at}");
        }
        assert_eq!(bytes[24..32], [2, 4, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[40..], [0; 24]);
    }
}
