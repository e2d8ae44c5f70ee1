//! The configuration space, `struct virtio_blk_config` (virtio 1.3, 5.2.4).

use block_core::ZonedModel;
use block_export::{Characteristics, SECTOR, ZonedCharacteristics};
use virtio_bindings::virtio_blk::VIRTIO_BLK_Z_HM;

/// Bytes of the configuration space, that of zoned devices.
pub const SIZE: usize = 0x60;

/// The most data segments of a request: with its header and status it then fits a queue of 128,
/// the size that VMMs give by default.
pub const SEG_MAX: u32 = 126;

/// The most ranges of one discard or write-zeroes request.
pub const MAX_RANGES: u32 = 32;

/// `VIRTIO_BLK_Z_HA`, which the bindings name by the kernel's header only.
const HOST_AWARE: u8 = 2;

/// The bytes that a driver reads of a device that is `length` bytes long. `zoned` says whether the driver may see the zones' facts: until
/// it chose its features, and if it then accepted `VIRTIO_BLK_F_ZONED`.
pub fn bytes(facts: &Characteristics, length: u64, queues: u16, zoned: bool) -> [u8; SIZE] {
    let mut space = Space([0; SIZE]);
    let block = facts.block_to_tell();
    let physical = facts.physical_block_size.checked_div(block).unwrap_or(1).max(1);
    space.put(0, capacity(length));
    space.le32(12, SEG_MAX);
    space.le32(20, block);
    // Blocks per physical block as a power of two; the first block is aligned.
    space.byte(24, u8::try_from(physical.ilog2()).unwrap_or(0));
    space.le16(26, u16::try_from(physical).unwrap_or(u16::MAX));
    space.le32(28, facts.max_transfer.checked_div(block).unwrap_or(0));
    space.le16(34, queues);
    if let Some(discard) = &facts.discard {
        space.le32(36, sectors(discard.max_bytes));
        space.le32(40, MAX_RANGES);
        space.le32(44, sectors(discard.granularity.into()));
    }
    if let Some(zeroes) = &facts.write_zeroes {
        space.le32(48, sectors(zeroes.max_bytes));
        space.le32(52, MAX_RANGES);
        space.byte(56, zeroes.may_unmap.into());
    }
    if let (Some(facts), true) = (&facts.zoned, zoned) {
        space.zoned(facts);
    }
    space.0
}

/// The field at the start of the space by which a driver learns of another length, given in bytes.
pub fn capacity(length: u64) -> [u8; 8] {
    length.checked_div(SECTOR).unwrap_or(0).to_le_bytes()
}

/// The largest append that a driver may make, in bytes: what the field has room for.
pub fn max_append(zoned: &ZonedCharacteristics) -> u64 {
    u64::from(sectors(zoned.max_append)).saturating_mul(SECTOR)
}

fn sectors(bytes: u64) -> u32 {
    u32::try_from(bytes.checked_div(SECTOR).unwrap_or(0)).unwrap_or(u32::MAX)
}

struct Space([u8; SIZE]);

impl Space {
    fn zoned(&mut self, zoned: &ZonedCharacteristics) {
        self.le32(72, sectors(zoned.zone_size));
        self.le32(76, zoned.max_open);
        self.le32(80, zoned.max_active);
        self.le32(84, sectors(max_append(zoned)));
        self.le32(88, zoned.write_granularity);
        self.byte(
            92,
            match zoned.model {
                ZonedModel::HostManaged => u8::try_from(VIRTIO_BLK_Z_HM).unwrap_or(1),
                ZonedModel::HostAware => HOST_AWARE,
            },
        );
    }

    fn le32(&mut self, at: usize, value: u32) {
        self.put(at, value.to_le_bytes());
    }

    fn le16(&mut self, at: usize, value: u16) {
        self.put(at, value.to_le_bytes());
    }

    fn byte(&mut self, at: usize, value: u8) {
        self.put(at, [value]);
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        for (to, from) in self.0.iter_mut().skip(at).zip(bytes) {
            *to = from;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use block_export::{Discard, WriteZeroes};

    pub(crate) fn host_managed() -> Characteristics {
        Characteristics {
            block_size: 512,
            physical_block_size: 4096,
            read_only: false,
            max_transfer: 0x10_0000,
            discard: None,
            write_zeroes: None,
            zoned: Some(ZonedCharacteristics {
                model: ZonedModel::HostManaged,
                zone_size: 0x100_0000,
                nr_zones: 256,
                max_open: 8,
                max_active: 12,
                max_append: 0x2_0000,
                write_granularity: 4096,
                conventional: Vec::new(),
            }),
        }
    }

    pub(crate) fn regular() -> Characteristics {
        Characteristics {
            discard: Some(Discard { max_bytes: 0x4000_0000, granularity: 4096 }),
            write_zeroes: Some(WriteZeroes { max_bytes: 0x4000_0000, may_unmap: true }),
            zoned: None,
            ..host_managed()
        }
    }

    const LENGTH: u64 = 0x1_0000_0000;

    /// The fields by offset and width, as the standard lists them.
    fn field(space: &[u8; SIZE], at: usize, width: usize) -> u64 {
        space[at..at + width].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    #[test]
    fn a_zoned_device_shows_all_its_characteristics() {
        let space = bytes(&host_managed(), LENGTH, 4, true);
        let expected = [
            (0, 8, 0x80_0000), // capacity
            (8, 4, 0),         // size_max
            (12, 4, 126),      // seg_max
            (16, 4, 0),        // geometry
            (20, 4, 4096),     // blk_size: a write to a zone takes no less
            (24, 1, 0),        // physical_block_exp
            (25, 1, 0),        // alignment_offset
            (26, 2, 1),        // min_io_size
            (28, 4, 0x100),    // opt_io_size
            (32, 1, 0),        // writeback
            (34, 2, 4),        // num_queues
            (36, 4, 0),        // max_discard_sectors
            (48, 4, 0),        // max_write_zeroes_sectors
            (60, 4, 0),        // max_secure_erase_sectors
            (72, 4, 0x8000),   // zone_sectors
            (76, 4, 8),        // max_open_zones
            (80, 4, 12),       // max_active_zones
            (84, 4, 0x100),    // max_append_sectors
            (88, 4, 4096),     // write_granularity
            (92, 4, 1),        // model: host-managed
        ];
        for (at, width, value) in expected {
            assert_eq!(field(&space, at, width), value, "at {at}");
        }
    }

    /// Linux refuses a device whose appends are smaller than its writes, and one whose granularity is
    /// 0; and it takes the block for the granularity.
    #[test]
    fn a_large_granularity_is_told_in_every_field() {
        let mut facts = host_managed();
        facts.physical_block_size = 0x1_0000;
        if let Some(zoned) = &mut facts.zoned {
            (zoned.write_granularity, zoned.max_append) = (0x1_0000, 0x1_0000);
        }
        let space = bytes(&facts, LENGTH, 1, true);
        let expected = [
            (20, 4, 0x1_0000),
            (24, 1, 0),
            (26, 2, 1),
            (28, 4, 0x10),
            (84, 4, 0x80),
            (88, 4, 0x1_0000),
        ];
        for (at, width, value) in expected {
            assert_eq!(field(&space, at, width), value, "at {at}");
        }
    }

    #[test]
    fn a_driver_that_does_not_know_zones_sees_none() {
        let space = bytes(&host_managed(), LENGTH, 1, false);
        assert_eq!(space[72..], [0; 24]);
    }

    #[test]
    fn a_regular_device_shows_its_discards_and_zeroes() {
        let space = bytes(&regular(), LENGTH, 1, true);
        let expected = [
            (20, 4, 512),
            (24, 1, 3),
            (26, 2, 8),
            (28, 4, 0x800),
            (36, 4, 0x20_0000),
            (40, 4, 32),
            (44, 4, 8),
            (48, 4, 0x20_0000),
            (52, 4, 32),
            (56, 1, 1),
            (57, 3, 0),
        ];
        for (at, width, value) in expected {
            assert_eq!(field(&space, at, width), value, "at {at}");
        }
        assert_eq!(space[72..], [0; 24]);
    }
}
