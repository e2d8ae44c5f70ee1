//! The handle that users hold.

use crate::admission::{Admission, Most, Pressure};
use crate::builder::BackendBuilder;
use crate::gate::Gate;
use crate::request::Asked;
use crate::validate::Bounds;
use block_core::{
    BufferPool, Child, ErrorKind, IoBufMut, IoVec, IoVecMut, Limits, NodeView, RequestFlags, Result,
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// A handle on an open graph: cheap to clone, `Send` and `Sync`. All clones are the same backend.
///
/// Offsets and lengths are in bytes and must be multiples of
/// [`Limits::request_alignment`]. Every method checks them first; a refused request changes
/// nothing.
///
/// # Cancellation
/// Any future may be dropped. A request whose future is dropped before it was first polled never
/// happens; later, it may or may not happen, but never corrupts anything, and
/// [`settle`](Self::settle) waits for it.
///
/// # Closing
/// Call [`close`](Self::close) at the end: it makes everything durable. A backend that is dropped
/// without it keeps what was flushed, and nothing is corrupt.
#[derive(Clone, Debug)]
pub struct BlockBackend(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: Child,
    limits: Limits,
    pool: BufferPool,
    pub(crate) gate: Gate,
    /// `None` without a limit on what is in flight.
    pub(crate) admission: Option<Admission>,
    /// What the last flush came to, then what closing did.
    flushed: OnceCell<Result<()>>,
    closed: OnceCell<Result<()>>,
}

/// The most that [`BlockBackend::read`] allocates for one request, in bytes.
const MAX_READ: usize = 1 << 30;

/// Holds requests back until it is dropped. See [`BlockBackend::drain`].
#[derive(Debug)]
#[must_use]
pub struct DrainGuard(BlockBackend);

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.0.0.gate.end_drain();
    }
}

impl BlockBackend {
    /// Opens an image for reading and writing: a path (probed), `driver=…,…` or `json:{…}`.
    ///
    /// # Errors
    /// Whatever opening can meet; see [`BackendBuilder::open`].
    pub async fn open(image: &str) -> Result<Self> {
        Self::builder().open(image).await
    }

    /// To open with other settings than the default ones.
    pub fn builder() -> BackendBuilder {
        BackendBuilder::default()
    }

    pub(crate) fn on(root: Child, pool: BufferPool, most: Most) -> Self {
        let mut limits = *root.limits();
        limits.read_only |= !root.needs().write;
        let admission = (!most.is_unlimited()).then(|| Admission::new(most));
        let (gate, flushed, closed) = (Gate::default(), OnceCell::new(), OnceCell::new());
        Self(Arc::new(Inner { root, limits, pool, gate, admission, flushed, closed }))
    }

    /// The facts that never change while the backend is open.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Length at this moment, in bytes.
    pub fn length(&self) -> u64 {
        self.0.root.length()
    }

    /// The graph's root, to look at: names, drivers, children, and counters.
    pub fn root(&self) -> NodeView<'_> {
        NodeView::new(&self.0.root)
    }

    /// How much of the limit on what is in flight is used, and who waits; `None` without a limit.
    /// See [`BackendBuilder::max_in_flight`].
    pub fn pressure(&self) -> Option<Pressure> {
        self.0.admission.as_ref().map(Admission::pressure)
    }

    /// An aligned buffer from the graph's pool. Its content is unspecified.
    pub fn buffer(&self, len: usize) -> IoBufMut {
        self.0.pool.get(len)
    }

    pub(crate) fn bounds(&self) -> Bounds<'_> {
        Bounds { limits: &self.0.limits, length: self.0.root.length() }
    }

    /// Adds to an error of this layer what was asked.
    pub(crate) fn explain<T>(
        &self,
        result: Result<T>,
        op: &'static str,
        range: impl Into<Option<(u64, u64)>>,
    ) -> Result<T> {
        result.map_err(|e| e.with_request(op, range.into()).with_node(self.0.root.name_arc()))
    }

    /// Reads `len` bytes, at most 1 GiB of them, into memory of the graph's pool. For more at once,
    /// bring the memory: [`read_vectored`](Self::read_vectored).
    ///
    /// # Errors
    /// `OutOfRange`, `Misaligned`, `RequestTooLarge`, `ZoneOffline`, `Io`, `Closed`.
    pub async fn read(&self, offset: u64, len: usize) -> Result<Bytes> {
        if len > MAX_READ {
            let (given, limit) = (as_u64(len), as_u64(MAX_READ));
            let refusal = Err(ErrorKind::RequestTooLarge { given, limit }.into());
            return self.explain(refusal, "read", (offset, given));
        }
        self.explain(self.bounds().check_io(offset, as_u64(len)), "read", (offset, as_u64(len)))?;
        Ok(self.read_vectored(offset, self.buffer(len).into()).await?.into_bytes())
    }

    /// Fills a buffer and gives it back. Errors as for [`read`](Self::read).
    pub async fn read_buf(&self, offset: u64, buf: IoBufMut) -> Result<IoBufMut> {
        let bufs = self.read_vectored(offset, buf.into()).await?;
        Ok(bufs.into_iter().next().unwrap_or_else(|| IoBufMut::from(Vec::new())))
    }

    /// Fills several buffers, in order, and gives them back. Errors as for [`read`](Self::read).
    pub async fn read_vectored(&self, offset: u64, bufs: IoVecMut) -> Result<IoVecMut> {
        let len = as_u64(bufs.len());
        self.explain(self.bounds().check_io(offset, len), "read", (offset, len))?;
        if bufs.is_empty() {
            return Ok(bufs);
        }
        let asked = Asked::data("read", offset, len);
        self.request(asked, move |node| node.read(offset, bufs)).await
    }

    /// Fills a borrowed slice. The bytes are copied once more than by [`read_buf`](Self::read_buf),
    /// because an operation never works on borrowed memory. Errors as for [`read`](Self::read).
    pub async fn read_into(&self, offset: u64, dst: &mut [u8]) -> Result<()> {
        let bytes = self.read(offset, dst.len()).await?;
        dst.copy_from_slice(&bytes);
        Ok(())
    }

    /// Writes a buffer or a list of them: `Bytes`, `Vec<u8>`, [`IoBuf`](block_core::IoBuf),
    /// [`IoVec`]. In a sequential zone the write must start at the write pointer.
    ///
    /// # Errors
    /// `ReadOnly`, `OutOfRange`, `Misaligned`, `WritePointerMismatch`, `ZoneFull`, `ZoneBoundary`,
    /// `TooManyOpen`, `TooManyActive`, `ZoneReadOnly`, `ZoneOffline`, `NoSpace`, `Io`, `Closed`.
    pub async fn write(&self, offset: u64, bufs: impl Into<IoVec>) -> Result<()> {
        self.write_with(offset, bufs, RequestFlags::empty()).await
    }

    /// Writes with flags; [`RequestFlags::FUA`] returns after the data is durable. Errors as for
    /// [`write`](Self::write).
    pub async fn write_with(
        &self,
        offset: u64,
        bufs: impl Into<IoVec>,
        flags: RequestFlags,
    ) -> Result<()> {
        let bufs = bufs.into();
        let len = as_u64(bufs.len());
        self.explain(self.bounds().check_write(offset, len), "write", (offset, len))?;
        if bufs.is_empty() {
            return Ok(());
        }
        let asked = Asked::data("write", offset, len);
        self.request(asked, move |node| node.write(offset, bufs, flags)).await
    }

    /// Makes durable everything that returned before this call.
    ///
    /// # Errors
    /// `Io`, `NoSpace`, `Closed`. After a failed flush it is unknown which unflushed data is
    /// durable, and later flushes fail too.
    pub async fn flush(&self) -> Result<()> {
        self.request(Asked::apart("flush", None), |node| node.flush()).await
    }

    /// Says that a range's content is no longer needed; a read then gives old data or zeroes.
    ///
    /// # Errors
    /// Those of [`write`](Self::write), and `Unsupported`: sequential zones are reset instead.
    pub async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.explain(self.bounds().check_write(offset, len), "discard", (offset, len))?;
        if len == 0 {
            return Ok(());
        }
        let asked = Asked::range("discard", offset, len);
        self.request(asked, move |node| node.discard(offset, len)).await
    }

    /// Makes a range read as zeroes. In a sequential zone it is a write: it starts at the write
    /// pointer and moves it.
    ///
    /// # Errors
    /// Those of [`write`](Self::write), and `Unsupported` with [`RequestFlags::NO_FALLBACK`].
    pub async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        self.explain(self.bounds().check_write(offset, len), "write-zeroes", (offset, len))?;
        if len == 0 {
            return Ok(());
        }
        let asked = Asked::range("write-zeroes", offset, len);
        self.request(asked, move |node| node.write_zeroes(offset, len, flags)).await
    }

    /// Changes the length; new space reads as zeroes.
    ///
    /// # Errors
    /// `ReadOnly`, `Unsupported` (zoned nodes have a fixed size), `NoSpace`, `Io`, `Closed`.
    pub async fn resize(&self, length: u64) -> Result<()> {
        self.explain(self.bounds().check_writable(), "resize", (0, length))?;
        let _pass = self.explain(self.0.gate.enter().await, "resize", (0, length))?;
        self.0.root.resize(length).await
    }

    /// Looks again at the length, which others may have changed below, and takes a larger one: then
    /// requests may go so far. Those under way go on. Returns the length in bytes.
    ///
    /// # Errors
    /// `Shrunk` if there is less than there was, and then the length stays; `Unsupported` (zoned nodes
    /// have a fixed size), `Io`, `Closed`.
    pub async fn refresh(&self) -> Result<u64> {
        let op = "look at the length";
        let _pass = self.explain(self.0.gate.enter().await, op, None)?;
        self.0.root.refresh().await?;
        Ok(self.length())
    }

    /// Holds back new requests, then waits for those under way, dropped ones included. Requests
    /// go on when the guard is dropped. Dropping the future lets them go on at once.
    ///
    /// # Errors
    /// `Io` if the wait itself fails.
    pub async fn drain(&self) -> Result<DrainGuard> {
        self.0.gate.begin_drain();
        let guard = DrainGuard(self.clone());
        self.0.gate.wait_empty().await;
        self.0.root.settle().await?;
        Ok(guard)
    }

    /// Waits until no operation whose future was dropped before this call still runs. New requests
    /// are let in meanwhile and not waited for.
    ///
    /// # Errors
    /// `Io` if the wait itself fails.
    pub async fn settle(&self) -> Result<()> {
        self.0.root.settle().await
    }

    /// Refuses new requests, waits for those under way, flushes, and closes every node that has no
    /// other user left, the root included. A second call waits for the first one and returns the same. If the future is
    /// dropped, requests stay refused, and another call ends the work.
    ///
    /// # Errors
    /// The first of whatever flushing and closing meet; all nodes are closed all the same.
    pub async fn close(&self) -> Result<()> {
        self.0.gate.close();
        let work = || async {
            // Not again after a call that was dropped while it closed the nodes.
            let flushed = self.0.flushed.get_or_init(|| self.flush_at_the_end()).await.clone();
            flushed.and(self.0.root.close().await)
        };
        self.0.closed.get_or_init(work).await.clone()
    }

    async fn flush_at_the_end(&self) -> Result<()> {
        self.0.gate.wait_empty().await;
        let settled = self.0.root.settle().await;
        if self.0.limits.read_only { settled } else { settled.and(self.0.root.flush().await) }
    }
}

pub(crate) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
