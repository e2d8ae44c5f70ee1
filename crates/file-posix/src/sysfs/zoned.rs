//! The zones' facts.

use super::attribute::Absent;
use super::queue::Queue;
use block_core::{Result, ZonedModel};

/// `chunk_sectors` counts in these, whatever the block size.
const SECTOR: u64 = 512;

/// What a zoned device's queue says; sizes in bytes, 0 = no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZonedQueue {
    pub model: ZonedModel,
    pub zone_size: u64,
    /// Of the whole disk, also for a partition of it.
    pub nr_zones: u64,
    pub max_open: u32,
    pub max_active: u32,
    /// The largest append in one command. It says nothing about appends that are made by a write.
    pub max_append: u64,
    /// A power of two.
    pub write_granularity: u32,
}

/// The zones' facts, or `None` if the device has no zones.
///
/// # Errors
/// `InvalidDevice` if the device has zones and does not say how large and how many, or says what
/// cannot be; `Io` if the kernel does not let this user ask.
pub(crate) fn zoned(queue: &Queue) -> Result<Option<ZonedQueue>> {
    let Some(model) = model(queue)? else {
        return Ok(None);
    };
    let chunk = queue.attribute("chunk_sectors");
    let zone_size = chunk.required()?;
    let Some(zone_size) = zone_size.checked_mul(SECTOR).filter(|s| i64::try_from(*s).is_ok())
    else {
        return Err(chunk.bad(&Absent::Garbage(zone_size.to_string())));
    };
    let nr_zones = queue.attribute("nr_zones").required()?;
    let limit = |name: &str| u32::try_from(queue.attribute(name).number_or(0)).unwrap_or(u32::MAX);
    Ok(Some(ZonedQueue {
        model,
        zone_size,
        nr_zones,
        max_open: limit("max_open_zones"),
        max_active: limit("max_active_zones"),
        max_append: queue.attribute("zone_append_max_bytes").number_or(0),
        write_granularity: granularity(queue),
    }))
}

/// A kernel without zones has no such attribute; everything else that is no answer is an error,
/// because a zoned device that is taken for a regular one is written to in the wrong order.
fn model(queue: &Queue) -> Result<Option<ZonedModel>> {
    let attribute = queue.attribute("zoned");
    match attribute.text().as_deref() {
        Ok("none") | Err(Absent::Missing) => Ok(None),
        Ok("host-managed") => Ok(Some(ZonedModel::HostManaged)),
        Ok("host-aware") => Ok(Some(ZonedModel::HostAware)),
        Ok(other) => Err(attribute.bad(&Absent::Garbage(other.to_owned()))),
        Err(absent) => Err(attribute.bad(absent)),
    }
}

/// `physical_block_size` would be wrong for ZNS, and kernels before 5.12 tell nothing better than
/// the logical block size.
fn granularity(queue: &Queue) -> u32 {
    let told = queue.attribute("zone_write_granularity").number().ok();
    told.filter(|size| size.is_power_of_two())
        .or_else(|| queue.logical_block_size())
        .and_then(|size| u32::try_from(size).ok())
        .unwrap_or(512)
}
