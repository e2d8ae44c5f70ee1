//! The handle that doors hold.

use crate::characteristics::Characteristics;
use crate::counters::Counters;
use crate::identity::Identity;
use crate::request::{Kind, Reply, Request};
use crate::resize::Length;
use block_backend::BlockBackend;
use block_core::{Error, ErrorKind, RequestFlags, Result, ZoneCondition, ZoneId, ZoneOp};
use std::sync::Arc;

/// A graph as a device that hosts and guests can reach. Cheap to clone; all clones are the same
/// device.
///
/// # Cancellation
/// The future of a request may be dropped: the request may or may not happen, and nothing is
/// corrupted. [`close`](Self::close) waits for such requests too.
#[derive(Clone, Debug)]
pub struct Export(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: BlockBackend,
    identity: Identity,
    characteristics: Characteristics,
    length: Length,
    counters: Counters,
}

impl Export {
    /// Exports an open backend. Of a zoned one, all zones are reported once.
    ///
    /// # Errors
    /// `Unsupported` if the image is shorter than one block; whatever a zone report can meet.
    pub async fn new(backend: BlockBackend, identity: Identity) -> Result<Self> {
        let (characteristics, length) = Characteristics::of(&backend, &identity).await?;
        let (length, counters) = (Length::new(length), Counters::default());
        Ok(Self(Arc::new(Inner { backend, identity, characteristics, length, counters })))
    }

    /// What the user chose about the device.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// What the device says of itself.
    pub fn characteristics(&self) -> &Characteristics {
        &self.0.characteristics
    }

    pub(crate) fn growth(&self) -> &Length {
        &self.0.length
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// The graph behind the device, to look at, and for its pool of buffers.
    pub fn backend(&self) -> &BlockBackend {
        &self.0.backend
    }

    /// Does one request. It counts it, and refuses what changes data on a read-only device.
    ///
    /// # Errors
    /// Those of the [`BlockBackend`]'s methods. For a request that changes data, `ReadOnly` comes
    /// before anything else that may be wrong with it.
    pub async fn serve(&self, request: Request) -> Result<Reply> {
        let kind = request.kind();
        let bytes = request.range().map_or(0, |(_, len)| len);
        let result = self.carry_out(request).await;
        match &result {
            Ok(_) => self.0.counters.count_done(kind, bytes),
            Err(error) => self.0.counters.count_failed(kind, error.kind().name()),
        }
        result
    }

    async fn carry_out(&self, request: Request) -> Result<Reply> {
        let backend = &self.0.backend;
        let kind = request.kind();
        if self.0.characteristics.read_only && kind.changes_data() {
            return Err(self.refuse(ErrorKind::ReadOnly, kind, request.range()));
        }
        match request {
            Request::Read { offset, into } => {
                self.check_end(kind, offset, as_u64(into.len()))?;
                return Ok(Reply::Read(backend.read_vectored(offset, into).await?));
            }
            Request::Write { offset, data, fua } => {
                self.check_end(kind, offset, as_u64(data.len()))?;
                backend.write_with(offset, data, flags(fua)).await?;
            }
            Request::Flush if self.0.characteristics.read_only => {}
            Request::Flush => backend.flush().await?,
            Request::Discard { offset, len } => {
                self.check_end(kind, offset, len)?;
                backend.discard(offset, len).await?;
            }
            Request::WriteZeroes { offset, len, unmap, fua } => {
                self.check_end(kind, offset, len)?;
                let unmap = if unmap { RequestFlags::MAY_UNMAP } else { RequestFlags::empty() };
                backend.write_zeroes(offset, len, flags(fua) | unmap).await?;
            }
            Request::ReportZones { offset, max_zones } => {
                return Ok(Reply::Zones(backend.report_zones(offset, max_zones).await?));
            }
            Request::Open { offset } => self.manage(ZoneOp::Open, offset).await?,
            Request::Close { offset } => self.manage(ZoneOp::Close, offset).await?,
            Request::Finish { offset } => self.manage(ZoneOp::Finish, offset).await?,
            Request::Reset { offset } => self.manage(ZoneOp::Reset, offset).await?,
            Request::ResetAll => backend.reset_all_zones().await?,
            Request::Append { zone_offset, data, fua } => {
                let position = backend.append_with(zone_offset, data, flags(fua)).await?;
                return Ok(Reply::Appended(position));
            }
        }
        Ok(Reply::Done)
    }

    /// One zone. The last one may be smaller.
    async fn manage(&self, op: ZoneOp, offset: u64) -> Result<()> {
        let facts = &self.0.characteristics;
        let zone_size = facts.zoned.as_ref().map_or(0, |zoned| zoned.zone_size);
        let length = self.length();
        let len = match length.checked_sub(offset) {
            Some(rest) if rest > 0 => rest.min(zone_size),
            _ => zone_size,
        };
        if len == length {
            self.check_only_zone(op).await?;
        }
        self.0.backend.manage_zones(op, offset, len).await
    }

    /// A device of one zone: below, its range is that of the whole device, in which a zone that
    /// cannot be managed is skipped. Who names the zone must be told.
    async fn check_only_zone(&self, op: ZoneOp) -> Result<()> {
        let Some(only) = self.0.backend.report_zones(0, 1).await?.into_iter().next() else {
            return Ok(());
        };
        let zone = ZoneId { index: 0, start: 0 };
        let kind = match only.condition {
            _ if !only.zone_type.is_sequential() => ErrorKind::ConventionalZone { zone },
            ZoneCondition::ReadOnly => ErrorKind::ZoneReadOnly { zone },
            ZoneCondition::Offline => ErrorKind::ZoneOffline { zone },
            _ => return Ok(()),
        };
        Err(self.refuse(kind, Request::manage(op, 0).kind(), (0, only.length).into()))
    }

    /// The device ends with its last whole block, the image perhaps a few bytes later.
    fn check_end(&self, kind: Kind, offset: u64, len: u64) -> Result<()> {
        let length = self.length();
        match offset.checked_add(len) {
            Some(end) if end <= length => Ok(()),
            _ => Err(self.refuse(ErrorKind::OutOfRange { length }, kind, Some((offset, len)))),
        }
    }

    #[cold]
    fn refuse(&self, error: ErrorKind, kind: Kind, range: Option<(u64, u64)>) -> Error {
        let node = self.0.backend.root().name_arc();
        Error::new(error).with_request(kind.name(), range).with_node(node)
    }

    /// Refuses new requests, waits for those under way, makes everything durable and closes the
    /// graph. See [`BlockBackend::close`].
    ///
    /// # Errors
    /// The first of whatever flushing and closing meet.
    pub async fn close(&self) -> Result<()> {
        self.0.backend.close().await
    }
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn flags(fua: bool) -> RequestFlags {
    if fua { RequestFlags::FUA } else { RequestFlags::empty() }
}
