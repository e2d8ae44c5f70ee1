//! Many tasks at once on one zoned device, whose requests are given up at any moment and time out,
//! and a ledger of what the device must then hold: nothing that was acknowledged is lost or twice
//! there, each record is where it was said to be, pointers cover exactly what was written, and no
//! request gets stuck. For tests, of emulated devices and of real ones.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use block_backend::BlockBackend;
//! use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
//! use crowd::{Crowd, Expects};
//! use std::time::Duration;
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("disk.zbd");
//! let geometry = GeometryConfig {
//!     size: 8 << 18,
//!     zone_size: 1 << 18,
//!     zone_capacity: None,
//!     conventional: 0,
//!     block_size: 4096,
//!     max_open: 4,
//!     max_active: 6,
//! };
//! create_zoned(&path, &CreateOptions::new(geometry), false).await?;
//! let disk = BlockBackend::open(path.to_str().unwrap()).await?;
//! let crowd = Crowd::new(&disk, Expects::ALL).await.unwrap();
//! let counts = crowd.work(8, 42, Duration::from_millis(100)).await.unwrap();
//! disk.settle().await?;
//! let there = crowd.verify(&disk).await.unwrap();
//! println!("{there} records are there, after {counts:?}");
//! disk.close().await?;
//! # Ok::<(), block_backend::Error>(())
//! # }).unwrap();
//! ```
#![forbid(unsafe_code)]
// For tests: a panic is a report, and devices are small.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc
)]

mod impatience;
mod ledger;
mod member;
mod record;

pub use ledger::Ledger;
pub use record::BLOCK;

use block_backend::{BlockBackend, Error};
use member::Member;
use power_cut::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often what happened.
pub type Counts = BTreeMap<&'static str, u64>;

/// What every crowd does, if it works for some seconds: the keys that its counts must have.
pub const USUAL: [&str; 9] =
    ["appends", "writes", "reads", "flushes", "open", "close", "finish", "reset", "given up"];

/// What of the usual there was nothing of.
pub fn missing(counts: &Counts) -> Vec<&'static str> {
    USUAL.into_iter().filter(|what| !counts.contains_key(what)).collect()
}

/// Adds these counts to those.
pub fn add(counts: &mut Counts, more: Counts) {
    more.into_iter().for_each(|(what, n)| *counts.entry(what).or_default() += n);
}

/// What a crowd expects of its device.
#[derive(Clone, Copy, Debug)]
pub struct Expects {
    /// Whether a request may fail with this error. What zones refuse by their nature, such as an
    /// append to a full one, is always expected.
    pub failure: fn(&Error) -> bool,
    /// Whether zones read as zeroes above their write pointers.
    pub zeroes_above: bool,
    /// How long one step of a task may take before it is stuck, in whole seconds. Time in which the
    /// program is stopped does not count.
    pub patience: Duration,
}

impl Expects {
    /// No request fails, zones read as zeroes above their pointers, and no step takes a minute: the
    /// slowest take a second, where a machine is emulated and busy.
    pub const ALL: Self =
        Self { failure: |_| false, zeroes_above: true, patience: Duration::from_secs(60) };
}

/// Tasks at work on one device.
#[derive(Debug)]
pub struct Crowd {
    disk: BlockBackend,
    ledger: Arc<Ledger>,
    expects: Expects,
    /// How many tasks there were so far: each has a number of its own.
    tasks: AtomicU64,
}

impl Crowd {
    /// A crowd for the sequential zones of this device, which must be empty.
    ///
    /// # Errors
    /// In words, if the zones cannot be reported or are not empty.
    pub async fn new(disk: &BlockBackend, expects: Expects) -> Result<Self, String> {
        let mut zones = disk.report_zones(0, usize::MAX).await.map_err(|e| e.to_string())?;
        zones.retain(|zone| zone.zone_type.is_sequential());
        match zones.iter().find(|zone| zone.write_pointer != Some(zone.start)) {
            Some(zone) => return Err(format!("not empty at the start: {zone:?}")),
            None if zones.is_empty() => return Err("there are no sequential zones".to_owned()),
            None => {}
        }
        let (ledger, tasks) = (Arc::new(Ledger::new(&zones)), AtomicU64::new(0));
        Ok(Self { disk: disk.clone(), ledger, expects, tasks })
    }

    /// Lets so many tasks work for so long, in the current runtime. The seed gives their choices.
    /// Dropping the future ends them. Others may work before and after.
    ///
    /// # Errors
    /// In words: whatever a task saw that must not be, and what it waits for if it is stuck.
    pub async fn work(&self, tasks: u64, seed: u64, length: Duration) -> Result<Counts, String> {
        let until = Instant::now() + length;
        let mut rng = Rng::new(seed);
        let first = self.tasks.fetch_add(tasks, Ordering::Relaxed);
        let members = (first..first + tasks)
            .map(|task| Member::new(&self.disk, &self.ledger, self.expects, task, rng.fork()));
        let mut working: JoinSet<_> = members.map(|member| member.work(until)).collect();
        let mut counts = Counts::new();
        while let Some(ended) = working.join_next().await {
            add(&mut counts, ended.map_err(|e| e.to_string())??);
        }
        Ok(counts)
    }

    /// Reads all zones by way of `disk`, which shows the same device: below the pointers there is
    /// nothing but whole records of the present life, each once, and all that landed where it
    /// landed. Gives how many records there are. Nobody may be at work, and the device be settled.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub async fn verify(&self, disk: &BlockBackend) -> Result<u64, String> {
        let zones = disk.report_zones(0, usize::MAX).await.map_err(|e| e.to_string())?;
        let mut records = 0;
        for zone in zones.iter().filter(|zone| zone.zone_type.is_sequential()) {
            let len = match self.expects.zeroes_above {
                true => zone.length,
                false => Ledger::covered(zone)?,
            };
            let bytes = match len {
                0 => Vec::new(),
                _ => disk.read(zone.start, len as usize).await.map_err(|e| e.to_string())?.into(),
            };
            records += self.ledger.verify(zone, &bytes)?;
        }
        Ok(records)
    }

    /// What each zone must hold.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
