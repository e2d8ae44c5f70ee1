//! Appends that the device places: Zone Append of NVMe.
//!
//! The device picks the position, so several processes may append to one zone. Within one node
//! they take turns, so that they land in the order in which they were asked for.

use super::device::Device;
use super::refusal;
use crate::error::{described, invalid};
use crate::host_device::open::Opened;
use crate::open_file::OpenFile;
use crate::sys;
use block_core::{Error, ErrorKind, IoBuf, IoVec, Result, ZoneId, ZonedLimits};
use std::io;
use std::sync::Arc;
use zone_queue::{ExclusiveZone, Sequencer, ZoneTarget};

/// How to append natively.
#[derive(Clone, Copy, Debug)]
pub(super) struct Native {
    namespace: u32,
    /// In bytes.
    block_size: u32,
}

/// Status codes of the Zoned Namespace command set, with their type in front.
mod status {
    pub(super) const BOUNDARY: u16 = 0x1b8;
    pub(super) const FULL: u16 = 0x1b9;
    pub(super) const READ_ONLY: u16 = 0x1ba;
    pub(super) const OFFLINE: u16 = 0x1bb;
    pub(super) const TOO_MANY_ACTIVE: u16 = 0x1bd;
    pub(super) const TOO_MANY_OPEN: u16 = 0x1be;
    /// Type and code, without what says whether to retry.
    pub(super) const MASK: u16 = 0x7ff;
}

impl Native {
    /// Native appends, if the device has them and this process may send them, or why not.
    pub(super) fn detect(opened: &Opened) -> Result<Self> {
        let file = &opened.file;
        let namespace = sys::namespace_id(file.fd()).ok().filter(|id| *id > 0);
        let namespace = namespace.ok_or_else(|| missing(&opened.name))?;
        // A device that is opened to be read takes no appends.
        if !opened.how.read_only
            && let Err(error) = sys::may_send(file.fd(), namespace)
        {
            return Err(not_let(&opened.name, error));
        }
        Ok(Self { namespace, block_size: opened.block_size })
    }

    /// The largest append in bytes, of a device with these limits; 0 if it is not known.
    pub(super) fn largest(max_append: u64, max_command: u64) -> u64 {
        // 16 bits count the blocks, and blocks have at least 512 bytes.
        let told = [max_append, max_command, 32 << 20];
        told.into_iter().filter(|limit| *limit > 0).min().unwrap_or(0)
    }

    /// Blocks. The data is in one piece.
    fn append(
        self,
        file: &OpenFile,
        zone: ZoneId,
        limits: &ZonedLimits,
        data: &IoBuf,
    ) -> Result<u64> {
        let block = u64::from(self.block_size);
        let in_blocks = |bytes: u64| bytes.checked_div(block).unwrap_or(0);
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let too_large = || ErrorKind::AppendTooLarge { given: len, limit: limits.max_append_bytes };
        let blocks = u16::try_from(in_blocks(len)).map_err(|_| too_large())?;
        file.durability.changed();
        match sys::zone_append(file.fd(), self.namespace, in_blocks(zone.start), blocks, data)? {
            Ok(at) => at.checked_mul(block).ok_or_else(|| {
                let message = format!("the device says that an append landed at block {at:#x}");
                ErrorKind::InvalidDevice(message).into()
            }),
            Err(code) => Err(explain(code, zone, limits, len)),
        }
    }
}

fn missing(name: &str) -> Error {
    invalid(format!(
        "append=native needs an NVMe namespace with zones, and '{name}' is none; use \
         append=emulated, or append=auto for the best there is"
    ))
}

fn not_let(name: &str, error: io::Error) -> Error {
    described(
        &format!(
            "append=native sends commands to '{name}', which this kernel does not let this process \
             do (older ones want root); use append=emulated, or append=auto for the best there is"
        ),
        error,
    )
}

fn explain(code: u16, zone: ZoneId, limits: &ZonedLimits, needed: u64) -> Error {
    match code & status::MASK {
        status::FULL | status::BOUNDARY => ErrorKind::ZoneFull { zone, needed, remaining: 0 },
        status::READ_ONLY => ErrorKind::ZoneReadOnly { zone },
        status::OFFLINE => ErrorKind::ZoneOffline { zone },
        status::TOO_MANY_ACTIVE => {
            ErrorKind::TooManyActive { zone, limit: limits.max_active_zones }
        }
        status::TOO_MANY_OPEN => ErrorKind::TooManyOpen { zone, limit: limits.max_open_zones },
        _ => ErrorKind::Io(io::Error::other(format!(
            "the device refused an append to {zone} with NVMe status {code:#x}"
        ))),
    }
    .into()
}

/// Appends, with the zone to itself.
pub(super) async fn append(
    queues: Sequencer<Device>,
    native: Native,
    zone: u64,
    bufs: IoVec,
) -> Result<u64> {
    let device = Arc::clone(queues.target());
    // Before the task, which begins whenever its runtime likes: appends land in the order in which
    // they were asked for.
    let places = queues.line_up(zone..zone.saturating_add(1))?;
    device
        .unstoppable(async move {
            let device = queues.target();
            let place = places.into_iter().next();
            let place = place.ok_or(ErrorKind::OutOfRange { length: device.shape.length })?;
            let hold = place.wait().await?;
            let known = { device.track(zone)?.state().known };
            if known.is_none() {
                device.look(zone).await?;
            }
            device.track(zone)?.state().in_use = true;
            let result = append_held(device, native, zone, bufs).await;
            // A zone that could not be looked at again is given back in doubt.
            let known = { device.track(zone)?.state().known };
            if known.is_some() {
                ExclusiveZone::finished(hold);
            }
            result
        })
        .await
}

async fn append_held(device: &Arc<Device>, native: Native, zone: u64, bufs: IoVec) -> Result<u64> {
    let len = u64::try_from(bufs.len()).unwrap_or(u64::MAX);
    let limit = device.limits.max_append_bytes;
    if limit != 0 && len > limit {
        return Err(ErrorKind::AppendTooLarge { given: len, limit }.into());
    }
    if let Err(error) = device.admit(zone, None, len, 0) {
        if !refusal::is_belief(&error) {
            return Err(error);
        }
        device.look(zone).await?;
        device.admit(zone, None, len, 0)?;
    }
    let (id, limits) = (device.shape.id(zone), device.limits);
    let appended =
        device.call(move |file| native.append(file, id, &limits, &in_one_piece(file, bufs))).await;
    match appended {
        Ok(position) => {
            device.landed(zone, position, len);
            Ok(position)
        }
        Err(error) => {
            device.track(zone)?.state().known = None;
            let seen = device.look(zone).await;
            // What the zone says now is more than the status told.
            match seen.map(|_| device.admit(zone, None, len, 0)) {
                Ok(Err(refusal)) => Err(refusal),
                _ => Err(error),
            }
        }
    }
}

/// The data as one aligned segment.
fn in_one_piece(file: &OpenFile, bufs: IoVec) -> IoBuf {
    if let [only] = bufs.segments()
        && file.alignment.takes_write(&bufs)
    {
        return only.clone();
    }
    let mut copy = file.pool.get(bufs.len());
    if let Some(copy) = copy.as_mut_slice() {
        bufs.copy_to_slice(copy);
    }
    copy.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_core::ZonedModel;

    #[test]
    fn status_codes_become_kinds() {
        let limits = ZonedLimits {
            model: ZonedModel::HostManaged,
            zone_size: 4096,
            nr_zones: 1,
            max_open_zones: 1,
            max_active_zones: 1,
            max_append_bytes: 0,
            write_granularity: 512,
        };
        let kind = |code| explain(code, ZoneId { index: 0, start: 0 }, &limits, 512).kind().name();
        // With the bit that says not to retry.
        assert_eq!(kind(0x41b9), "zone-full");
        assert_eq!(kind(0x41ba), "zone-read-only");
        assert_eq!(kind(0x41bb), "zone-offline");
        assert_eq!(kind(0x41bd), "too-many-active");
        assert_eq!(kind(0x41be), "too-many-open");
        assert_eq!(kind(0x4002), "io");
    }

    #[test]
    fn the_smallest_limit_counts() {
        assert_eq!(Native::largest(0, 0), 32 << 20);
        assert_eq!(Native::largest(0, 4096), 4096);
        assert_eq!(Native::largest(8192, 4096), 4096);
        assert_eq!(Native::largest(4096, 0), 4096);
    }
}
