//! VDUSE as a VMM has it: through `vhost_vdpa`, without a file of the kernel's in between.
//!
//! The front end is a VMM without a machine, `virtio_driver::Vdpa`. What it expects is virtio 1.3,
//! 5.2.6: neither the server nor the kernel's driver is asked.

use super::PATIENCE;
use super::vduse::Named;
use crate::door::create;
use crate::host::{image_path, zblk};
use crate::pattern::{self, Random};
use crate::shape::{ALL, Shape};
use crate::tools::run;
use lab_suite::harness::Suite;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use virtio_driver::told::{INVALID, IOERR, OK, UNALIGNED, UNSUPP};
use virtio_driver::{Outcome, Vdpa, kind, status};

/// The word that tells this program to be a front end that is killed.
pub const APPEND: &str = "append";

/// `VIRTIO_BLK_F_ZONED`.
const ZONED: u64 = 1 << 17;

/// What a queue has of the guest's memory, and how many descriptors.
const ARENA: u64 = 2 << 20;
const SIZE: u16 = 128;

/// What the front end that is killed appends at once: one request. Zones hold a multiple of sixteen.
const PIECE: usize = 16 << 10;
/// What it appends to: too much to be full before the kill.
const APPENDED: Shape = ALL[0];

/// A zone's state: written to its end.
const FULL: u8 = 14;

pub fn run_all(suite: &mut Suite<'_>) {
    run("rmmod", &["virtio_vdpa"]);
    run("modprobe", &["vhost_vdpa"]);
    for shape in ALL {
        suite.blocking_case(&format!("requests_of_zones_{}", shape.name), PATIENCE, move || {
            requests(shape);
        });
    }
    suite.blocking_case("without_zones_it_is_refused", PATIENCE, refused);
    suite.blocking_case("memory_that_is_taken_away", PATIENCE, memory_comes_and_goes);
    suite.blocking_case("the_front_end_is_killed", PATIENCE, front_end_killed);
    suite.blocking_case("the_server_is_killed", PATIENCE, server_killed);
    run("rmmod", &["vhost_vdpa"]);
    run("modprobe", &["virtio_vdpa"]);
}

/// A device that a VMM can open.
struct Device {
    image: PathBuf,
    server: Named,
}

impl Device {
    fn new(shape: &Shape) -> Self {
        let image = image_path();
        create(&image, shape);
        let server = Self::serve(&image);
        Self { image, server }
    }

    fn serve(image: &Path) -> Named {
        Named::start(image.to_str().unwrap(), "vmm", &["--queues", "2"])
    }

    fn node(&self) -> &Path {
        self.server.device.as_deref().expect("a node")
    }

    fn open(&self) -> Vdpa {
        Vdpa::open(self.node(), 2, SIZE, ARENA).unwrap()
    }

    /// A front end with running queues.
    fn boot(&self) -> Vdpa {
        let vmm = self.open();
        vmm.boot().unwrap();
        vmm
    }

    /// The server ends as its user wants it, and the image is sound.
    fn stop(self) {
        self.server.stop();
        zblk(&["check", self.image.to_str().unwrap()]);
        std::fs::remove_file(&self.image).unwrap();
    }
}

fn sector(bytes: u64) -> u64 {
    bytes / 512
}

/// A request of the first queue that must end so.
#[track_caller]
fn expect(vmm: &mut Vdpa, told: u8, kind: u32, at: u64, data: &[u8], answer: u32) -> Outcome {
    let outcome = vmm.ask(0, kind, sector(at), data, answer);
    assert_eq!(outcome.status, told, "type {kind} at {at:#x}");
    outcome
}

fn number(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(eight)
}

/// A zone as a report tells it: sectors, type and state.
#[derive(Debug, PartialEq, Eq)]
struct Zone {
    capacity: u64,
    start: u64,
    pointer: u64,
    kind: u8,
    state: u8,
}

/// All zones that begin there or behind.
fn report(vmm: &mut Vdpa, from: u64, shape: &Shape) -> Vec<Zone> {
    let room = 64 * (shape.zones as u32 + 1);
    let told = expect(vmm, OK, kind::REPORT, from, &[], room).data;
    let (header, zones) = told.split_at(64);
    let zone = |bytes: &[u8]| Zone {
        capacity: number(&bytes[..8]),
        start: number(&bytes[8..16]),
        pointer: number(&bytes[16..24]),
        kind: bytes[24],
        state: bytes[25],
    };
    let all: Vec<Zone> = zones.chunks(64).map(zone).collect();
    all.into_iter().take(number(&header[..8]) as usize).collect()
}

fn requests(shape: Shape) {
    const SEQUENTIAL: u8 = 2;
    let device = Device::new(&shape);
    let mut vmm = device.boot();
    assert_eq!(vmm.device_id().unwrap(), 2, "a block device");
    assert_ne!(vmm.offered & ZONED, 0, "{:#x}", vmm.offered);
    let config = vmm.config(0, 0x60).unwrap();
    let field = |at: usize, len: usize| number(&config[at..at + len]);
    assert_eq!(field(0, 8), sector(shape.length()));
    assert_eq!(field(20, 4), u64::from(shape.block_size));
    assert_eq!(field(34, 2), 2, "queues");
    assert_eq!(field(72, 4), sector(shape.zone_size));
    assert_eq!([field(76, 4), field(80, 4)], [shape.max_open, shape.max_active].map(u64::from));
    assert_eq!(field(92, 1), 1, "host-managed");

    let first = shape.sequential(0);
    let start = shape.start(first);
    let empty = report(&mut vmm, 0, &shape);
    assert_eq!(empty.len() as u64, shape.zones);
    for (zone, number) in empty.iter().zip(0..) {
        let [is, capacity, state, pointer] = match shape.is_conventional(number) {
            true => [1, shape.zone_size, 0, zone.pointer],
            false => [SEQUENTIAL.into(), shape.zone_capacity, 1, sector(shape.start(number))],
        };
        let start = sector(shape.start(number));
        let capacity = sector(capacity);
        let expected = Zone { capacity, start, pointer, kind: is as u8, state: state as u8 };
        assert_eq!(*zone, expected, "zone {number}");
    }

    let block = shape.block_size as usize;
    let data = pattern::bytes(1, 0, 8 * block);
    let len = data.len() as u64;
    expect(&mut vmm, OK, kind::OUT, start, &data, 0);
    // Behind the pointer, and before it.
    expect(&mut vmm, UNALIGNED, kind::OUT, start, &data, 0);
    expect(&mut vmm, UNALIGNED, kind::OUT, start + 2 * len, &data, 0);
    let appended = expect(&mut vmm, OK, kind::APPEND, start, &data, 8);
    assert_eq!(number(&appended.data), sector(start + len));
    expect(&mut vmm, INVALID, kind::APPEND, start + len, &data, 8);
    expect(&mut vmm, OK, kind::FLUSH, 0, &[], 0);
    let read = expect(&mut vmm, OK, kind::IN, start, &[], 2 * len as u32);
    assert_eq!(read.data, [&data[..], &data].concat());
    assert_eq!(read.written, 2 * len as u32 + 1);
    let written = &report(&mut vmm, start, &shape)[0];
    assert_eq!((written.pointer, written.state), (sector(start + 2 * len), 2));

    expect(&mut vmm, OK, kind::OPEN, shape.start(first + 1), &[], 0);
    expect(&mut vmm, OK, kind::FINISH, shape.start(first + 2), &[], 0);
    expect(&mut vmm, OK, kind::RESET, start, &[], 0);
    let states: Vec<u8> =
        report(&mut vmm, start, &shape)[..3].iter().map(|zone| zone.state).collect();
    assert_eq!(states, [1, 3, 14], "empty, explicitly open, full");
    let read = expect(&mut vmm, OK, kind::IN, start, &[], len as u32);
    assert!(read.data.iter().all(|&byte| byte == 0), "a zone that was reset");

    let end = shape.length();
    assert_ne!(expect_any(&mut vmm, kind::OUT, end, &data), OK);
    assert_ne!(expect_any(&mut vmm, kind::IN, u64::MAX / 2, &[]), OK);
    expect(&mut vmm, INVALID, kind::RESET, start + u64::from(shape.block_size), &[], 0);
    expect(&mut vmm, UNSUPP, kind::SECURE_ERASE, 0, &[0; 16], 0);
    // The other queue sees the same disk.
    vmm.queues[0].driver.rewind();
    assert_eq!(vmm.ask(1, kind::OUT, sector(start), &data, 0).status, OK);
    assert_eq!(expect(&mut vmm, OK, kind::IN, start, &[], len as u32).data, data);
    drop(vmm);
    device.stop();
}

/// The status of a request that is wrong in more than one way.
fn expect_any(vmm: &mut Vdpa, kind: u32, at: u64, data: &[u8]) -> u8 {
    let answer = if data.is_empty() { 512 } else { 0 };
    vmm.ask(0, kind, sector(at), data, answer).status
}

/// A driver that takes a host-managed disk for a regular one would destroy its data.
fn refused() {
    let device = Device::new(&ALL[0]);
    let vmm = device.open();
    let agreed = vmm.accept(!ZONED).unwrap();
    let runs = vmm.add_status(status::DRIVER_OK).unwrap();
    assert!(!agreed || !runs, "a driver without zones");
    // It may learn better.
    vmm.boot().unwrap();
    drop(vmm);
    device.stop();
}

/// A VMM maps and unmaps while the queues run, as it does when its guest gets or loses memory.
fn memory_comes_and_goes() {
    let shape = ALL[0];
    let device = Device::new(&shape);
    let mut vmm = device.open();
    assert!(vmm.accept(!0).unwrap());
    // The second half of the second queue's arena comes and goes.
    let all = vmm.all();
    let [base, more] = [0..all.end - ARENA / 2, all.end - ARENA / 2..all.end];
    vmm.share(&base).unwrap();
    for queue in [0, 1] {
        vmm.start(queue).unwrap();
    }
    assert!(vmm.add_status(status::DRIVER_OK).unwrap());
    let data = pattern::bytes(2, 0, 4096);
    let start = shape.start(shape.sequential(0));
    expect(&mut vmm, OK, kind::OUT, start, &data, 0);
    for _ in 0..20 {
        assert_eq!(read_into(&mut vmm, more.start, start).0, IOERR, "memory that is not there");
        vmm.share(&more).unwrap();
        assert_eq!(read_into(&mut vmm, more.start, start), (OK, data.clone()));
        vmm.unshare(&more).unwrap();
        assert_eq!(expect(&mut vmm, OK, kind::IN, start, &[], 4096).data, data);
    }
    assert_eq!(read_into(&mut vmm, more.start, start).0, IOERR, "memory that was taken away");
    drop(vmm);
    device.stop();
}

/// Reads 4 KiB into memory at this place, through the second queue.
fn read_into(vmm: &mut Vdpa, place: u64, at: u64) -> (u8, Vec<u8>) {
    use virtio_driver::flags::WRITE;
    let queue = &mut vmm.queues[1];
    queue.driver.rewind();
    queue.driver.write(place, &[0; 4096]);
    let header = queue.driver.header(kind::IN, sector(at));
    let told = queue.driver.place(1, 1);
    let head = queue.driver.chain(&[(header, 16, 0), (place, 4096, WRITE), (told, 1, WRITE)]);
    queue.driver.publish(head);
    queue.kick();
    assert_eq!(queue.used().0, head);
    (queue.driver.read(told, 1)[0], queue.driver.read(place, 4096))
}

/// What a front end was answered before it was killed is there for the next one, and what it was not
/// is there as a whole or not at all.
fn front_end_killed() {
    let shape = APPENDED;
    let device = Device::new(&shape);
    let first = shape.start(shape.sequential(0));
    let mut random = Random::new(super::killed::seed());
    for round in 0..super::killed::rounds() {
        let after = 1 + random.below(200);
        let told = told_until_killed(device.node(), after as usize);
        let mut vmm = device.boot();
        let mut all = HashMap::new();
        for zone in report(&mut vmm, first, &shape) {
            let sectors = match zone.state {
                FULL => zone.capacity,
                _ => zone.pointer - zone.start,
            };
            assert_eq!(sectors % sector(PIECE as u64), 0, "a part of an append in {zone:?}");
            for at in (zone.start..zone.start + sectors).step_by(PIECE / 512) {
                let piece = expect(&mut vmm, OK, kind::IN, at * 512, &[], PIECE as u32).data;
                let value = number(&piece[..8]);
                assert!(piece.chunks(8).all(|word| number(word) == value), "torn at {at}");
                let other = all.insert(value, at);
                assert_eq!(other, None, "append {value} is at {at}, too");
            }
            if sectors > 0 {
                expect(&mut vmm, OK, kind::RESET, zone.start * 512, &[], 0);
            }
        }
        for &(at, value) in &told {
            assert_eq!(all.get(&value), Some(&at), "append {value} was told to be at {at}");
        }
        eprintln!(
            "   round {round}: killed after {after} answers; {} told, {} there",
            told.len(),
            all.len()
        );
    }
    device.stop();
}

/// Has another process append until it has told of so many appends, and kills it. All that it told:
/// where an append is, in sectors, and what it is.
fn told_until_killed(node: &Path, after: usize) -> Vec<(u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([APPEND, node.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut text: Vec<String> = lines.by_ref().take(after).collect();
    child.kill().unwrap();
    let end = child.wait().unwrap();
    assert_eq!(end.signal(), Some(9), "the front end ended by itself: {end}");
    text.extend(lines);
    let mut told = Vec::new();
    for (index, line) in text.iter().enumerate() {
        match line.strip_suffix('.').and_then(|line| line.split_once(' ')) {
            Some((at, value)) => told.push((at.parse().unwrap(), value.parse().unwrap())),
            None => assert_eq!(index + 1, text.len(), "only the last may be cut short: {line:?}"),
        }
    }
    assert!(!told.is_empty(), "nothing was told: {text:?}");
    told
}

/// Appends to one zone after another until it is killed, on both queues, eight at a time. Tells of
/// each that is answered: where it is, in sectors, and what it is.
pub fn append(words: &[String]) {
    const AT_ONCE: u64 = 8;
    let [_, node] = words else { panic!("{words:?}") };
    let shape = APPENDED;
    let mut vmm = Vdpa::open(Path::new(node), 2, SIZE, ARENA).unwrap();
    vmm.boot().unwrap();
    let rounds = shape.zone_capacity / (2 * AT_ONCE * PIECE as u64);
    let mut next = 1_u64;
    let zones = (shape.conventional..shape.zones).map(|zone| shape.start(zone));
    for zone in zones.flat_map(|zone| std::iter::repeat_n(zone, rounds as usize)) {
        let mut placed = Vec::new();
        for queue in 0..2 {
            let driver = &mut vmm.queues[queue].driver;
            driver.rewind();
            for _ in 0..AT_ONCE {
                let data = next.to_le_bytes().repeat(PIECE / 8);
                let request = driver.request(kind::APPEND, sector(zone), &data, 8);
                placed.push((queue, request, next));
                next += 1;
            }
            vmm.queues[queue].kick();
        }
        for _ in 0..AT_ONCE {
            for queue in 0..2 {
                let (head, written) = vmm.queues[queue].used();
                let of = |(on, request, _): &&(usize, virtio_driver::Placed, u64)| {
                    *on == queue && request.head == head
                };
                let (_, request, value) = placed.iter().find(of).expect("a request of ours");
                let outcome = vmm.queues[queue].driver.outcome(request, written);
                assert_eq!(outcome.status, OK, "append {value} to the zone at {zone:#x}");
                println!("{} {value}.", number(&outcome.data));
            }
        }
    }
    panic!("all zones are full, and nobody has killed this process");
}

/// The old device ends for the VMM, and the next server waits until the VMM lets go of it.
fn server_killed() {
    let shape = ALL[0];
    let start = shape.start(shape.sequential(0));
    let Device { image, server } = Device::new(&shape);
    let node = server.device.clone().unwrap();
    let mut vmm = Vdpa::open(&node, 2, SIZE, ARENA).unwrap();
    vmm.boot().unwrap();
    let data = pattern::bytes(3, 0, 4096);
    expect(&mut vmm, OK, kind::OUT, start, &data, 0);
    expect(&mut vmm, OK, kind::FLUSH, 0, &[], 0);
    server.kill();
    let waits = vmm.send(0, kind::OUT, sector(start + 4096), &data);
    let next = {
        let image = image.clone();
        std::thread::spawn(move || Device::serve(&image))
    };
    let (head, written) = vmm.queues[0].used();
    assert_eq!(head, waits.head);
    assert_eq!(vmm.queues[0].driver.outcome(&waits, written).status, IOERR);
    assert_eq!(vmm.ask(0, kind::FLUSH, 0, &[], 0).status, IOERR, "a flush of what may be lost");
    assert!(!next.is_finished(), "the VMM has it open");
    drop(vmm);
    let device = Device { image, server: next.join().unwrap() };
    let mut vmm = device.boot();
    let zone = &report(&mut vmm, start, &shape)[0];
    assert_eq!(zone.pointer, sector(start + 4096));
    assert_eq!(expect(&mut vmm, OK, kind::IN, start, &[], 4096).data, data);
    expect(&mut vmm, OK, kind::OUT, start + 4096, &data, 0);
    drop(vmm);
    device.stop();
}
