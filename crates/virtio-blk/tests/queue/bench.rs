//! A queue with a driver on its other side, in one process.

use block_backend::BlockBackend;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use block_export::{Export, Identity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use virtio_blk::queue::{Command, InFlightLog, Setup, Signal, run};
use virtio_blk::{Broken, Device, Negotiated, features};
use virtio_driver::{Driver, Outcome, Placed};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryMmap};

pub type Memory = GuestMemoryMmap<()>;

pub const SPACE: u64 = 8 << 20;
pub const ZONE: u64 = 1 << 20;
pub const SECTORS: u64 = ZONE / 512;

/// How often something is looked for, with a millisecond between, before it is missing.
pub const ROUNDS: u32 = 60_000;

#[derive(Clone, Default)]
pub struct Told {
    pub used: Arc<AtomicU32>,
    pub broken: Arc<std::sync::Mutex<Option<Broken>>>,
}

impl Signal for Told {
    fn used(&mut self) {
        self.used.fetch_add(1, Ordering::SeqCst);
    }

    fn broken(&mut self, why: Broken) {
        *self.broken.lock().unwrap() = Some(why);
    }
}

pub struct NoLog;

impl InFlightLog for NoLog {
    fn taken(&mut self, _head: u16) {}
    fn giving_back(&mut self, _head: u16) {}
    fn given_back(&mut self, _head: u16, _used: u16) {}
}

pub struct Bench {
    pub driver: Driver,
    pub told: Told,
    pub kick: EventFd,
    pub commands: mpsc::UnboundedSender<Command<Memory, Told>>,
    pub device: Device,
    pub queue: JoinHandle<u16>,
    _dir: tempfile::TempDir,
}

#[derive(Clone, Copy)]
pub struct Shape {
    pub size: u16,
    pub event_idx: bool,
    pub accept: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { size: 64, event_idx: false, accept: !0 }
    }
}

pub fn rings(driver: &Driver, shape: Shape) -> Queue {
    let mut queue = Queue::new(shape.size).unwrap();
    queue.try_set_desc_table_address(GuestAddress(driver.table())).unwrap();
    queue.try_set_avail_ring_address(GuestAddress(driver.available())).unwrap();
    queue.try_set_used_ring_address(GuestAddress(driver.used())).unwrap();
    queue.set_event_idx(shape.event_idx);
    queue.set_ready(true);
    queue
}

pub async fn bench(shape: Shape) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.zbd");
    let geometry = GeometryConfig {
        size: 8 * ZONE,
        zone_size: ZONE,
        block_size: 512,
        conventional: 2,
        max_open: 2,
        max_active: 3,
        ..GeometryConfig::default()
    };
    create_zoned(&path, &CreateOptions::new(geometry), false).await.unwrap();
    let backend = BlockBackend::open(path.to_str().unwrap()).await.unwrap();
    let export = Export::new(backend, Identity::new("abc", false).unwrap()).await.unwrap();
    let offered = features::offered(export.characteristics());
    let accepted = offered & shape.accept;
    let negotiated = Negotiated::check(accepted, offered, export.characteristics()).unwrap();
    let memory =
        Arc::new(Memory::from_ranges(&[(GuestAddress(0), SPACE.try_into().unwrap())]).unwrap());
    let driver = Driver::new(Arc::clone(&memory), 0x1000, SPACE, shape.size);
    let kick = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
    let told = Told::default();
    let (commands, mut receiver) = mpsc::unbounded_channel();
    let device = Device::new(export, negotiated);
    let setup = Setup {
        queue: rings(&driver, shape),
        memory,
        enabled: true,
        device: device.clone(),
        kick: kick.as_fd().try_clone_to_owned().unwrap(),
        signal: told.clone(),
        log: None::<NoLog>,
        unfinished: Vec::new(),
    };
    let queue = tokio::spawn(async move { run(setup, &mut receiver).await });
    Bench { driver, told, kick, commands, device, queue, _dir: dir }
}

impl Bench {
    pub async fn used(&mut self) -> (u16, u32) {
        for _ in 0..ROUNDS {
            if let Some(used) = self.driver.take_used() {
                return used;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("nothing came back: {:?}", self.told.broken.lock().unwrap());
    }

    pub async fn outcome(&mut self, placed: &Placed) -> Outcome {
        self.kick.write(1).unwrap();
        let (head, written) = self.used().await;
        assert_eq!(head, placed.head);
        self.driver.outcome(placed, written)
    }

    pub async fn ask(&mut self, kind: u32, sector: u64, data: &[u8], answer: u32) -> Outcome {
        self.driver.rewind();
        let placed = self.driver.request(kind, sector, data, answer);
        self.outcome(&placed).await
    }

    pub async fn broken(&mut self) -> Broken {
        self.kick.write(1).unwrap();
        for _ in 0..ROUNDS {
            if let Some(why) = *self.told.broken.lock().unwrap() {
                return why;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the queue lives");
    }

    pub async fn stop(self) -> u16 {
        self.commands.send(Command::Stop).unwrap();
        tokio::time::timeout(Duration::from_secs(120), self.queue).await.unwrap().unwrap()
    }
}
