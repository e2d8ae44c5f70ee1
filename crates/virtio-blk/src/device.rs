//! Answers one request.

mod answer;
mod data;
mod zones;

use crate::chain::{Broken, Chain, Segments};
use crate::config::MAX_RANGES;
use crate::features::{self, Negotiated};
use crate::memory::StableMemory;
use crate::request::{HEADER, Header, RANGE, Range, Type};
pub use answer::Answer;
use block_core::Error;
use block_export::status::{self, virtio_blk};
use block_export::{Export, Identity, Kind, Reply, Request, ZonedCharacteristics};
use std::sync::Arc;
use vm_memory::GuestMemory;

/// A device as its driver negotiated it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    export: Export,
    negotiated: Negotiated,
}

/// Whether a request was perhaps carried out before.
#[derive(Clone, Copy, Debug)]
enum Turn {
    First,
    Again,
}

/// A status other than OK.
type Failed = u8;

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
        let place = writable;
        if !answer::exists(&**memory, &place) {
            return Err(Broken::NoStatus { head });
        }
        let header = readable.split_to(HEADER).read(&**memory).map(Header::from_bytes);
        let done = match header {
            Some(header) => self.carry_out(memory, header, readable, &data, turn).await,
            None => Err(virtio_blk::IOERR),
        };
        let (status, written) = match done {
            Ok(written) => (virtio_blk::OK, written),
            // Nobody knows what of the data was written.
            Err(status) => (self.without_zones(status), 0),
        };
        Answer::tell(&**memory, head, &data, written, &place, status)
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

    /// Does it; returns how many bytes of `writable`, from its start on, were written.
    async fn carry_out<M: StableMemory>(
        &self,
        memory: &Arc<M>,
        header: Header,
        readable: Segments,
        writable: &Segments,
        turn: Turn,
    ) -> Result<u64, Failed> {
        let Some(kind) = header.kind else {
            return Err(virtio_blk::UNSUPP);
        };
        if kind.is_zoned() && self.zoned().is_none() {
            return Err(virtio_blk::UNSUPP);
        }
        match kind {
            Type::In => self.read(memory, header, &readable, writable).await,
            Type::Out => self.write(memory, header, &readable, writable, turn).await,
            Type::Flush => self.plain(Request::Flush).await,
            Type::GetId => self.identify(&**memory, writable),
            Type::Discard | Type::WriteZeroes => self.ranges(memory, kind, readable).await,
            Type::ZoneAppend => self.append(memory, header, &readable, writable).await,
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
}
