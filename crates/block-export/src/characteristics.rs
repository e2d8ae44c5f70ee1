//! What a device says of itself, the same through every door.

use crate::SECTOR;
use crate::identity::Identity;
use block_backend::BlockBackend;
use block_core::{ErrorKind, Result, ZoneType, ZonedLimits, ZonedModel};
use std::ops::Range;

/// The facts of an exported device, which never change while it is exported; its length, which may
/// grow, is that of the [`Export`](crate::Export::length). All sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Characteristics {
    /// Logical block size, a power of two, at least 512. Requests must be multiples of it.
    pub block_size: u32,
    /// The unit that the storage writes in one piece, a power of two, at least `block_size`.
    pub physical_block_size: u32,
    /// Whether everything that changes data is refused.
    pub read_only: bool,
    /// Requests above this are split further down; 0 = no such limit.
    pub max_transfer: u32,
    /// `None` where discards are not offered: on read-only devices, on storage without them, and
    /// on host-managed devices, whose zones are reset instead (virtio 1.3, 5.2.5.1).
    pub discard: Option<Discard>,
    /// `None` where write-zeroes is not offered: on read-only devices, and on host-managed ones, as
    /// no door says what it does to a write pointer.
    pub write_zeroes: Option<WriteZeroes>,
    /// The zones' facts, for a device that has zones.
    pub zoned: Option<ZonedCharacteristics>,
}

/// How a device takes discards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// The most that one request may discard; a multiple of `granularity`.
    pub max_bytes: u64,
    /// What offsets and lengths should be multiples of.
    pub granularity: u32,
}

/// How a device takes write-zeroes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteZeroes {
    /// The most that one request may zero; a multiple of the block size.
    pub max_bytes: u64,
    /// Whether the space can be given back on the way.
    pub may_unmap: bool,
}

/// The zones' facts, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonedCharacteristics {
    /// Host-managed or host-aware.
    pub model: ZonedModel,
    /// Distance between zone starts; the last zone may be smaller.
    pub zone_size: u64,
    /// Number of zones, a smaller last one included.
    pub nr_zones: u64,
    /// Most zones that may be open at once; 0 = no limit.
    pub max_open: u32,
    /// Most zones that may be active at once; 0 = no limit.
    pub max_active: u32,
    /// Largest append: never 0, a multiple of `write_granularity`. Where the storage below names no
    /// limit it is the smallest zone's capacity, at most 4 MiB.
    pub max_append: u64,
    /// What writes to sequential zones must be multiples of.
    pub write_granularity: u32,
    /// The byte ranges of conventional zones, in order, adjacent zones as one range.
    pub conventional: Vec<Range<u64>>,
}

/// The most that one discard or write-zeroes may ask for: long ones hold up a flush.
const MAX_RANGE: u64 = 1 << 30;
/// The largest append where the storage names no limit.
const MAX_APPEND: u64 = 4 << 20;
/// Zones that are reported at a time.
const REPORT: usize = 4096;

impl ZonedCharacteristics {
    /// Whether the zone that holds `offset` has a write pointer.
    pub fn is_sequential(&self, offset: u64) -> bool {
        let after = self.conventional.partition_point(|run| run.end <= offset);
        !self.conventional.get(after).is_some_and(|run| run.contains(&offset))
    }

    /// Whether a range of at least one byte lies in more than one zone.
    pub fn crosses_zones(&self, offset: u64, len: u64) -> bool {
        let last = offset.saturating_add(len.saturating_sub(1));
        let index = |offset: u64| offset.checked_div(self.zone_size);
        index(offset) != index(last)
    }

    /// Number of conventional zones.
    pub fn nr_conventional(&self) -> u64 {
        let bytes = |run: &Range<u64>| run.end.saturating_sub(run.start);
        let zones = |run| bytes(run).div_ceil(self.zone_size.max(1));
        self.conventional.iter().map(zones).sum()
    }
}

impl Characteristics {
    /// Reads them from an open backend, and the device's length: the backend's, without a last piece
    /// that is no whole block. With `cache.direct=on` a file's driver has rounded its length up to the
    /// alignment, and the rest of that block reads as zeroes. Of a zoned one, reports all zones once.
    ///
    /// # Errors
    /// `Unsupported` if no door can show such a device; whatever a zone report can meet.
    pub(crate) async fn of(backend: &BlockBackend, identity: &Identity) -> Result<(Self, u64)> {
        let limits = *backend.limits();
        let block_size = limits.block_size.max(limits.request_alignment);
        let length = whole_blocks(backend.length(), block_size.into());
        if length == 0 {
            let message =
                format!("an image of less than one block ({block_size:#x} bytes) is no device");
            return Err(ErrorKind::Unsupported(message).into());
        }
        let zoned = match &limits.zoned {
            Some(zoned) => Some(survey(backend, zoned).await?),
            None => None,
        };
        let granularity = zoned.as_ref().map_or(0, |zoned| zoned.write_granularity);
        let read_only = identity.read_only() || limits.read_only;
        let host_managed = zoned.as_ref().is_some_and(|z| z.model == ZonedModel::HostManaged);
        let changes = !read_only && !host_managed;
        let max_bytes = whole_blocks(MAX_RANGE, block_size.into());
        let facts = Self {
            block_size,
            physical_block_size: block_size.max(granularity),
            read_only,
            max_transfer: limits.max_transfer,
            discard: (changes && limits.discard)
                .then_some(Discard { max_bytes, granularity: block_size }),
            write_zeroes: changes.then_some(WriteZeroes { max_bytes, may_unmap: limits.discard }),
            zoned,
        };
        Ok((facts, length))
    }

    /// The largest request that a door should let through, in bytes: a multiple of the block size,
    /// not above `most`, nor above what the storage takes in one piece.
    pub fn max_request(&self, most: u32) -> u32 {
        let limit = match self.max_transfer {
            0 => most,
            limit => limit.min(most),
        };
        let over = limit.checked_rem(self.block_size).unwrap_or(0);
        limit.saturating_sub(over).max(self.block_size)
    }

    /// The block size to tell a driver, in bytes: `block_size`, or the zones' write granularity if
    /// that is larger. Linux takes no granularity from ublk or virtio, and writes whole blocks to
    /// zones; a smaller block would have such writes refused.
    pub fn block_to_tell(&self) -> u32 {
        let granularity = self.zoned.as_ref().map_or(0, |zoned| zoned.write_granularity);
        self.block_size.max(granularity)
    }

    /// Why Linux cannot use this device, for a door behind which Linux is sure to be.
    ///
    /// # Errors
    /// `Unsupported`: Linux takes zones of a power of two sectors, all of one size, and logical
    /// blocks ([`block_to_tell`](Self::block_to_tell)) of at most a page.
    pub fn check_for_linux(&self) -> Result<()> {
        let refuse = |message| Err(ErrorKind::Unsupported(message).into());
        if let Some(zoned) = &self.zoned
            && !zoned.zone_size.is_power_of_two()
        {
            return refuse(format!(
                "zones of {:#x} bytes: Linux takes a power of two only",
                zoned.zone_size
            ));
        }
        let block = self.block_to_tell();
        if block > 4096 {
            return refuse(format!(
                "blocks, or writes to zones in units, of {block:#x} bytes: Linux takes at most 0x1000"
            ));
        }
        Ok(())
    }
}

async fn survey(backend: &BlockBackend, limits: &ZonedLimits) -> Result<ZonedCharacteristics> {
    let mut conventional: Vec<Range<u64>> = Vec::new();
    let mut smallest = limits.zone_size;
    let mut next = 0;
    while next < backend.length() {
        let zones = backend.report_zones(next, REPORT).await?;
        let Some(last) = zones.last().filter(|last| last.end() > next) else {
            let message = format!("the zone report ends at {next:#x}, before the device does");
            return Err(ErrorKind::InvalidDevice(message).into());
        };
        next = last.end();
        for zone in zones {
            if zone.zone_type == ZoneType::Conventional {
                match conventional.last_mut() {
                    Some(run) if run.end == zone.start => run.end = zone.end(),
                    _ => conventional.push(zone.start..zone.end()),
                }
            } else if zone.capacity > 0 {
                smallest = smallest.min(zone.capacity);
            }
        }
    }
    let granularity = u64::from(limits.write_granularity).max(SECTOR);
    let max_append = match limits.max_append_bytes {
        0 => smallest.min(MAX_APPEND),
        limit => limit,
    };
    Ok(ZonedCharacteristics {
        model: limits.model,
        zone_size: limits.zone_size,
        nr_zones: limits.nr_zones,
        max_open: limits.max_open_zones,
        max_active: limits.max_active_zones,
        max_append: whole_blocks(max_append, granularity).max(granularity),
        write_granularity: limits.write_granularity,
        conventional,
    })
}

/// `bytes` without what is over a multiple of `block`.
pub(crate) fn whole_blocks(bytes: u64, block: u64) -> u64 {
    bytes.saturating_sub(bytes.checked_rem(block).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zoned() -> ZonedCharacteristics {
        ZonedCharacteristics {
            model: ZonedModel::HostManaged,
            zone_size: 0x1000,
            nr_zones: 8,
            max_open: 0,
            max_active: 0,
            max_append: 0x1000,
            write_granularity: 512,
            conventional: vec![0..0x2000, 0x5000..0x6000],
        }
    }

    #[test]
    fn zones_are_told_apart_wherever_conventional_ones_lie() {
        let zoned = zoned();
        let sequential: Vec<_> = (0..8).map(|i| zoned.is_sequential(i * 0x1000)).collect();
        assert_eq!(sequential, [false, false, true, true, true, false, true, true]);
        assert!(!zoned.is_sequential(0x1fff) && zoned.is_sequential(0x2000));
        assert!(!zoned.is_sequential(0x5fff) && zoned.is_sequential(0x6000));
        assert_eq!(zoned.nr_conventional(), 3);
    }

    #[test]
    fn a_range_crosses_zones_if_its_last_byte_is_in_another_one() {
        let zoned = zoned();
        assert!(!zoned.crosses_zones(0, 0x1000));
        assert!(zoned.crosses_zones(0, 0x1001));
        assert!(zoned.crosses_zones(0xfff, 2));
        assert!(!zoned.crosses_zones(0xfff, 0));
        assert!(zoned.crosses_zones(0x1000, u64::MAX));
    }

    #[test]
    fn a_request_limit_is_whole_blocks_and_at_least_one() {
        let mut facts = Characteristics {
            block_size: 4096,
            physical_block_size: 4096,
            read_only: false,
            max_transfer: 0,
            discard: None,
            write_zeroes: None,
            zoned: None,
        };
        assert_eq!(facts.max_request(1 << 20), 1 << 20);
        assert_eq!(facts.max_request(5000), 4096);
        facts.max_transfer = 0x3000;
        assert_eq!(facts.max_request(1 << 20), 0x3000);
        facts.max_transfer = 512;
        assert_eq!(facts.max_request(1 << 20), 4096);
    }

    #[test]
    fn a_block_is_no_smaller_than_what_can_be_written_to_a_zone() {
        let mut facts = Characteristics {
            block_size: 512,
            physical_block_size: 4096,
            read_only: false,
            max_transfer: 0,
            discard: None,
            write_zeroes: None,
            zoned: None,
        };
        assert_eq!(facts.block_to_tell(), 512);
        for (granularity, block) in [(512, 512), (4096, 4096), (16384, 16384)] {
            facts.zoned = Some(ZonedCharacteristics { write_granularity: granularity, ..zoned() });
            assert_eq!(facts.block_to_tell(), block);
        }
    }

    #[test]
    fn what_linux_cannot_use_is_told_before_it_is_tried() {
        let mut facts = Characteristics {
            block_size: 4096,
            physical_block_size: 4096,
            read_only: false,
            max_transfer: 0,
            discard: None,
            write_zeroes: None,
            zoned: Some(zoned()),
        };
        facts.check_for_linux().unwrap();
        facts.block_size = 8192;
        assert!(facts.check_for_linux().unwrap_err().to_string().contains("at most 0x1000"));
        facts.block_size = 512;
        facts.zoned = Some(ZonedCharacteristics { write_granularity: 8192, ..zoned() });
        assert!(facts.check_for_linux().unwrap_err().to_string().contains("0x2000 bytes"));
        facts.zoned = Some(ZonedCharacteristics { write_granularity: 4096, ..zoned() });
        facts.check_for_linux().unwrap();
        facts.zoned = Some(ZonedCharacteristics { zone_size: 0x3000, ..zoned() });
        let error = facts.check_for_linux().unwrap_err();
        assert_eq!(error.kind().name(), "unsupported");
        assert!(error.to_string().contains("power of two"));
    }
}
