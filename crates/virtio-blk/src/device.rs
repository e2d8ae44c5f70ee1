//! Answers one request.

use crate::chain::{Broken, Chain, Segments};
use crate::config::{self, MAX_RANGES};
use crate::features::{self, Negotiated};
use crate::memory::{self, StableMemory};
use crate::request::{HEADER, Header, RANGE, Range, Type};
use block_core::{Error, IoVec, Zone, ZoneCondition, ZonedModel};
use block_export::report;
use block_export::status::{self, virtio_blk};
use block_export::{Export, Identity, Kind, Reply, Request, SECTOR, ZonedCharacteristics};
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemory, Permissions};

/// A device as its driver negotiated it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    export: Export,
    negotiated: Negotiated,
}

/// What goes into the used ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The chain that is given back.
    pub head: u16,
    /// How many bytes of it were written, the status included.
    pub written: u32,
    /// The status that the driver was told.
    pub status: u8,
}

/// Whether a request was perhaps carried out before.
#[derive(Clone, Copy, Debug)]
enum Turn {
    First,
    Again,
}

/// A status other than OK.
type Failed = u8;

/// Descriptors of a zone report that are made at a time: bounds the memory that a report takes,
/// whatever the size of its buffer.
const REPORT: u64 = 1024;

impl Device {
    /// The export, as a driver that negotiated this sees it.
    pub fn new(export: Export, negotiated: Negotiated) -> Self {
        Self(Arc::new(Inner { export, negotiated }))
    }

    /// The export behind the device.
    pub fn export(&self) -> &Export {
        &self.0.export
    }

    /// What the driver accepted.
    pub fn negotiated(&self) -> Negotiated {
        self.0.negotiated
    }

    /// Does a request and tells its status to the driver.
    ///
    /// # Errors
    /// [`Broken::NoStatus`] if there is no place for a status; then nothing was done.
    ///
    /// # Cancellation
    /// The future may be dropped: the request may or may not happen, the driver is told nothing,
    /// and the guest's memory stays mapped for as long as the request uses it.
    pub async fn serve<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        chain: Chain,
    ) -> Result<Answer, Broken> {
        self.serve_as(memory, chain, Turn::First).await
    }

    /// The same for a request that an earlier process took, perhaps carried out, and never
    /// answered. A write that has landed is not refused; an append lands once more.
    ///
    /// # Errors
    /// As for [`serve`](Self::serve).
    pub async fn serve_again<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        chain: Chain,
    ) -> Result<Answer, Broken> {
        self.serve_as(memory, chain, Turn::Again).await
    }

    async fn serve_as<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        chain: Chain,
        turn: Turn,
    ) -> Result<Answer, Broken> {
        let Chain { head, mut readable, mut writable } = chain;
        // The status is the last byte, whatever is before it.
        let before = writable.len().checked_sub(1).ok_or(Broken::NoStatus { head })?;
        let data = writable.split_to(before);
        let status_place = writable;
        if !exists(&**memory, &status_place) {
            return Err(Broken::NoStatus { head });
        }
        let header = readable.split_to(HEADER).read(&**memory).map(Header::from_bytes);
        let done = match header {
            Some(header) => self.carry_out(memory, header, readable, data, turn).await,
            None => Err(virtio_blk::IOERR),
        };
        let (status, written) = match done {
            Ok(written) => (virtio_blk::OK, written),
            Err(status) => (self.without_zones(status), 0),
        };
        status_place.write(&**memory, &[status]).ok_or(Broken::NoStatus { head })?;
        let written = u32::try_from(written.saturating_add(1)).unwrap_or(u32::MAX);
        Ok(Answer { head, written, status })
    }

    /// A driver that does not know zones does not know their statuses either.
    fn without_zones(&self, status: u8) -> u8 {
        let known = self.zoned().is_some() || status <= virtio_blk::UNSUPP;
        if known { status } else { virtio_blk::IOERR }
    }

    /// The zones' facts, if the driver knows of zones.
    fn zoned(&self) -> Option<&ZonedCharacteristics> {
        let zoned = self.0.export.characteristics().zoned.as_ref();
        zoned.filter(|_| self.0.negotiated.has(features::ZONED))
    }

    /// Whether a write must be durable when it is answered: the driver does not flush (virtio 1.3,
    /// 5.2.6.2).
    fn write_through(&self) -> bool {
        !self.0.negotiated.has(features::FLUSH)
    }

    /// Does it; returns how many bytes of `writable` were written.
    async fn carry_out<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        header: Header,
        readable: Segments,
        writable: Segments,
        turn: Turn,
    ) -> Result<u64, Failed> {
        let Some(kind) = header.kind else {
            return Err(virtio_blk::UNSUPP);
        };
        if kind.is_zoned() && self.zoned().is_none() {
            return Err(virtio_blk::UNSUPP);
        }
        match kind {
            Type::In => self.read(memory, header, &readable, &writable).await,
            Type::Out => self.write(memory, header, &readable, &writable, turn).await,
            Type::Flush => self.plain(Request::Flush).await,
            Type::GetId => self.identify(&**memory, &writable),
            Type::Discard | Type::WriteZeroes => self.ranges(memory, kind, readable).await,
            Type::ZoneAppend => self.append(memory, header, &readable, &writable).await,
            Type::ZoneReport => self.report(memory, header, writable).await,
            Type::ZoneOpen => self.manage(header, |offset| Request::Open { offset }).await,
            Type::ZoneClose => self.close(header).await,
            Type::ZoneFinish => self.manage(header, |offset| Request::Finish { offset }).await,
            Type::ZoneReset => self.manage(header, |offset| Request::Reset { offset }).await,
            Type::ZoneResetAll => self.plain(Request::ResetAll).await,
        }
    }

    /// Asks the export, and puts a failure as the driver is told it.
    async fn ask(&self, request: Request) -> Result<Reply, Failed> {
        let kind = request.kind();
        let offset = request.range().map_or(0, |(offset, _)| offset);
        let done = self.0.export.serve(request).await;
        done.map_err(|error| self.status(&error, kind, offset))
    }

    #[cold]
    fn status(&self, error: &Error, kind: Kind, offset: u64) -> Failed {
        tracing::debug!(target: "block", %error, "request of a guest failed");
        let sequential = self.zoned().is_some_and(|zoned| zoned.is_sequential(offset));
        status::virtio(error, kind, sequential)
    }

    async fn plain(&self, request: Request) -> Result<u64, Failed> {
        self.ask(request).await.map(|_| 0)
    }

    async fn read<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        header: Header,
        readable: &Segments,
        writable: &Segments,
    ) -> Result<u64, Failed> {
        let len = writable.len();
        // Data in the wrong direction is no read of nothing, but a mistake.
        if !readable.is_empty() || !is_transfer(len) {
            return Err(virtio_blk::IOERR);
        }
        let offset = header.offset.ok_or(virtio_blk::IOERR)?;
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
        let inside = end.is_some_and(|end| end <= self.0.export.characteristics().length);
        if inside && zoned.is_sequential(offset) && zoned.crosses_zones(offset, len) {
            return Err(virtio_blk::ZONE_INVALID_CMD);
        }
        Ok(())
    }

    async fn write<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        header: Header,
        readable: &Segments,
        writable: &Segments,
        turn: Turn,
    ) -> Result<u64, Failed> {
        if !writable.is_empty() || !is_transfer(readable.len()) {
            return Err(virtio_blk::IOERR);
        }
        let offset = header.offset.ok_or(virtio_blk::IOERR)?;
        let data = guest_data(memory, readable)?;
        let fua = self.write_through();
        let done = match turn {
            Turn::First => self.0.export.serve(Request::Write { offset, data, fua }).await,
            Turn::Again => self.0.export.write_again(offset, data, fua).await,
        };
        done.map(|_| 0).map_err(|error| self.status(&error, Kind::Write, offset))
    }

    fn identify<M: GuestMemory>(&self, memory: &M, writable: &Segments) -> Result<u64, Failed> {
        let serial = self.0.export.identity().padded_serial();
        let n = usize::try_from(writable.len()).unwrap_or(usize::MAX).min(Identity::MAX_SERIAL);
        let told = serial.get(..n).filter(|told| !told.is_empty()).ok_or(virtio_blk::IOERR)?;
        writable.write(memory, told).ok_or(virtio_blk::IOERR)?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    async fn ranges<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        kind: Type,
        mut readable: Segments,
    ) -> Result<u64, Failed> {
        let facts = self.0.export.characteristics();
        let (feature, most) = match kind {
            Type::Discard => (features::DISCARD, facts.discard.map(|d| d.max_bytes)),
            _ => (features::WRITE_ZEROES, facts.write_zeroes.map(|z| z.max_bytes)),
        };
        let Some(most) = most.filter(|_| self.0.negotiated.has(feature)) else {
            return Err(virtio_blk::UNSUPP);
        };
        let len = readable.len();
        let number = len.checked_div(RANGE).unwrap_or(0);
        if number == 0 || len.checked_rem(RANGE) != Some(0) || number > MAX_RANGES.into() {
            return Err(virtio_blk::IOERR);
        }
        // All are looked at before the first is carried out.
        let mut requests = Vec::new();
        while !readable.is_empty() {
            let range = readable.split_to(RANGE).read(&**memory).map(Range::from_bytes);
            let range = range.ok_or(virtio_blk::IOERR)?;
            if range.unknown_flags || (range.unmap && kind == Type::Discard) {
                return Err(virtio_blk::UNSUPP);
            }
            let offset = range.offset.filter(|_| range.len <= most).ok_or(virtio_blk::IOERR)?;
            let (len, unmap) = (range.len, range.unmap);
            requests.push(match kind {
                Type::Discard => Request::Discard { offset, len },
                _ => Request::WriteZeroes { offset, len, unmap, fua: self.write_through() },
            });
        }
        for request in requests {
            self.ask(request).await?;
        }
        Ok(0)
    }

    async fn manage(
        &self,
        header: Header,
        request: impl FnOnce(u64) -> Request,
    ) -> Result<u64, Failed> {
        let offset = header.offset.ok_or(virtio_blk::ZONE_INVALID_CMD)?;
        self.plain(request(offset)).await
    }

    /// A full zone cannot become a closed one, and the driver is told so; the zones below leave it as
    /// it is without a word. An empty zone, which is what closing one without data gives, stays.
    async fn close(&self, header: Header) -> Result<u64, Failed> {
        let offset = header.offset.ok_or(virtio_blk::ZONE_INVALID_CMD)?;
        let before = self.ask(Request::ReportZones { offset, max_zones: 1 }).await?;
        let is_full = matches!(
            before,
            Reply::Zones(zones) if zones.first().is_some_and(|zone| {
                zone.condition == ZoneCondition::Full
            })
        );
        if is_full {
            return Err(virtio_blk::ZONE_INVALID_CMD);
        }
        self.plain(Request::Close { offset }).await
    }

    /// The position goes into the first 8 bytes, the status into the last one: so it is in the
    /// standard, where they are neighbours, and in Linux, which leaves 7 bytes between them.
    async fn append<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        header: Header,
        readable: &Segments,
        writable: &Segments,
    ) -> Result<u64, Failed> {
        // Told after the data has landed: the place for it must be there before.
        if writable.len() < 8 || !exists(&**memory, writable) {
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
        Ok(writable.len())
    }

    async fn report<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        header: Header,
        mut writable: Segments,
    ) -> Result<u64, Failed> {
        let inside = |offset: &u64| *offset < self.0.export.characteristics().length;
        let first = header.offset.filter(inside).ok_or(virtio_blk::ZONE_INVALID_CMD)?;
        let mut room = report::virtio::room(writable.len()).ok_or(virtio_blk::ZONE_INVALID_CMD)?;
        let head = writable.split_to(u64::try_from(report::virtio::HEADER).unwrap_or(0));
        let mut next = first;
        let mut told = 0_u64;
        while room > 0 {
            let max_zones = usize::try_from(room.min(REPORT)).unwrap_or(0);
            let asked = self.ask(Request::ReportZones { offset: next, max_zones }).await?;
            let Reply::Zones(zones) = asked else {
                return Err(virtio_blk::IOERR);
            };
            let Some(last) = zones.last() else {
                break;
            };
            next = last.end();
            let bytes = descriptors(&zones);
            let len = u64::try_from(bytes.len()).unwrap_or(0);
            writable.split_to(len).write(&**memory, &bytes).ok_or(virtio_blk::IOERR)?;
            let number = u64::try_from(zones.len()).unwrap_or(0);
            told = told.saturating_add(number);
            room = room.saturating_sub(number);
        }
        head.write(&**memory, &report::virtio::header(told)).ok_or(virtio_blk::IOERR)?;
        let each = u64::try_from(report::DESCRIPTOR).unwrap_or(0);
        Ok(told.saturating_mul(each).saturating_add(head.len()))
    }
}

fn descriptors(zones: &[Zone]) -> Vec<u8> {
    zones.iter().flat_map(report::virtio::descriptor).collect()
}

/// Whether a read or write of this many bytes is one: whole sectors, and any.
fn is_transfer(len: u64) -> bool {
    len > 0 && len.checked_rem(SECTOR) == Some(0)
}

fn guest_data<M: StableMemory>(memory: &Arc<M>, readable: &Segments) -> Result<IoVec, Failed> {
    memory::readable(memory, readable).ok_or(virtio_blk::IOERR)
}

/// Whether all of it can be written.
fn exists<M: GuestMemory>(memory: &M, place: &Segments) -> bool {
    place.iter().all(|segment| {
        let len = usize::try_from(segment.len).unwrap_or(usize::MAX);
        memory.check_range(GuestAddress(segment.addr), len, Permissions::Write)
    })
}
