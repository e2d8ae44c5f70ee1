//! The server killed under load: what it promised is there when it is started again.

use super::Cases;
use super::files::Tree;
use super::{btrfs, f2fs};
use crate::disk::{self, Disk};
use crate::door::{Door, Export};
use crate::pattern::{self, Random};
use crate::shape::Shape;
use crate::tools::Mount;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How many zones are written at once.
const WRITERS: u64 = 4;

pub fn run(cases: &mut Cases<'_>) {
    cases.server_case("under_writes_and_flushes", |export, shape| {
        for round in 0..rounds() {
            raw_round(export, &shape, round);
        }
    });
    cases.server_case("a_flush_does_not_promise_what_was_lost", unflushed);
    if cases.door == Door::UblkRecover {
        cases.server_case("a_device_that_waits_is_left_to_its_own_image", waiting);
    }
    cases.server_case("under_btrfs", |export, _| {
        let system = FileSystem { make: btrfs::make, mount: btrfs::mount, check: btrfs::check };
        file_system(export, &system);
    });
    if cases.shape.conventional > 0 {
        cases.server_case("under_f2fs", |export, _| {
            let system = FileSystem { make: f2fs::make, mount: f2fs::mount, check: f2fs::check };
            file_system(export, &system);
        });
    }
}

/// The beginning of all random choices, which `LAB_SEED` sets.
pub fn seed() -> u64 {
    std::env::var("LAB_SEED").map_or(4711, |text| text.parse().expect("LAB_SEED is a number"))
}

fn rounds() -> u64 {
    std::env::var("LAB_ROUNDS").map_or(3, |text| text.parse().expect("LAB_ROUNDS is a number"))
}

/// Whoever goes on after a kill as if nothing had happened must not be told that all is durable if
/// it is not: he flushes, and forgets.
fn unflushed(export: &mut Export, shape: Shape) {
    let zone = shape.sequential(1);
    let disk = Disk::open(&export.device).unwrap();
    let data = pattern::bytes(zone, 0, 1 << 16);
    disk.write(shape.start(zone), &data).unwrap();
    export.kill();
    export.start();
    let flushed = disk.flush();
    drop(disk);
    let written = disk::zones(&export.device)[zone as usize].written;
    eprintln!("   {written} of {} bytes are there, and flush said {flushed:?}", data.len());
    if flushed.is_ok() {
        assert_eq!(written, data.len() as u64, "a flush promised what was lost");
        let disk = Disk::open(&export.device).unwrap();
        assert_eq!(disk.read(shape.start(zone), data.len()).unwrap(), data);
    }
}

/// Others are refused, with what they should do, and leave the device to the one that it waits for.
fn waiting(export: &mut Export, shape: Shape) {
    let zone = shape.sequential(1);
    let disk = Disk::open(&export.device).unwrap();
    let data = pattern::bytes(zone, 0, 1 << 16);
    disk.write(shape.start(zone), &data).unwrap();
    export.kill();
    let refused = export.rival();
    assert!(refused.contains("it is another device than this image: its "), "{refused}");
    let refused = export.refused_by(Door::Ublk);
    assert!(refused.contains("export it with recover"), "{refused}");
    assert!(export.device.exists(), "it went with those that were refused");
    export.start();
    assert_eq!(disk.read(shape.start(zone), data.len()).unwrap(), data);
    disk.write(shape.start(zone) + data.len() as u64, &data).unwrap();
}

/// What is known of a zone under writes, in bytes from its start.
#[derive(Default)]
struct Progress {
    begun: AtomicU64,
    done: AtomicU64,
    promised: AtomicU64,
}

impl Progress {
    /// Bytes of a write that was begun and met an error.
    fn unanswered(&self) -> u64 {
        self.begun.load(Ordering::SeqCst) - self.done.load(Ordering::SeqCst)
    }
}

fn raw_round(export: &mut Export, shape: &Shape, round: u64) {
    disk::reset_all(&export.device);
    let seed = seed().wrapping_add(round);
    let zones: Vec<u64> = (0..WRITERS).map(|n| shape.sequential(2 * n)).collect();
    let progress: Arc<Vec<Progress>> =
        Arc::new(zones.iter().map(|_| Progress::default()).collect());
    let over = Arc::new(AtomicBool::new(false));
    let disk = Arc::new(Disk::open(&export.device).unwrap());
    let mut threads = Vec::new();
    for (n, &zone) in zones.iter().enumerate() {
        let (disk, progress, over, shape) = (disk.clone(), progress.clone(), over.clone(), *shape);
        threads.push(std::thread::spawn(move || {
            let mut random = Random::new(seed ^ (zone << 32));
            write_zone(&disk, &shape, zone, seed, &progress[n], &over, &mut random);
        }));
    }
    let flusher = (disk.clone(), progress.clone(), over.clone());
    threads.push(std::thread::spawn(move || {
        let (disk, progress, over) = flusher;
        while !over.load(Ordering::Relaxed) {
            let done: Vec<u64> = progress.iter().map(|p| p.done.load(Ordering::SeqCst)).collect();
            if disk.flush().is_err() {
                break;
            }
            for (zone, done) in progress.iter().zip(done) {
                zone.promised.store(done, Ordering::SeqCst);
            }
        }
    }));
    // When there is something to lose.
    wait_for(|| progress.iter().all(|zone| zone.promised.load(Ordering::SeqCst) > 0));
    let wait = Random::new(seed).below(500);
    std::thread::sleep(Duration::from_millis(wait));
    export.kill();
    over.store(true, Ordering::Relaxed);
    drop(disk);
    export.start();
    // Their requests ended when the new server took over, well or not.
    for thread in threads {
        thread.join().unwrap();
    }
    let unanswered: u64 = progress.iter().map(Progress::unanswered).sum();
    if export.door() == Some(Door::UblkRecover) {
        assert_eq!(unanswered, 0, "bytes of writes that were under way were told as failed");
    }

    let found = disk::zones(&export.device);
    let disk = Disk::open(&export.device).unwrap();
    let mut kept = 0;
    for (&zone, progress) in zones.iter().zip(&*progress) {
        let written = found[zone as usize].written;
        let [promised, begun] =
            [&progress.promised, &progress.begun].map(|n| n.load(Ordering::SeqCst));
        // A full zone's pointer says nothing.
        let written = if found[zone as usize].condition == disk::FULL {
            shape.zone_capacity
        } else {
            written
        };
        assert!(
            written >= promised,
            "zone {zone}: {written} of {promised} promised bytes are there"
        );
        assert!(written <= begun, "zone {zone}: {written} bytes are there, {begun} were written");
        if written > 0 {
            let bytes = disk.read(shape.start(zone), written as usize).unwrap();
            pattern::check(&format!("zone {zone}"), seed ^ zone, 0, &bytes);
        }
        kept += promised;
    }
    eprintln!(
        "   round {round}: killed after {wait} ms, {kept} promised bytes were there, {unanswered} bytes had no answer"
    );
    // It is a device like any other again.
    drop(disk);
    disk::reset_all(&export.device);
    let disk = Disk::open(&export.device).unwrap();
    disk.write(shape.start(zones[0]), &pattern::bytes(1, 0, 4096)).unwrap();
    disk.flush().unwrap();
    drop(disk);
    export.restart();
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

fn wait_for(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the load does not get on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct FileSystem {
    make: fn(&Path),
    mount: fn(&Path) -> Mount,
    check: fn(&Path),
}

/// Files that were written durably are there after a kill, whatever came after them.
fn file_system(export: &mut Export, system: &FileSystem) {
    (system.make)(&export.device);
    let mount = (system.mount)(&export.device);
    let tree = Arc::new(Mutex::new(Tree::default()));
    let over = Arc::new(AtomicBool::new(false));
    let folder = mount.path().to_owned();
    let writer = (tree.clone(), over.clone());
    let thread = std::thread::spawn(move || {
        let (tree, over) = writer;
        let mut random = Random::new(seed());
        while !over.load(Ordering::Relaxed) {
            // A file in the making when the server dies counts for nothing: it is not in the tree.
            let mut new = Tree::starting_at(tree.lock().unwrap().next_name());
            match new.write_one(&folder, &mut random, true) {
                Ok(_) => tree.lock().unwrap().take_over(new),
                Err(_) => break,
            }
        }
    });
    wait_for(|| tree.lock().unwrap().next_name() > 8);
    std::thread::sleep(Duration::from_millis(Random::new(seed()).below(500)));
    export.kill();
    over.store(true, Ordering::Relaxed);
    export.start();
    thread.join().unwrap();
    mount.abandon();
    let tree = std::mem::take(&mut *tree.lock().unwrap());
    let mount = (system.mount)(&export.device);
    let kept = tree.verify(mount.path());
    assert!(kept > 0, "no file was promised in time");
    eprintln!("   {kept} files were there");
    let mut tree = tree;
    tree.fill(mount.path(), &mut Random::new(seed() + 1), 4 << 20);
    mount.unmount();
    (system.check)(&export.device);
    export.restart();
    let mount = (system.mount)(&export.device);
    tree.verify(mount.path());
    mount.unmount();
}
