//! The driver itself: from the contract to the engine's jobs.

use super::zeroes;
use crate::engine::{AllocateJob, Durable, Engine, ReadJob, SyncJob, WriteJob, blocking};
use crate::open_file::{AskSize, OpenFile};
use crate::sys::{self, Allocate};
use async_trait::async_trait;
use block_core::{
    BlockDriver, Call, Child, Error, ErrorKind, InFlight, InFlightGuard, IoVec, IoVecMut, Limits,
    RequestFlags, Result, ZonedDriver,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A node on a regular file.
#[derive(Debug)]
pub(crate) struct FileDriver {
    /// `None` after the close.
    file: RwLock<Option<Arc<OpenFile>>>,
    engine: Engine,
    in_flight: InFlight,
    limits: Limits,
    /// Whether requests go past the page cache.
    is_direct: bool,
    size: Arc<AtomicU64>,
}

/// A request under way.
pub(super) struct Running<'a> {
    driver: &'a FileDriver,
    pub(super) file: Arc<OpenFile>,
    /// Between two jobs of one request this guard alone says that it still runs.
    _guard: InFlightGuard,
}

impl FileDriver {
    pub(crate) fn new(file: OpenFile, engine: Engine, read_only: bool) -> Self {
        let limits = Limits {
            block_size: file.alignment.request.max(512),
            request_alignment: file.alignment.request,
            memory_alignment: file.alignment.memory,
            max_transfer: 0,
            discard: !read_only,
            read_only,
            zoned: None,
        };
        Self {
            is_direct: file.is_direct(),
            size: Arc::clone(file.size()),
            file: RwLock::new(Some(Arc::new(file))),
            engine,
            in_flight: InFlight::default(),
            limits,
        }
    }

    pub(crate) fn open_file(&self) -> Result<Arc<OpenFile>> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        file.clone().ok_or_else(|| ErrorKind::Closed.into())
    }

    /// The size in bytes, as far as this node knows it.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Takes note of the size that others gave what is open.
    pub(crate) async fn look_again(&self, ask: AskSize) -> Result<()> {
        let guard = self.in_flight.start();
        let file = self.open_file()?;
        let looked = blocking(move || {
            let result = file.look_again(ask);
            drop(file);
            drop(guard);
            result
        });
        looked.await?
    }

    fn start(&self) -> Result<Running<'_>> {
        let guard = self.in_flight.start();
        Ok(Running { driver: self, file: self.open_file()?, _guard: guard })
    }

    /// As [`start`](Self::start), for what changes data in this range.
    fn start_change(&self, offset: u64, len: u64) -> Result<Running<'_>> {
        self.check_change(offset, len)?;
        self.start()
    }

    fn check_change(&self, offset: u64, len: u64) -> Result<()> {
        if self.limits.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        self.check(offset, len)
    }

    fn reading(&self, offset: u64, bufs: IoVecMut) -> Result<ReadJob> {
        self.check(offset, as_u64(bufs.len()))?;
        let (guard, file) = (self.in_flight.start(), self.open_file()?);
        Ok(ReadJob { file, offset, bufs, guard })
    }

    fn writing(&self, offset: u64, bufs: IoVec) -> Result<WriteJob> {
        self.check_change(offset, as_u64(bufs.len()))?;
        let (guard, file) = (self.in_flight.start(), self.open_file()?);
        Ok(WriteJob { file, offset, bufs, durable: false, guard })
    }

    /// Writes, and makes it durable.
    async fn write_durably(&self, offset: u64, bufs: IoVec) -> Result<()> {
        let running = self.start_change(offset, as_u64(bufs.len()))?;
        running.file.durability.check()?;
        // With a page cache, one call that writes and syncs would report, and so use up, the loss
        // of other data: there the syncs take turns.
        let on_the_way = self.is_direct;
        match running.write_as(offset, bufs, on_the_way).await? {
            Durable(false) => running.sync().await,
            Durable(true) => Ok(()),
        }
    }

    /// What the system calls cannot even be asked.
    fn check(&self, offset: u64, len: u64) -> Result<()> {
        let end = offset.checked_add(len);
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            let length = self.length();
            return Err(ErrorKind::OutOfRange { length }.into());
        }
        let required = u64::from(self.limits.request_alignment);
        for (what, given) in [("offset", offset), ("length", len)] {
            if !given.is_multiple_of(required) {
                return Err(ErrorKind::Misaligned { what, given, required }.into());
            }
        }
        Ok(())
    }
}

impl Running<'_> {
    /// The file's size in bytes, as far as this node knows it.
    pub(super) fn size(&self) -> u64 {
        self.driver.size()
    }

    fn guard(&self) -> InFlightGuard {
        self.driver.in_flight.start()
    }

    pub(super) async fn write(&self, offset: u64, bufs: IoVec) -> Result<()> {
        self.write_as(offset, bufs, false).await.map(drop)
    }

    async fn write_as(&self, offset: u64, bufs: IoVec, durable: bool) -> Result<Durable> {
        let job =
            WriteJob { file: Arc::clone(&self.file), offset, bufs, durable, guard: self.guard() };
        match self.driver.is_direct {
            false => self.driver.engine.write(job).await,
            true => Box::pin(self.driver.engine.write_direct(job)).await,
        }
    }

    /// False if this file cannot do that.
    pub(super) async fn allocate(&self, what: Allocate, offset: u64, len: u64) -> Result<bool> {
        let job =
            AllocateJob { file: Arc::clone(&self.file), what, offset, len, guard: self.guard() };
        self.driver.engine.allocate(job).await
    }

    async fn sync(&self) -> Result<()> {
        let Some(turn) = self.file.durability.turn().await? else {
            return Ok(());
        };
        let job = SyncJob { file: Arc::clone(&self.file), turn, guard: self.guard() };
        self.driver.engine.sync(job).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlockDriver for FileDriver {
    fn driver_name(&self) -> &'static str {
        "file"
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn length(&self) -> u64 {
        let size = self.size();
        let unit = u64::from(self.limits.request_alignment);
        size.checked_next_multiple_of(unit).unwrap_or(size)
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

    fn read<'a, 'f>(&'a self, offset: u64, bufs: IoVecMut) -> Call<'f, IoVecMut>
    where
        'a: 'f,
    {
        // One future or the other: each request is as large as what it can meet.
        match self.is_direct {
            false => Box::pin(async move { self.engine.read(self.reading(offset, bufs)?).await }),
            true => {
                Box::pin(async move { self.engine.read_direct(self.reading(offset, bufs)?).await })
            }
        }
    }

    fn write<'a, 'f>(&'a self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Call<'f, ()>
    where
        'a: 'f,
    {
        if flags.contains(RequestFlags::FUA) {
            return Box::pin(self.write_durably(offset, bufs));
        }
        match self.is_direct {
            false => {
                Box::pin(
                    async move { self.engine.write(self.writing(offset, bufs)?).await.map(drop) },
                )
            }
            true => Box::pin(async move {
                self.engine.write_direct(self.writing(offset, bufs)?).await.map(drop)
            }),
        }
    }

    async fn flush(&self) -> Result<()> {
        let running = self.start()?;
        match self.limits.read_only {
            true => Ok(()),
            false => running.sync().await,
        }
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let running = self.start_change(offset, len)?;
        zeroes::discard(&running, offset, len).await
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        let running = self.start_change(offset, len)?;
        let durable = flags.contains(RequestFlags::FUA);
        if durable {
            running.file.durability.check()?;
        }
        zeroes::write_zeroes(&running, offset, len, flags).await?;
        match durable {
            true => running.sync().await,
            false => Ok(()),
        }
    }

    async fn resize(&self, length: u64) -> Result<()> {
        if self.limits.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        let guard = self.in_flight.start();
        let file = self.open_file()?;
        let resized = blocking(move || {
            let result = file.resize(length);
            drop(file);
            drop(guard);
            result
        });
        resized.await?.map_err(Error::from)
    }

    async fn refresh(&self) -> Result<()> {
        self.look_again(|fd| sys::stat(fd).map(|found| found.size)).await
    }

    async fn settle(&self) -> Result<()> {
        self.engine.settle(&self.in_flight).await;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        // Without a file an earlier call came to its last step, which nothing stops.
        let Ok(running) = self.start() else { return Ok(()) };
        let result = match running.file.durability.is_dirty() {
            true => running.sync().await,
            false => running.file.durability.check(),
        };
        let file = self.file.write().unwrap_or_else(PoisonError::into_inner).take();
        // Closing can wait for a network file system; the last operation in flight does it.
        drop(running);
        result.and(blocking(move || drop(file)).await)
    }
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
