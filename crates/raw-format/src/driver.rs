//! The plain half: reads, writes and everything else that every node has.

use crate::window::Window;
use async_trait::async_trait;
use block_core::{
    BlockDriver, Call, Child, ErrorKind, IoVec, IoVecMut, Limits, RequestFlags, Result,
    ZonedDriver, ZonedLimits,
};

pub(crate) const NAME: &str = "raw";

/// A node that shows its child, or a window of it.
#[derive(Debug)]
pub struct Raw {
    pub(crate) child: Child,
    pub(crate) window: Window,
    limits: Limits,
}

impl Raw {
    /// A raw node over `child`, which the caller attached with rights to write or without: without
    /// them the node is read-only.
    ///
    /// # Errors
    /// [`InvalidOption`](ErrorKind::InvalidOption) for a window that is empty, that reaches past
    /// the child's end or overflows, that is not aligned to the child's blocks or that cuts a zone.
    pub fn new(child: Child, window: Window) -> Result<Self> {
        let mut limits = *child.limits();
        limits.read_only |= !child.needs().write;
        window.check(&limits, child.length())?;
        if let Some(zoned) = &mut limits.zoned {
            let length = window.length(child.length());
            let nr_zones = length.div_ceil(zoned.zone_size.max(1));
            *zoned = ZonedLimits { nr_zones, ..*zoned };
        }
        Ok(Self { child, window, limits })
    }

    /// Where an offset of this node is in the child. The backend checked that it is in the window,
    /// and the window is in the child, so the sum does not overflow.
    pub(crate) const fn below(&self, offset: u64) -> u64 {
        self.window.offset.saturating_add(offset)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlockDriver for Raw {
    fn driver_name(&self) -> &'static str {
        NAME
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn length(&self) -> u64 {
        self.window.length(self.child.length())
    }

    fn children(&self) -> Vec<&Child> {
        vec![&self.child]
    }

    fn counters(&self) -> Vec<block_core::Counter> {
        Vec::new()
    }

    fn zoned(&self) -> Option<&dyn ZonedDriver> {
        self.limits.zoned.is_some().then_some(self)
    }

    fn read<'a, 'f>(&'a self, offset: u64, bufs: IoVecMut) -> Call<'f, IoVecMut>
    where
        'a: 'f,
    {
        self.child.read(self.below(offset), bufs).boxed()
    }

    fn write<'a, 'f>(&'a self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Call<'f, ()>
    where
        'a: 'f,
    {
        self.child.write(self.below(offset), bufs, flags).boxed()
    }

    async fn flush(&self) -> Result<()> {
        self.child.flush().await
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.child.discard(self.below(offset), len).await
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        self.child.write_zeroes(self.below(offset), len, flags).await
    }

    async fn resize(&self, length: u64) -> Result<()> {
        if !self.window.is_whole() {
            return Err(ErrorKind::Unsupported(format!(
                "this node is a window ({}) of '{}', whose length is fixed; resize that node \
                 instead",
                self.window,
                self.child.name()
            ))
            .into());
        }
        self.child.resize(length).await
    }

    async fn refresh(&self) -> Result<()> {
        // A window with a size keeps it; one without goes on to the end of the child.
        self.child.refresh().await
    }

    async fn settle(&self) -> Result<()> {
        // Nothing runs here that is not in the child, which the graph settles next.
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
