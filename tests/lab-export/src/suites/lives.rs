//! The server killed under a guest's load, and the guest killed: what was promised is there in the
//! guest's next life. This front end loses its disk with the server, so both end together.
//!
//! What was promised is written, line by line, to a file on the machine outside.

use super::PATIENCE;
use super::files::Tree;
use super::killed::{FileSystem, rounds, seed, wait_for, write_files};
use super::load::{self, Load};
use crate::door::create;
use crate::pattern::Random;
use crate::shape::{ALL, Shape};
use crate::uml::Guest;
use crate::{host, inside};
use lab_suite::harness::Results;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The words that tell a guest to be such a life.
pub const LOAD: &str = "load";
pub const VERIFY: &str = "verify";

/// What dies first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The server, and a moment later the guest.
    Server,
    /// The guest alone: the same server serves the next one.
    Guest,
}

/// On the machine outside.
pub fn run(results: &mut Results) {
    for shape in ALL {
        let Some(mut suite) = results.suite(shape.name, "lives") else { continue };
        let mut case = |name: &str, work: &'static str, victim: Victim, rounds: u64| {
            suite.blocking_case(name, PATIENCE, move || {
                for round in 0..rounds {
                    story(shape, work, victim, round);
                }
            });
        };
        case("server_killed_under_writes_and_flushes", "raw", Victim::Server, rounds());
        case("guest_killed_under_writes_and_flushes", "raw", Victim::Guest, 1);
        case("server_killed_under_btrfs", "btrfs", Victim::Server, 1);
        if shape.conventional > 0 {
            case("server_killed_under_f2fs", "f2fs", Victim::Server, 1);
        }
    }
}

fn story(shape: Shape, work: &str, victim: Victim, round: u64) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = |what: &str| format!("{what}-{number}");
    let [socket, promises] =
        [name("life"), name("promises")].map(|name| format!("{}/{name}", host::folder()));
    let image = host::image_path();
    create(&image, &shape);
    let serve = || {
        host::Server::start(&["export", "vhost-user", image.to_str().unwrap(), "--socket", &socket])
    };
    let seed = seed().wrapping_add(round);
    let live = |what: &str| {
        let (promises, seed) = (name("promises"), seed.to_string());
        Guest::boot(std::slice::from_ref(&socket), &[what, work, shape.name, &promises, &seed])
    };

    let server = serve();
    let mut guest = live(LOAD);
    let enough = if work == "raw" { load::zones(&shape).len() } else { 8 };
    wait_for(|| {
        assert!(guest.runs(), "the guest ended by itself");
        lines(Path::new(&promises)).len() >= enough
    });
    let mut random = Random::new(seed);
    let wait = Duration::from_millis(random.below(500));
    std::thread::sleep(wait);
    let server = match victim {
        Victim::Server => {
            server.end("KILL").unwrap();
            std::thread::sleep(Duration::from_millis(random.below(100)));
            guest.kill();
            serve()
        }
        Victim::Guest => {
            guest.kill();
            server
        }
    };
    let promised = lines(Path::new(&promises)).len();
    eprintln!(
        "   round {round}: killed {wait:?} after {enough} promises, when there were {promised}"
    );
    assert_eq!(live(VERIFY).wait(PATIENCE), Ok(0), "the next life");
    server.end("TERM").unwrap();
    host::zblk(&["check", image.to_str().unwrap()]);
    host::remove_file(&image);
}

/// The numbers of a file's lines, but for one that is not at its end.
fn lines(path: &Path) -> Vec<Vec<u64>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let numbers = |line: &str| line.split(' ').map(|word| word.parse().unwrap()).collect();
    text[..whole].lines().map(numbers).collect()
}

/// In a guest: one life.
pub fn live(words: &[String]) {
    let [what, work, shape, promises, seed] = words else { panic!("a life: {words:?}") };
    let shape = ALL.into_iter().find(|known| known.name == shape).expect("a shape");
    let promises = Path::new(inside::SHARE).join(promises);
    let seed = seed.parse().expect("a number");
    let device = PathBuf::from("/dev/vda");
    match (what.as_str(), work.as_str()) {
        (LOAD, "raw") => load_zones(&device, &shape, seed, &promises),
        (LOAD, system) => load_files(&device, &FileSystem::named(system), &promises),
        (VERIFY, "raw") => {
            let mut promised = vec![0; load::zones(&shape).len()];
            for line in lines(&promises) {
                promised[line[0] as usize] = line[1];
            }
            assert!(promised.iter().all(|&bytes| bytes > 0), "{promised:?}");
            let kept = load::verify(&device, &shape, seed, &promised, None);
            eprintln!("   {kept} promised bytes were there");
        }
        (VERIFY, system) => {
            FileSystem::named(system).verify(&device, &mut Tree::read(&lines(&promises)));
        }
        other => panic!("{other:?}"),
    }
}

/// Makes a promise, which is outside on return.
fn promise(to: &Path, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(to).unwrap();
    file.write_all(line.as_bytes()).unwrap();
    file.sync_data().unwrap();
}

/// Ends only with the guest, or all zones full.
fn load_zones(device: &Path, shape: &Shape, seed: u64, promises: &Path) {
    let load = Load::start(device, shape, seed);
    let mut told = vec![0; load.progress.len()];
    while told.iter().any(|&bytes| bytes < shape.zone_capacity) {
        for (n, zone) in load.progress.iter().enumerate() {
            let bytes = zone.promised.load(Ordering::SeqCst);
            if bytes > told[n] {
                promise(promises, &format!("{n} {bytes}\n"));
                told[n] = bytes;
            }
        }
        // The load shall have the processor.
        std::thread::sleep(Duration::from_millis(1));
    }
    stay();
}

/// Ends only with the guest.
fn load_files(device: &Path, system: &FileSystem, promises: &Path) {
    let mount = system.begin(device);
    let written = write_files(mount.path(), |new| {
        promise(promises, &new.lines());
        true
    });
    // The server's end is one, and a full disk another.
    eprintln!("   {written:?}");
    stay();
}

/// Waits to be killed.
fn stay() {
    loop {
        std::thread::park();
    }
}
