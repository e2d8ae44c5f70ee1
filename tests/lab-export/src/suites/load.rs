//! Zones under writes and flushes, and what must be in them when that has ended in any way.

use crate::disk::{self, Disk};
use crate::pattern::{self, Random};
use crate::shape::Shape;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// How many zones are written at once.
const WRITERS: u64 = 4;

/// The zones that are written.
pub fn zones(shape: &Shape) -> Vec<u64> {
    (0..WRITERS).map(|n| shape.sequential(2 * n)).collect()
}

/// What is known of a zone under writes, in bytes from its start.
#[derive(Default)]
pub struct Progress {
    pub begun: AtomicU64,
    pub done: AtomicU64,
    pub promised: AtomicU64,
}

impl Progress {
    /// Bytes of a write that was begun and met an error.
    pub fn unanswered(&self) -> u64 {
        self.begun.load(Ordering::SeqCst) - self.done.load(Ordering::SeqCst)
    }
}

/// A load that runs until it is told to end, or meets an error.
pub struct Load {
    pub progress: Arc<Vec<Progress>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(device: &Path, shape: &Shape, seed: u64) -> Self {
        let zones = zones(shape);
        let progress: Arc<Vec<Progress>> =
            Arc::new(zones.iter().map(|_| Progress::default()).collect());
        let over = Arc::new(AtomicBool::new(false));
        let disk = Arc::new(Disk::open(device).unwrap());
        let mut threads = Vec::new();
        for (n, &zone) in zones.iter().enumerate() {
            let (disk, progress, over, shape) =
                (disk.clone(), progress.clone(), over.clone(), *shape);
            threads.push(std::thread::spawn(move || {
                let mut random = Random::new(seed ^ (zone << 32));
                write_zone(&disk, &shape, zone, seed, &progress[n], &over, &mut random);
            }));
        }
        let flusher = (progress.clone(), over.clone());
        threads.push(std::thread::spawn(move || {
            let (progress, over) = flusher;
            while !over.load(Ordering::Relaxed) {
                let done: Vec<u64> =
                    progress.iter().map(|p| p.done.load(Ordering::SeqCst)).collect();
                if disk.flush().is_err() {
                    break;
                }
                for (zone, done) in progress.iter().zip(done) {
                    zone.promised.store(done, Ordering::SeqCst);
                }
            }
        }));
        Self { progress, over, threads }
    }

    /// Whether there is something to lose in each zone.
    pub fn has_begun(&self) -> bool {
        self.progress.iter().all(|zone| zone.promised.load(Ordering::SeqCst) > 0)
    }

    /// Says that no more is wanted.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Waits for the end of all requests, well or not.
    pub fn join(&mut self) {
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// Looks for what was promised, and that nothing is there that was not written. `begun` is where
/// writes had come to at most, if that is known. Gives the bytes promised.
pub fn verify(
    device: &Path,
    shape: &Shape,
    seed: u64,
    promised: &[u64],
    begun: Option<&[u64]>,
) -> u64 {
    let found = disk::zones(device);
    let disk = Disk::open(device).unwrap();
    for (n, &zone) in zones(shape).iter().enumerate() {
        let promised = promised[n];
        // A full zone's pointer says nothing.
        let written = if found[zone as usize].condition == disk::FULL {
            shape.zone_capacity
        } else {
            found[zone as usize].written
        };
        assert!(
            written >= promised,
            "zone {zone}: {written} of {promised} promised bytes are there"
        );
        if let Some(begun) = begun.map(|begun| begun[n]) {
            assert!(written <= begun, "zone {zone}: {written} bytes are there of {begun} written");
        }
        if written > 0 {
            let bytes = disk.read(shape.start(zone), written as usize).unwrap();
            pattern::check(&format!("zone {zone}"), seed ^ zone, 0, &bytes);
        }
    }
    promised.iter().sum()
}

fn write_zone(
    disk: &Disk,
    shape: &Shape,
    zone: u64,
    seed: u64,
    progress: &Progress,
    over: &AtomicBool,
    random: &mut Random,
) {
    let block = u64::from(shape.block_size);
    let mut at = 0;
    while at < shape.zone_capacity && !over.load(Ordering::Relaxed) {
        let len = (block * (1 + random.below(16))).min(shape.zone_capacity - at);
        progress.begun.store(at + len, Ordering::SeqCst);
        let data = pattern::bytes(seed ^ zone, at, len as usize);
        if disk.write(shape.start(zone) + at, &data).is_err() {
            return;
        }
        at += len;
        progress.done.store(at, Ordering::SeqCst);
    }
}
