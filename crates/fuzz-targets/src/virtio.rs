//! Virtqueues as a hostile guest lays them out.

use crate::world::{disk, list, new_image, open_backend};
use arbitrary::{Arbitrary, Unstructured};
use block_backend::image::{CreateOptions, GeometryConfig};
use block_export::{Export, Identity};
use power_cut::Content;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use virtio_blk::queue::{Command, InFlightLog, Setup, Signal, run as serve};
use virtio_blk::{Broken, Device, Negotiated, features};
use virtio_driver::{Driver, flags};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// How far an input can come.
pub const OUTCOMES: &[&str] = &["nothing", "answered", "a dead queue"];

type Memory = GuestMemoryMmap<()>;

const SPACE: u64 = 1 << 20;
const ZONE: u64 = 64 << 10;
const SIZE: u16 = 16;
/// Where data lies, beyond all that the driver lays out.
const DATA: u64 = SPACE / 2;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A request that is right, or nearly so.
    Request { kind: u8, zone: u8, sector: u8, sectors: u8, answer: u8 },
    /// Pieces of any kind.
    Chain { kind: u8, sector: u64, pieces: [Piece; 4], indirect: bool },
    /// The last chain once more.
    Again,
    /// Any word anywhere in the rings.
    Write { at: u16, value: u64 },
    /// The available index.
    Available(u16),
    /// The driver wakes the device here.
    Kick,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Piece {
    place: u8,
    addr: u64,
    len: u32,
    flags: u8,
}

const KINDS: [u32; 16] = [0, 1, 4, 8, 11, 13, 15, 16, 18, 20, 22, 24, 26, 2, 14, 0xffff_ffff];

impl Piece {
    fn place(self, header: u64) -> (u64, u32, u16) {
        let near = u64::from(self.addr as u16);
        let addr = match self.place % 8 {
            0..3 => header,
            3..5 => DATA + near,
            5 => SPACE - near % 64,
            6 => near,
            _ => self.addr,
        };
        let len = match self.place / 8 % 8 {
            0 | 1 => 16,
            2 => 512 * (self.len % 64),
            3 => 1,
            4 => self.len % 700,
            _ => self.len,
        };
        (addr, len, u16::from(self.flags) & (flags::WRITE | flags::INDIRECT))
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

fn image() -> &'static Content {
    static IMAGE: OnceLock<Content> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let geometry = GeometryConfig {
            size: 8 * ZONE,
            zone_size: ZONE,
            zone_capacity: Some(ZONE / 4 * 3),
            block_size: 512,
            conventional: 2,
            max_open: 2,
            max_active: 3,
        };
        crate::world::block_on(new_image(&CreateOptions::new(geometry)))
    })
}

#[derive(Clone, Default)]
struct Dead(Arc<AtomicBool>);

impl Signal for Dead {
    fn used(&mut self) {}

    fn broken(&mut self, _why: Broken) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct NoLog;

impl InFlightLog for NoLog {
    fn taken(&mut self, _head: u16) {}
    fn giving_back(&mut self, _head: u16) {}
    fn given_back(&mut self, _head: u16, _used: u16) {}
}

/// Tries one input.
pub fn run(data: &[u8]) -> &'static str {
    let mut bytes = Unstructured::new(data);
    let event_idx = bool::arbitrary(&mut bytes).unwrap();
    let steps: Vec<Step> = list(&mut bytes, 24);
    let content = image();
    RUNTIME.with(|runtime| runtime.block_on(play(content, event_idx, &steps)))
}

async fn play(content: &Content, event_idx: bool, steps: &[Step]) -> &'static str {
    let backend = open_backend(&disk(content)).await.unwrap();
    let export = Export::new(backend, Identity::new("fuzz", false).unwrap()).await.unwrap();
    let all = features::offered(export.characteristics());
    let negotiated = Negotiated::check(all, all, export.characteristics()).unwrap();
    let device = Device::new(export.clone(), negotiated);
    let memory = Arc::new(Memory::from_ranges(&[(GuestAddress(0), SPACE as usize)]).unwrap());
    let mut driver = Driver::new(Arc::clone(&memory), 0, DATA, SIZE);
    let dead = Dead::default();
    let (reader, kick) = std::io::pipe().unwrap();
    let setup = Setup {
        queue: queue(&driver, event_idx),
        memory,
        enabled: true,
        device: device.clone(),
        kick: OwnedFd::from(reader),
        signal: dead.clone(),
        log: None::<NoLog>,
        unfinished: Vec::new(),
    };
    let (commands, mut receiver) = mpsc::unbounded_channel();
    let running = tokio::spawn(async move { serve(setup, &mut receiver).await });
    let mut last = 0;
    for step in steps {
        do_step(&mut driver, step, &mut last);
        if matches!(step, Step::Kick) {
            wake(&kick).await;
        }
    }
    wake(&kick).await;
    commands.send(Command::Stop).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(120), running);
    let position = ended.await.expect("the queue does not stop").unwrap();
    let is_dead = dead.0.load(Ordering::SeqCst);
    // What is checked below may be what the guest overwrote.
    let lied = steps.iter().any(|step| matches!(step, Step::Write { .. } | Step::Chain { .. }));
    if !is_dead && !lied {
        assert_eq!(driver.used_index(), position, "a chain was not given back");
    }
    is_sound(&export, &device).await;
    export.close().await.unwrap();
    match position {
        _ if is_dead => "a dead queue",
        0 => "nothing",
        _ => "answered",
    }
}

fn queue(driver: &Driver, event_idx: bool) -> Queue {
    let mut queue = Queue::new(SIZE).unwrap();
    queue.try_set_desc_table_address(GuestAddress(driver.table())).unwrap();
    queue.try_set_avail_ring_address(GuestAddress(driver.available())).unwrap();
    queue.try_set_used_ring_address(GuestAddress(driver.used())).unwrap();
    queue.set_event_idx(event_idx);
    queue.set_ready(true);
    queue
}

/// Kicks, and lets the device do what it can.
async fn wake(mut kick: &std::io::PipeWriter) {
    use std::io::Write;
    kick.write_all(&[1]).unwrap();
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

fn do_step(driver: &mut Driver, step: &Step, last: &mut u16) {
    let kind = |kind: u8| KINDS[usize::from(kind) % KINDS.len()];
    match *step {
        Step::Request { kind: k, zone, sector, sectors, answer } => {
            let kind = kind(k);
            let sector = u64::from(zone % 9) * (ZONE / 512) + u64::from(sector);
            let data = match kind {
                1 | 15 => vec![k; 512 * (usize::from(sectors) % 16)],
                11 | 13 => vec![k; usize::from(sectors)],
                _ => Vec::new(),
            };
            let answer = match kind {
                0 => 512 * (u32::from(sectors) % 16),
                15 => 8,
                _ => u32::from(answer) * 4,
            };
            driver.rewind();
            let placed = driver.lay_out_with(kind, sector, &data, answer, Driver::indirect);
            *last = placed.head;
            driver.publish(placed.head);
        }
        Step::Chain { kind: k, sector, ref pieces, indirect } => {
            driver.rewind();
            let header = driver.header(kind(k), sector);
            let pieces = pieces.map(|piece| piece.place(header));
            *last = if indirect { driver.indirect(&pieces) } else { driver.chain(&pieces) };
            driver.publish(*last);
        }
        Step::Again => driver.publish(*last),
        Step::Write { at, value } => {
            let at = GuestAddress(u64::from(at) % 0x400);
            driver.memory().write_obj(value, at).unwrap();
        }
        Step::Available(index) => driver.set_available(index),
        Step::Kick => {}
    }
}

/// Whatever one queue did, the device obeys the rules of zones, and serves the next one.
async fn is_sound(export: &Export, device: &Device) {
    let zones = export.backend().report_zones(0, usize::MAX).await.unwrap();
    assert_eq!(zones.len(), 8);
    assert!(zones.iter().filter(|zone| zone.condition.is_open()).count() <= 2, "{zones:?}");
    assert!(zones.iter().filter(|zone| zone.condition.is_active()).count() <= 3, "{zones:?}");
    let memory = Arc::new(Memory::from_ranges(&[(GuestAddress(0), SPACE as usize)]).unwrap());
    let mut driver = Driver::new(Arc::clone(&memory), 0, DATA, SIZE);
    let placed = driver.request(4, 0, &[], 0);
    let chain = virtio_blk::Chain::walk(&*memory, driver.table(), SIZE, placed.head).unwrap();
    assert_eq!(device.serve(&memory, chain).await.unwrap().status, 0);
}
