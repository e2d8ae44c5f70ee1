//! Requests that carry data: reads, writes and appends.

use super::{Device, Failed, Turn, answer};
use crate::chain::Segments;
use crate::config;
use crate::memory::{self, StableMemory};
use crate::request::Header;
use block_core::{IoVec, ZonedModel};
use block_export::status::virtio_blk;
use block_export::{Kind, Reply, Request, SECTOR};
use std::sync::Arc;

/// Bytes of the position that an append returns.
const POSITION: u64 = 8;

impl Device {
    pub(super) async fn read<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        header: Header,
        readable: &Segments,
        writable: &Segments,
    ) -> Result<u64, Failed> {
        let len = writable.len();
        let offset = transfer(header, writable, readable)?;
        self.check_read(offset, len)?;
        let into = memory::writable(memory, writable).ok_or(virtio_blk::IOERR)?;
        self.ask(Request::Read { offset, into }).await?;
        Ok(len)
    }

    /// A read that starts in a sequential-write-required zone stays in it.
    fn check_read(&self, offset: u64, len: u64) -> Result<(), Failed> {
        let Some(zoned) = self.zoned().filter(|z| z.model == ZonedModel::HostManaged) else {
            return Ok(());
        };
        let end = offset.checked_add(len);
        let inside = end.is_some_and(|end| end <= self.0.export.length());
        if inside && zoned.is_sequential(offset) && zoned.crosses_zones(offset, len) {
            return Err(virtio_blk::ZONE_INVALID_CMD);
        }
        Ok(())
    }

    pub(super) async fn write<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        header: Header,
        readable: &Segments,
        writable: &Segments,
        turn: Turn,
    ) -> Result<u64, Failed> {
        let offset = transfer(header, readable, writable)?;
        let data = guest_data(memory, readable)?;
        let fua = self.write_through();
        let done = match turn {
            Turn::First => self.0.export.serve(Request::Write { offset, data, fua }).await,
            Turn::Again => self.0.export.write_again(offset, data, fua).await,
        };
        done.map(|_| 0).map_err(|error| self.status(&error, Kind::Write, offset))
    }

    /// The position goes into the first 8 bytes, the status into the last one: so it is in the
    /// standard, where they are neighbours, and in Linux, which leaves 7 bytes between them.
    pub(super) async fn append<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        header: Header,
        readable: &Segments,
        writable: &Segments,
    ) -> Result<u64, Failed> {
        // Told after the data has landed: the place for it must be there before.
        if writable.len() < POSITION || !answer::exists(&**memory, writable) {
            return Err(virtio_blk::IOERR);
        }
        let zone_offset = header.offset.ok_or(virtio_blk::ZONE_INVALID_CMD)?;
        let most = self.zoned().map_or(0, config::max_append);
        if readable.is_empty() || readable.len() > most {
            return Err(virtio_blk::ZONE_INVALID_CMD);
        }
        let data = guest_data(memory, readable)?;
        let append = Request::Append { zone_offset, data, fua: self.write_through() };
        let Reply::Appended(position) = self.ask(append).await? else {
            return Err(virtio_blk::IOERR);
        };
        let sector = position.checked_div(SECTOR).unwrap_or(0);
        writable.write(&**memory, &sector.to_le_bytes()).ok_or(virtio_blk::IOERR)?;
        Ok(POSITION)
    }
}

/// The position of a read or write of `data`: whole sectors, and any, in that direction alone. Data
/// in the other one is no transfer of nothing, but a mistake.
fn transfer(header: Header, data: &Segments, other: &Segments) -> Result<u64, Failed> {
    let whole = !data.is_empty() && data.len().checked_rem(SECTOR) == Some(0);
    header.offset.filter(|_| whole && other.is_empty()).ok_or(virtio_blk::IOERR)
}

fn guest_data<M: StableMemory>(memory: &Arc<M>, readable: &Segments) -> Result<IoVec, Failed> {
    memory::readable(memory, readable).ok_or(virtio_blk::IOERR)
}
