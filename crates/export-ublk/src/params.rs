//! What the kernel is told of a device: `struct ublk_params` of `<linux/ublk_cmd.h>`.

use block_core::{ErrorKind, Result};
use block_export::{Characteristics, SECTOR, ZonedCharacteristics};
use libublk::sys::{
    UBLK_ATTR_FUA, UBLK_ATTR_READ_ONLY, UBLK_ATTR_VOLATILE_CACHE, UBLK_PARAM_TYPE_BASIC,
    UBLK_PARAM_TYPE_DISCARD, UBLK_PARAM_TYPE_ZONED, ublk_param_basic, ublk_param_discard,
    ublk_param_zoned, ublk_params,
};

/// The largest request, in bytes. The kernel allows 32 MiB; beyond this one gains nothing, and
/// each request's memory is ours.
const MAX_REQUEST: u32 = 1 << 20;
/// What the kernel rounds the size of a request's buffer to.
const PAGE: u32 = 4096;

/// The largest request that the kernel may send, in bytes: a multiple of [`PAGE`].
pub(crate) fn max_request(device: &Characteristics) -> u32 {
    let bytes = device.max_request(MAX_REQUEST);
    bytes.saturating_sub(bytes % PAGE).max(PAGE)
}

/// The parameters of this device of `length` bytes; with `write_through`, one without a cache to
/// flush.
///
/// # Errors
/// `Unsupported` if ublk or Linux cannot show such a device.
pub(crate) fn params(
    device: &Characteristics,
    length: u64,
    write_through: bool,
) -> Result<ublk_params> {
    device.check_for_linux()?;
    let max_request = max_request(device);
    // Linux takes no write granularity from ublk, so that a block is one.
    let granularity = device.zoned.as_ref().map_or(0, |zoned| zoned.write_granularity);
    let block = device.block_size.max(granularity);
    let physical = device.physical_block_size.max(block);
    let mut params = ublk_params {
        types: UBLK_PARAM_TYPE_BASIC,
        basic: ublk_param_basic {
            attrs: match (device.read_only, write_through) {
                (true, _) => UBLK_ATTR_READ_ONLY,
                (false, true) => 0,
                (false, false) => UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA,
            },
            logical_bs_shift: shift(block)?,
            physical_bs_shift: shift(physical)?,
            io_min_shift: shift(physical)?,
            io_opt_shift: shift(physical)?,
            max_sectors: sectors(max_request.into()),
            dev_sectors: length / SECTOR,
            ..Default::default()
        },
        ..Default::default()
    };
    if device.discard.is_some() || device.write_zeroes.is_some() {
        let discard = device.discard;
        params.types |= UBLK_PARAM_TYPE_DISCARD;
        params.discard = ublk_param_discard {
            // Not zero, even where only write-zeroes is offered.
            discard_granularity: discard.map_or(block, |d| d.granularity.max(block)),
            max_discard_sectors: discard.map_or(0, |d| sectors(d.max_bytes)),
            max_discard_segments: discard.map_or(0, |_| 1),
            max_write_zeroes_sectors: device.write_zeroes.map_or(0, |z| sectors(z.max_bytes)),
            ..Default::default()
        };
    }
    if let Some(zoned) = &device.zoned {
        check_last_zone(length, zoned)?;
        params.types |= UBLK_PARAM_TYPE_ZONED;
        params.basic.chunk_sectors = sectors(zoned.zone_size);
        let most = |limit: u32| limit.min(u32::try_from(zoned.nr_zones).unwrap_or(u32::MAX));
        params.zoned = ublk_param_zoned {
            max_open_zones: most(zoned.max_open),
            max_active_zones: most(zoned.max_active),
            max_zone_append_sectors: sectors(zoned.max_append.min(max_request.into())).max(1),
            ..Default::default()
        };
    }
    Ok(params)
}

/// The driver rounds the number of zones down, and then misses the last one.
fn check_last_zone(length: u64, zoned: &ZonedCharacteristics) -> Result<()> {
    let rest = length.checked_rem(zoned.zone_size).unwrap_or(0);
    if rest == 0 {
        return Ok(());
    }
    let message = format!(
        "the last zone is smaller than the others, and Linux's ublk takes zones of one size only; \
         to export the device without it, put driver=raw,size={:#x} over it",
        length.saturating_sub(rest)
    );
    Err(ErrorKind::Unsupported(message).into())
}

/// The logarithm of a size that is a power of two.
fn shift(size: u32) -> Result<u8> {
    match u8::try_from(size.trailing_zeros()) {
        Ok(shift) if size.is_power_of_two() => Ok(shift),
        _ => Err(ErrorKind::InvalidDevice(format!("a block size of {size:#x} bytes")).into()),
    }
}

/// In sectors of 512 bytes; what is above the kernel's 32 bits is cut, as these are limits.
fn sectors(bytes: u64) -> u32 {
    u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_core::ZonedModel;
    use block_export::{Discard, WriteZeroes};

    const LENGTH: u64 = 64 << 20;

    fn regular() -> Characteristics {
        Characteristics {
            block_size: 512,
            physical_block_size: 4096,
            read_only: false,
            max_transfer: 0,
            discard: Some(Discard { max_bytes: 1 << 30, granularity: 512 }),
            write_zeroes: Some(WriteZeroes { max_bytes: 1 << 29, may_unmap: true }),
            zoned: None,
        }
    }

    fn zoned() -> Characteristics {
        Characteristics {
            discard: None,
            write_zeroes: None,
            zoned: Some(ZonedCharacteristics {
                model: ZonedModel::HostManaged,
                zone_size: 4 << 20,
                nr_zones: 16,
                max_open: 6,
                max_active: 20,
                max_append: 256 << 10,
                write_granularity: 512,
                conventional: Vec::new(),
            }),
            ..regular()
        }
    }

    #[test]
    fn a_regular_device_has_blocks_limits_and_discards() {
        let params = params(&regular(), LENGTH, false).unwrap();
        assert_eq!(params.types, UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD);
        let basic = params.basic;
        assert_eq!((basic.logical_bs_shift, basic.physical_bs_shift), (9, 12));
        assert_eq!((basic.dev_sectors, basic.max_sectors, basic.chunk_sectors), (131_072, 2048, 0));
        assert_eq!(basic.attrs, UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA);
        let discard = params.discard;
        assert_eq!((discard.max_discard_sectors, discard.max_discard_segments), (1 << 21, 1));
        assert_eq!((discard.max_write_zeroes_sectors, discard.discard_granularity), (1 << 20, 512));
    }

    #[test]
    fn a_zoned_device_has_its_zones_and_limits() {
        let params = params(&zoned(), LENGTH, false).unwrap();
        assert_eq!(params.types, UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_ZONED);
        assert_eq!(params.basic.chunk_sectors, 8192);
        assert_eq!(params.zoned.max_open_zones, 6);
        assert_eq!(params.zoned.max_active_zones, 16, "not more than there are zones");
        assert_eq!(params.zoned.max_zone_append_sectors, 512);
    }

    #[test]
    fn an_append_is_no_larger_than_a_request_and_never_zero() {
        let mut device = zoned();
        let append = |device: &Characteristics| params(device, LENGTH, false).unwrap().zoned;
        device.zoned.as_mut().unwrap().max_append = 1 << 40;
        assert_eq!(append(&device).max_zone_append_sectors, 2048);
        device.zoned.as_mut().unwrap().max_append = 0;
        assert_eq!(append(&device).max_zone_append_sectors, 1);
    }

    #[test]
    fn a_block_is_as_large_as_what_can_be_written() {
        let mut device = zoned();
        device.zoned.as_mut().unwrap().write_granularity = 4096;
        assert_eq!(params(&device, LENGTH, false).unwrap().basic.logical_bs_shift, 12);
    }

    #[test]
    fn a_read_only_device_is_one_and_offers_no_changes() {
        let device =
            Characteristics { read_only: true, discard: None, write_zeroes: None, ..regular() };
        let params = params(&device, LENGTH, false).unwrap();
        assert_eq!(params.basic.attrs, UBLK_ATTR_READ_ONLY);
        assert_eq!(params.types, UBLK_PARAM_TYPE_BASIC);
    }

    #[test]
    fn what_is_written_through_needs_no_flush() {
        assert_eq!(params(&zoned(), LENGTH, true).unwrap().basic.attrs, 0);
    }

    #[test]
    fn requests_are_whole_pages() {
        let mut device = regular();
        device.max_transfer = 10_000;
        assert_eq!(max_request(&device), 8192);
        device.max_transfer = 512;
        assert_eq!(max_request(&device), 4096);
        assert_eq!(params(&device, LENGTH, false).unwrap().basic.max_sectors, 8);
    }

    #[test]
    fn what_ublk_cannot_show_is_refused_with_advice() {
        let message = params(&zoned(), LENGTH - 4096, false).unwrap_err().to_string();
        assert!(message.contains("driver=raw,size=0x3c00000"), "{message}");
        let mut device = zoned();
        device.zoned.as_mut().unwrap().zone_size = 3 << 20;
        assert!(params(&device, LENGTH, false).unwrap_err().to_string().contains("power of two"));
    }
}
