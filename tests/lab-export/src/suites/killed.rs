//! The server killed under load: what it promised is there when it is started again.

use super::Cases;
use super::files::Tree;
use super::load::{self, Load, Progress};
use super::{btrfs, f2fs};
use crate::disk::{self, Disk};
use crate::door::{Door, Export};
use crate::pattern::{self, Random};
use crate::shape::Shape;
use crate::tools::{self, Mount};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub fn run(cases: &mut Cases<'_>) {
    cases.server_case("a_flush_does_not_promise_what_was_lost", unflushed);
    let file_systems: &[&str] =
        if cases.shape.conventional > 0 { &["btrfs", "f2fs"] } else { &["btrfs"] };
    if !cases.door.comes_back() {
        cases.server_case("what_is_written_through_is_not_lost", written_through);
        // The suite `lives` does it from outside.
        return;
    }
    cases.server_case("under_writes_and_flushes", |export, shape| {
        for round in 0..rounds() {
            raw_round(export, &shape, round);
        }
    });
    if cases.door == Door::UblkRecover {
        cases.server_case("a_device_that_waits_is_left_to_its_own_image", waiting);
    }
    for &name in file_systems {
        let system = FileSystem::named(name);
        cases.server_case(&format!("under_{name}"), move |export, _| file_system(export, system));
    }
}

/// The beginning of all random choices, which `LAB_SEED` sets.
pub fn seed() -> u64 {
    std::env::var("LAB_SEED").map_or(4711, |text| text.parse().expect("LAB_SEED is a number"))
}

pub fn rounds() -> u64 {
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
    if export.door().is_some_and(|door| !door.comes_back()) {
        flushed.expect_err("a disk without a server that flushes");
    } else if flushed.is_ok() {
        assert_eq!(written, data.len() as u64, "a flush promised what was lost");
        let disk = Disk::open(&export.device).unwrap();
        assert_eq!(disk.read(shape.start(zone), data.len()).unwrap(), data);
    }
}

/// Where nothing waits for a flush, nothing is lost without one, and none is promised.
fn written_through(export: &mut Export, shape: Shape) {
    let zone = shape.sequential(1);
    export.stop();
    *export = Export::of_zoned(Door::VhostUser, export.take_image(), &["--write-through"]);
    assert_eq!(disk::attribute(&export.device, "queue/write_cache"), "write through");
    let data = pattern::bytes(zone, 0, 1 << 16);
    Disk::open(&export.device).unwrap().write(shape.start(zone), &data).unwrap();
    export.kill();
    export.start();
    assert_eq!(disk::zones(&export.device)[zone as usize].written, data.len() as u64);
    let disk = Disk::open(&export.device).unwrap();
    assert_eq!(disk.read(shape.start(zone), data.len()).unwrap(), data);
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

fn raw_round(export: &mut Export, shape: &Shape, round: u64) {
    disk::reset_all(&export.device);
    let seed = seed().wrapping_add(round);
    let mut load = Load::start(&export.device, shape, seed);
    wait_for(|| load.has_begun());
    let wait = Random::new(seed).below(500);
    std::thread::sleep(Duration::from_millis(wait));
    export.kill();
    load.end();
    export.start();
    // Their requests ended when the new server took over.
    load.join();
    let unanswered: u64 = load.progress.iter().map(Progress::unanswered).sum();
    if export.door() == Some(Door::UblkRecover) {
        assert_eq!(unanswered, 0, "bytes of writes that were under way were told as failed");
    }
    let of = |what: fn(&Progress) -> &AtomicU64| -> Vec<u64> {
        load.progress.iter().map(|zone| what(zone).load(Ordering::SeqCst)).collect()
    };
    let [promised, begun] = [of(|zone| &zone.promised), of(|zone| &zone.begun)];
    let kept = load::verify(&export.device, shape, seed, &promised, Some(&begun));
    eprintln!(
        "   round {round}: killed after {wait} ms, {kept} promised bytes were there, {unanswered} bytes had no answer"
    );
    // It is a device like any other again.
    disk::reset_all(&export.device);
    let disk = Disk::open(&export.device).unwrap();
    disk.write(shape.start(shape.sequential(0)), &pattern::bytes(1, 0, 4096)).unwrap();
    disk.flush().unwrap();
    drop(disk);
    export.restart();
}

/// Waits for a minute at most.
pub fn wait_for(mut condition: impl FnMut() -> bool) {
    let looks = || condition().then_some(());
    tools::wait_for(Duration::from_secs(60), Duration::from_millis(5), looks)
        .expect("what the load waits for, within a minute");
}

/// A file system that a suite makes.
#[derive(Clone, Copy)]
pub struct FileSystem {
    make: fn(&Path),
    mount: fn(&Path) -> Mount,
    check: fn(&Path),
}

impl FileSystem {
    pub fn named(name: &str) -> Self {
        match name {
            "btrfs" => Self { make: btrfs::make, mount: btrfs::mount, check: btrfs::check },
            "f2fs" => Self { make: f2fs::make, mount: f2fs::mount, check: f2fs::check },
            _ => panic!("no file system {name}"),
        }
    }

    /// Makes and mounts it.
    pub fn begin(&self, device: &Path) -> Mount {
        (self.make)(device);
        (self.mount)(device)
    }

    /// What was promised is there, the file system can be used, and is sound.
    pub fn verify(&self, device: &Path, tree: &mut Tree) {
        let mount = (self.mount)(device);
        let kept = tree.verify(mount.path());
        assert!(kept > 0, "no file was promised in time");
        eprintln!("   {kept} files were there");
        tree.fill(mount.path(), &mut Random::new(seed() + 1), 4 << 20);
        mount.unmount();
        (self.check)(device);
    }
}

/// Writes files durably, until there is an error or one is `told` that wants no more.
pub fn write_files(folder: &Path, mut told: impl FnMut(Tree) -> bool) -> std::io::Result<()> {
    let mut random = Random::new(seed());
    for name in 0.. {
        let mut new = Tree::starting_at(name);
        new.write_one(folder, &mut random, true)?;
        if !told(new) {
            break;
        }
    }
    Ok(())
}

/// Files that were written durably are there after a kill, whatever came after them.
fn file_system(export: &mut Export, system: FileSystem) {
    let mount = system.begin(&export.device);
    let tree = Arc::new(Mutex::new(Tree::default()));
    let over = Arc::new(AtomicBool::new(false));
    let folder = mount.path().to_owned();
    let writer = (tree.clone(), over.clone());
    let thread = std::thread::spawn(move || {
        let (tree, over) = writer;
        // A file in the making when the server dies counts for nothing: it is not in the tree. Nor
        // does an error then.
        let _ = write_files(&folder, |new| {
            tree.lock().unwrap().take_over(new);
            !over.load(Ordering::Relaxed)
        });
    });
    wait_for(|| tree.lock().unwrap().next_name() > 8);
    std::thread::sleep(Duration::from_millis(Random::new(seed()).below(500)));
    export.kill();
    over.store(true, Ordering::Relaxed);
    export.start();
    thread.join().unwrap();
    mount.abandon();
    let mut tree = std::mem::take(&mut *tree.lock().unwrap());
    system.verify(&export.device, &mut tree);
    export.restart();
    let mount = (system.mount)(&export.device);
    tree.verify(mount.path());
    mount.unmount();
}
