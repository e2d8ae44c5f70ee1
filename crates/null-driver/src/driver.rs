//! The node itself.

use crate::delay::Delay;
use async_trait::async_trait;
use block_core::{
    BlockDriver, Call, Child, IoVec, IoVecMut, Limits, RequestFlags, Result, ZonedDriver,
};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

pub(crate) const NAME: &str = "null";

/// What a [`Null`] is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NullConfig {
    /// Length in bytes.
    pub size: u64,
    /// Whether reads fill their buffers with zeroes. Otherwise the buffers come back as they were.
    pub read_zeroes: bool,
    /// How long each request takes, at least.
    pub latency: Duration,
    /// Whether the node says that it is read-only.
    pub read_only: bool,
}

impl Default for NullConfig {
    /// 1 GiB of zeroes, at once, writable.
    fn default() -> Self {
        Self { size: 1 << 30, read_zeroes: true, latency: Duration::ZERO, read_only: false }
    }
}

/// A node that reads as zeroes and forgets what is written.
#[derive(Debug)]
pub struct Null {
    length: AtomicU64,
    read_zeroes: bool,
    read_only: bool,
    /// `None` without a latency, so that a request costs a test of this and no more.
    delay: Option<Delay>,
}

impl Null {
    /// A node as configured.
    pub fn new(config: NullConfig) -> Self {
        Self {
            length: AtomicU64::new(config.size),
            read_zeroes: config.read_zeroes,
            read_only: config.read_only,
            delay: (!config.latency.is_zero()).then(|| Delay::new(config.latency)),
        }
    }

    /// The future of a request that does nothing but take its time, made by hand: what it costs is
    /// what every other figure is compared with. Without a latency it has no size, and so its box
    /// no memory.
    fn done(&self) -> Call<'_, ()> {
        match &self.delay {
            None => Box::pin(poll_fn(|_| Poll::Ready(Ok(())))),
            Some(delay) => Box::pin(delay.wait()),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlockDriver for Null {
    fn driver_name(&self) -> &'static str {
        NAME
    }

    fn limits(&self) -> Limits {
        Limits { read_only: self.read_only, ..Limits::unaligned() }
    }

    fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
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

    async fn read(&self, _offset: u64, mut bufs: IoVecMut) -> Result<IoVecMut> {
        if let Some(delay) = &self.delay {
            Box::pin(delay.wait()).await?;
        }
        if self.read_zeroes {
            bufs.fill(0);
        }
        Ok(bufs)
    }

    fn write<'a, 'f>(&'a self, _offset: u64, _bufs: IoVec, _flags: RequestFlags) -> Call<'f, ()>
    where
        'a: 'f,
    {
        self.done()
    }

    async fn flush(&self) -> Result<()> {
        self.done().await
    }

    async fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        self.done().await
    }

    async fn write_zeroes(&self, _offset: u64, _len: u64, _flags: RequestFlags) -> Result<()> {
        self.done().await
    }

    async fn resize(&self, length: u64) -> Result<()> {
        self.done().await?;
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    async fn refresh(&self) -> Result<()> {
        // There is nothing below that others could change.
        Ok(())
    }

    async fn settle(&self) -> Result<()> {
        if let Some(delay) = &self.delay {
            delay.settle().await;
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
