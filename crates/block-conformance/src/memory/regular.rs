//! A regular device in memory.

use super::{lock, range_of};
use async_trait::async_trait;
use block_core::{
    BlockDriver, Child, Error, ErrorKind, InFlight, IoVec, IoVecMut, Limits, RequestFlags, Result,
    ZonedDriver,
};
use std::sync::{Arc, Mutex};

/// What a [`MemoryDriver`] is to be.
#[derive(Clone, Copy, Debug)]
pub struct MemoryConfig {
    /// Length in bytes of new storage.
    pub length: u64,
    /// The limits that the node shows; their `zoned` is not looked at.
    pub limits: Limits,
    /// How many times other tasks get to run before an operation is done, in a task of its own that
    /// outlives a dropped future, as a system call does. With 0 it is done at once. Reads lag half as
    /// long.
    pub lag: u32,
}

impl Default for MemoryConfig {
    /// 4 MiB of storage that takes any byte at once.
    fn default() -> Self {
        Self { length: 4 << 20, limits: Limits::unaligned(), lag: 0 }
    }
}

/// What outlives a [`MemoryDriver`]: the durable data. Clones are the same storage.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Vec<u8>>>);

/// A regular device in memory, which keeps what is written. What is not flushed is lost when it is
/// dropped without a close.
#[derive(Debug)]
pub struct MemoryDriver {
    config: MemoryConfig,
    data: Arc<Mutex<Vec<u8>>>,
    store: MemoryStore,
    in_flight: InFlight,
}

impl MemoryDriver {
    /// New storage, all zeroes.
    pub fn new(config: MemoryConfig) -> Self {
        let store = MemoryStore(Arc::new(Mutex::new(vec![0; config.length as usize])));
        Self::open(store, config)
    }

    /// Storage that exists; its length is what it is.
    pub fn open(store: MemoryStore, config: MemoryConfig) -> Self {
        let data = lock(&store.0).clone();
        Self { config, data: Arc::new(Mutex::new(data)), store, in_flight: InFlight::default() }
    }

    /// The storage, to open it again.
    pub fn store(&self) -> MemoryStore {
        self.store.clone()
    }

    /// Does the job on the data: here and now, or later in a task of its own.
    async fn perform<T: Send + 'static>(
        &self,
        lag: u32,
        job: impl FnOnce(&mut Vec<u8>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if lag == 0 {
            return job(&mut lock(&self.data));
        }
        let (data, guard) = (Arc::clone(&self.data), self.in_flight.start());
        let task = tokio::spawn(async move {
            for _ in 0..lag {
                tokio::task::yield_now().await;
            }
            let result = job(&mut lock(&data));
            drop(guard);
            result
        });
        task.await.map_err(std::io::Error::other)?
    }
}

/// Makes a range durable, or everything.
fn persist(store: &MemoryStore, data: &[u8], range: Option<(u64, usize)>) {
    let mut durable = lock(&store.0);
    match range {
        Some((offset, len)) if durable.len() == data.len() => {
            let range = offset as usize..offset as usize + len;
            durable[range.clone()].copy_from_slice(&data[range]);
        }
        _ => data.clone_into(&mut durable),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlockDriver for MemoryDriver {
    fn driver_name(&self) -> &'static str {
        "memory"
    }

    fn limits(&self) -> Limits {
        Limits { zoned: None, ..self.config.limits }
    }

    fn length(&self) -> u64 {
        lock(&self.data).len() as u64
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
        // Faster than writes, so that a write that nobody waited for shows.
        self.perform(self.config.lag / 2, move |data| {
            let found = range_of(data, offset, bufs.len() as u64)?;
            bufs.copy_from_slice(found);
            Ok(bufs)
        })
        .await
    }

    async fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Result<()> {
        let store = self.store();
        self.perform(self.config.lag, move |data| {
            bufs.copy_to_slice(range_of(data, offset, bufs.len() as u64)?);
            if flags.contains(RequestFlags::FUA) {
                persist(&store, data, Some((offset, bufs.len())));
            }
            Ok(())
        })
        .await
    }

    async fn flush(&self) -> Result<()> {
        let store = self.store();
        self.perform(self.config.lag, move |data| {
            persist(&store, data, None);
            Ok(())
        })
        .await
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        if !self.config.limits.discard {
            return Err(unsupported("discard"));
        }
        self.perform(self.config.lag, move |data| {
            range_of(data, offset, len)?.fill(0);
            Ok(())
        })
        .await
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        let store = self.store();
        self.perform(self.config.lag, move |data| {
            range_of(data, offset, len)?.fill(0);
            if flags.contains(RequestFlags::FUA) {
                persist(&store, data, Some((offset, len as usize)));
            }
            Ok(())
        })
        .await
    }

    async fn resize(&self, length: u64) -> Result<()> {
        self.perform(self.config.lag, move |data| {
            data.resize(length as usize, 0);
            Ok(())
        })
        .await
    }

    async fn refresh(&self) -> Result<()> {
        // Nobody but its users changes what is in memory.
        Ok(())
    }

    async fn settle(&self) -> Result<()> {
        self.in_flight.settle().await;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.flush().await
    }
}

fn unsupported(what: &str) -> Error {
    ErrorKind::Unsupported(format!("this memory device has no {what}")).into()
}
