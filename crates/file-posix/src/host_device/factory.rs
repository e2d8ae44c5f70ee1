//! The drivers' factories and options.

use super::open::{self, How, Opened};
use super::regular::HostDevice;
use super::zones;
use crate::engine::{Engine, blocking};
use crate::error::invalid;
use crate::file::factory::engine;
use async_trait::async_trait;
use block_core::{
    Aio, BlockDriver, ContentClaim, DriverFactory, OnOff, OpenContext, PathClaim, Result,
};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The `host_device` driver: block devices of the host as nodes. A device with zones gives a zoned
/// node, any other a regular one.
///
/// ```
/// let registry = block_core::Registry::new()
///     .with(file_posix::file())
///     .with(file_posix::host_device())
///     .with(file_posix::zoned_host_device());
/// ```
///
/// # Options
/// | option | values | meaning |
/// |---|---|---|
/// | `filename` | a path | required: a block device |
/// | `aio` | `threads`, `io_uring`, `auto` (default) | how calls leave the async threads, as for [`file()`](crate::file()) |
/// | `locking` | `on` (default), `off` | whether the device is kept from other users |
/// | `append` | `auto` (default), `emulated`, `native` | how data is appended to zones, see below |
///
/// `read-only` and `cache.direct` are taken from the node or its parents. **A zoned device demands
/// `cache.direct=on`**: the page cache writes in an order of its own.
///
/// # Other users
/// With `locking=on` a writer opens the device exclusively (`O_EXCL`), so that it cannot be mounted
/// or built upon meanwhile, and is [`Busy`](block_core::ErrorKind::Busy) if it is; and writers and
/// readers lock it against one another as those of files do.
///
/// # Zones
/// - A report asks the kernel (`BLKREPORTZONE`), for the zones that are wanted and no others. What
///   no device can mean is [`InvalidDevice`](block_core::ErrorKind::InvalidDevice).
/// - Where a zone's write pointer stands is asked before the zone's first use, and of that zone
///   alone again after every error; management operations look at their zones before and after.
/// - Writes and appends to a sequential zone go through the zone's queue, which merges those that
///   wait. A request that the kernel or our own knowledge refuses is judged again by what the
///   device then says: an append finds the pointer that somebody else has moved, a write gets
///   [`WritePointerMismatch`](block_core::ErrorKind::WritePointerMismatch).
/// - Management operations (`BLKOPENZONE`, `BLKCLOSEZONE`, `BLKFINISHZONE`, `BLKRESETZONE`) touch
///   the zones that they change, and are refused before they touch any if one of them cannot be
///   changed. When a device fails in the middle of a range, some zones have changed.
/// - `append=emulated` writes at the pointer, on any device. `append=native` sends the command Zone
///   Append to an NVMe namespace, which picks the place: several processes may append to one zone.
///   `append=auto` is native for an NVMe device that is opened with `locking=off`, where the kernel
///   lets this process send commands (6.1: root only), and otherwise
///   emulated.
/// - With `locking=off` an emulated append that fails, and finds the pointer moved, is written again
///   at the pointer, even if its own bytes stand there already: they may be somebody else's. So a
///   record can be there twice after an error of the device, and is never lost to another writer.
/// - Sequential zones take no discards. Write-zeroes writes zeroes there, at the pointer.
///
/// # Errors
/// Opening fails with [`InvalidOption`](block_core::ErrorKind::InvalidOption) for what is no block
/// device, for a zoned one without `cache.direct=on` and for `append=native` where that cannot be;
/// [`Busy`](block_core::ErrorKind::Busy); [`InvalidDevice`](block_core::ErrorKind::InvalidDevice)
/// for a device whose zones make no sense; [`Io`](block_core::ErrorKind::Io), naming the path, for
/// whatever the system answers. A device that is removed while in use fails its requests with `Io`.
pub fn host_device() -> impl DriverFactory {
    Factory { name: "host_device", must_be_zoned: false }
}

/// The `zoned_host_device` driver: [`host_device()`] for zoned devices only. It takes the same
/// options, and refuses a device without zones.
pub fn zoned_host_device() -> impl DriverFactory {
    Factory { name: "zoned_host_device", must_be_zoned: true }
}

#[derive(Debug)]
struct Factory {
    name: &'static str,
    must_be_zoned: bool,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DeviceOptions {
    filename: PathBuf,
    #[serde(default)]
    aio: Option<Aio>,
    #[serde(default)]
    locking: Option<OnOff>,
    #[serde(default)]
    append: Append,
}

/// How data is appended to zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Append {
    #[default]
    Auto,
    Native,
    Emulated,
}

impl Factory {
    fn driver(
        &self,
        opened: Opened,
        engine: Engine,
        append: Append,
    ) -> Result<Box<dyn BlockDriver>> {
        match opened.zoned {
            Some(zoned) => Ok(Box::new(zones::driver(self.name, opened, zoned, engine, append)?)),
            None if self.must_be_zoned => Err(invalid(format!(
                "'{}' is a block device without zones; open it with driver=host_device",
                opened.name
            ))),
            None if append == Append::Native => Err(invalid(format!(
                "append=native is for zoned devices, and '{}' has no zones",
                opened.name
            ))),
            None => Ok(Box::new(HostDevice::new(self.name, opened, engine))),
        }
    }
}

#[async_trait]
impl DriverFactory for Factory {
    fn name(&self) -> &'static str {
        self.name
    }

    fn claims_path(&self, path: &Path) -> PathClaim {
        match std::fs::metadata(path) {
            Ok(found) if found.file_type().is_block_device() && !self.must_be_zoned => {
                PathClaim::Device
            }
            _ => PathClaim::No,
        }
    }

    fn claims_content(&self, _: &[u8]) -> ContentClaim {
        ContentClaim::No
    }

    async fn open(&self, context: &mut OpenContext<'_>) -> Result<Box<dyn BlockDriver>> {
        let options: DeviceOptions = context.options()?;
        let engine = engine(options.aio.unwrap_or(context.aio()))?;
        if options.filename.as_os_str().is_empty() {
            return Err(invalid("option 'filename' is empty".to_owned()));
        }
        let how = How {
            read_only: context.read_only(),
            direct: context.cache_direct(),
            locking: options.locking.is_none_or(|o| o.0),
        };
        let pool = context.pool().clone();
        let opened = blocking(move || open::open(&options.filename, how, pool)).await??;
        self.driver(opened, engine, options.append)
    }
}
