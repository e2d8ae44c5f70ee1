//! A block device without zones.

use super::open::Opened;
use crate::engine::{Engine, blocking};
use crate::error::is_unsupported;
use crate::file::driver::FileDriver;
use crate::sys;
use async_trait::async_trait;
use block_core::{
    BlockDriver, Child, Error, ErrorKind, InFlight, IoVec, IoVecMut, Limits, RequestFlags, Result,
    ZonedDriver,
};

/// A node on a regular block device: data goes the way of the file driver, the rest is its own.
#[derive(Debug)]
pub(super) struct HostDevice {
    name: &'static str,
    io: FileDriver,
    limits: Limits,
    /// Calls that do not go through `io`.
    calls: InFlight,
}

impl HostDevice {
    pub(super) fn new(name: &'static str, opened: Opened, engine: Engine) -> Self {
        Self {
            name,
            limits: opened.limits(),
            io: FileDriver::new(opened.file, engine, opened.how.read_only),
            calls: InFlight::default(),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlockDriver for HostDevice {
    fn driver_name(&self) -> &'static str {
        self.name
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn length(&self) -> u64 {
        self.io.size()
    }

    fn children(&self) -> Vec<&Child> {
        Vec::new()
    }

    fn counters(&self) -> Vec<block_core::Counter> {
        Vec::new()
    }

    fn zoned(&self) -> Option<&dyn ZonedDriver> {
        None
    }

    async fn read(&self, offset: u64, bufs: IoVecMut) -> Result<IoVecMut> {
        self.io.read(offset, bufs).await
    }

    async fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Result<()> {
        self.io.write(offset, bufs, flags).await
    }

    async fn flush(&self) -> Result<()> {
        self.io.flush().await
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        if self.limits.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        if len == 0 {
            return Ok(());
        }
        let guard = self.calls.start();
        let file = self.io.open_file()?;
        let discarded = blocking(move || {
            let result = sys::discard_blocks(file.fd(), offset, len);
            file.durability.changed();
            drop(file);
            drop(guard);
            result
        });
        discarded.await?.map_err(|error| match is_unsupported(&error) {
            true => Error::from(ErrorKind::Unsupported("discard on this device".to_owned())),
            false => error.into(),
        })
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        self.io.write_zeroes(offset, len, flags).await
    }

    async fn resize(&self, _: u64) -> Result<()> {
        Err(no_resize())
    }

    async fn refresh(&self) -> Result<()> {
        self.io.look_again(|fd| sys::block_device_size(fd)).await
    }

    async fn settle(&self) -> Result<()> {
        self.calls.settle().await;
        self.io.settle().await
    }

    async fn close(&self) -> Result<()> {
        self.io.close().await
    }
}

pub(super) fn no_resize() -> Error {
    ErrorKind::Unsupported("the size of a block device is its own; it cannot be set".to_owned())
        .into()
}
