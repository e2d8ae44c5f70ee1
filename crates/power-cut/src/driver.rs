//! The disk as a node.

use crate::op::Change;
use crate::{PowerCutDisk, SECTOR};
use async_trait::async_trait;
use block_core::{
    BlockDriver, Child, ErrorKind, IoVec, IoVecMut, Limits, RequestFlags, Result, ZonedDriver,
};

/// [`SECTOR`], as limits have it.
const SECTOR_LIMIT: u32 = 512;

impl PowerCutDisk {
    /// Refuses what a disk would refuse, so that no mistake of a parent goes unseen.
    fn check(&self, offset: u64, len: u64) -> Result<()> {
        for (what, given) in [("offset", offset), ("length", len)] {
            if !given.is_multiple_of(SECTOR) {
                return Err(ErrorKind::Misaligned { what, given, required: SECTOR }.into());
            }
        }
        let length = self.length();
        match offset.checked_add(len) {
            Some(end) if end <= length => Ok(()),
            _ => Err(ErrorKind::OutOfRange { length }.into()),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlockDriver for PowerCutDisk {
    fn driver_name(&self) -> &'static str {
        "power-cut"
    }

    fn limits(&self) -> Limits {
        Limits { request_alignment: SECTOR_LIMIT, ..Limits::unaligned() }
    }

    fn length(&self) -> u64 {
        Self::length(self)
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

    async fn read(&self, offset: u64, mut bufs: IoVecMut) -> Result<IoVecMut> {
        let len = as_u64(bufs.len());
        self.check(offset, len)?;
        let mut bytes = vec![0; bufs.len()];
        self.read_live(offset, &mut bytes);
        bufs.copy_from_slice(&bytes);
        Ok(bufs)
    }

    async fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Result<()> {
        let len = as_u64(bufs.len());
        self.check(offset, len)?;
        let fua = flags.contains(RequestFlags::FUA);
        // A copy: what the journal keeps must not change with a foreign buffer.
        let data = Change::Data(bufs.to_vec().into());
        self.change(data, offset, len, fua).await;
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        self.flush_all().await;
        Ok(())
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len)?;
        self.change(Change::Discard, offset, len, false).await;
        Ok(())
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        self.check(offset, len)?;
        let fua = flags.contains(RequestFlags::FUA);
        self.change(Change::Zeroes, offset, len, fua).await;
        Ok(())
    }

    async fn resize(&self, length: u64) -> Result<()> {
        self.change(Change::Resize(length), 0, 0, false).await;
        Ok(())
    }

    async fn refresh(&self) -> Result<()> {
        // Nobody but its users changes what is in memory.
        Ok(())
    }

    async fn settle(&self) -> Result<()> {
        self.settle_all().await;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
