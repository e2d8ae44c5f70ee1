//! Opening an image, working on it, closing it; and what is wrong with a request, told before any
//! of it is done.

use crate::cli::{CacheMode, ImageArgs};
use crate::error::Result;
use block_backend::block_core::ZoneId;
use block_backend::{BlockBackend, Error, ErrorKind, Zone};

/// What a command does to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl ImageArgs {
    /// Opens the image.
    pub(crate) async fn open(&self, access: Access) -> Result<BlockBackend> {
        let builder = BlockBackend::builder()
            .read_only(access == Access::Read)
            .cache_direct(self.cache == CacheMode::Direct)
            .aio(self.aio.into());
        Ok(builder.open(&self.image).await?)
    }

    /// Opens the image, does the work, and closes the image, which makes everything durable. The
    /// first failure counts.
    pub(crate) async fn with<T>(
        &self,
        access: Access,
        work: impl AsyncFnOnce(&BlockBackend) -> Result<T>,
    ) -> Result<T> {
        let backend = self.open(access).await?;
        let done = work(&backend).await;
        let closed = backend.close().await;
        let done = done?;
        closed?;
        Ok(done)
    }
}

/// A request that is made in pieces. What would be wrong with the whole of it is told before the
/// first piece, in the same words as for a request in one piece.
#[derive(Clone, Copy)]
pub(crate) struct Whole<'a> {
    pub(crate) backend: &'a BlockBackend,
    pub(crate) op: &'static str,
    pub(crate) offset: u64,
    /// 0 as long as it is not known.
    pub(crate) len: u64,
}

impl Whole<'_> {
    pub(crate) fn refuse(&self, kind: ErrorKind) -> Error {
        let range = (self.len > 0).then_some((self.offset, self.len));
        Error::new(kind).with_request(self.op, range).with_node(self.backend.root().name_arc())
    }

    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        match self.backend.limits().read_only {
            true => Err(self.refuse(ErrorKind::ReadOnly)),
            false => Ok(()),
        }
    }

    /// The offset is aligned, which needs no length.
    pub(crate) fn check_offset(&self) -> Result<(), Error> {
        let alignment = self.backend.limits().request_alignment.into();
        self.check_multiple("offset", self.offset, alignment)
    }

    /// The range lies on the device, and is aligned.
    pub(crate) fn check_range(&self) -> Result<(), Error> {
        let length = self.backend.length();
        let end = self.offset.checked_add(self.len);
        if end.is_none_or(|end| end > length) {
            return Err(self.refuse(ErrorKind::OutOfRange { length }));
        }
        self.check_offset()?;
        let alignment = self.backend.limits().request_alignment.into();
        self.check_multiple("length", self.len, alignment)
    }

    pub(crate) fn check_multiple(
        &self,
        what: &'static str,
        given: u64,
        required: u64,
    ) -> Result<(), Error> {
        match given.checked_rem(required) {
            Some(0) => Ok(()),
            _ => Err(self.refuse(ErrorKind::Misaligned { what, given, required })),
        }
    }

    /// The zone's name in errors.
    pub(crate) fn id_of(&self, zone: &Zone) -> ZoneId {
        let zoned = self.backend.zoned();
        ZoneId { index: zoned.map_or(0, |zoned| zoned.zone_index(zone.start)), start: zone.start }
    }
}
