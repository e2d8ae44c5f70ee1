//! A queue with a driver on its other side, in one process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use block_backend::BlockBackend;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use block_export::{Export, Identity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use virtio_blk::queue::{Command, InFlightLog, Setup, Signal, run};
use virtio_blk::{Broken, Device, Negotiated, features};
use virtio_driver::{Driver, Outcome, Placed, UNTOUCHED, flags};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, Permissions};

type Memory = GuestMemoryMmap<()>;

const SPACE: u64 = 8 << 20;
const ZONE: u64 = 1 << 20;
const SECTORS: u64 = ZONE / 512;

#[derive(Clone, Default)]
struct Told {
    used: Arc<AtomicU32>,
    broken: Arc<std::sync::Mutex<Option<Broken>>>,
}

impl Signal for Told {
    fn used(&mut self) {
        self.used.fetch_add(1, Ordering::SeqCst);
    }

    fn broken(&mut self, why: Broken) {
        *self.broken.lock().unwrap() = Some(why);
    }
}

struct NoLog;

impl InFlightLog for NoLog {
    fn taken(&mut self, _head: u16) {}
    fn giving_back(&mut self, _head: u16) {}
    fn given_back(&mut self, _head: u16, _used: u16) {}
}

struct Bench {
    driver: Driver,
    told: Told,
    kick: EventFd,
    commands: mpsc::UnboundedSender<Command<Memory, Told>>,
    device: Device,
    queue: JoinHandle<u16>,
    _dir: tempfile::TempDir,
}

#[derive(Clone, Copy)]
struct Shape {
    size: u16,
    event_idx: bool,
    accept: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { size: 64, event_idx: false, accept: !0 }
    }
}

fn rings(driver: &Driver, shape: Shape) -> Queue {
    let mut queue = Queue::new(shape.size).unwrap();
    queue.try_set_desc_table_address(GuestAddress(driver.table())).unwrap();
    queue.try_set_avail_ring_address(GuestAddress(driver.available())).unwrap();
    queue.try_set_used_ring_address(GuestAddress(driver.used())).unwrap();
    queue.set_event_idx(shape.event_idx);
    queue.set_ready(true);
    queue
}

async fn bench(shape: Shape) -> Bench {
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
    async fn used(&mut self) -> (u16, u32) {
        for _ in 0..2000 {
            if let Some(used) = self.driver.take_used() {
                return used;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("nothing came back: {:?}", self.told.broken.lock().unwrap());
    }

    async fn outcome(&mut self, placed: &Placed) -> Outcome {
        self.kick.write(1).unwrap();
        let (head, written) = self.used().await;
        assert_eq!(head, placed.head);
        self.driver.outcome(placed, written)
    }

    async fn ask(&mut self, kind: u32, sector: u64, data: &[u8], answer: u32) -> Outcome {
        self.driver.rewind();
        let placed = self.driver.request(kind, sector, data, answer);
        self.outcome(&placed).await
    }

    async fn broken(&mut self) -> Broken {
        self.kick.write(1).unwrap();
        for _ in 0..2000 {
            if let Some(why) = *self.told.broken.lock().unwrap() {
                return why;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the queue lives");
    }

    async fn stop(self) -> u16 {
        self.commands.send(Command::Stop).unwrap();
        tokio::time::timeout(Duration::from_secs(10), self.queue).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn requests_come_back_done() {
    let mut bench = bench(Shape::default()).await;
    assert_eq!(bench.ask(1, 2 * SECTORS, &[7; 1024], 0).await.status, 0);
    let read = bench.ask(0, 2 * SECTORS, &[], 1024).await;
    assert_eq!((read.status, read.written, read.data), (0, 1025, vec![7; 1024]));
    let append = bench.ask(15, 2 * SECTORS, &[8; 512], 15).await;
    assert_eq!(append.status, 0);
    assert_eq!(append.data[..8], (2 * SECTORS + 2).to_le_bytes());
    let id = bench.ask(8, 0, &[], 20).await;
    assert_eq!((id.status, &id.data[..4]), (0, &b"abc\0"[..]));
    assert_eq!(bench.ask(4, 0, &[], 0).await.status, 0);
    assert_eq!(bench.stop().await, 5);
}

#[tokio::test]
async fn a_chain_may_be_cut_anywhere() {
    let mut bench = bench(Shape::default()).await;
    let header = bench.driver.header(1, 2 * SECTORS);
    let data = bench.driver.place(512, 1);
    bench.driver.write(data, &[5; 512]);
    let status = bench.driver.place(1, 1);
    bench.driver.write(status, &[UNTOUCHED]);
    let pieces = [
        (header, 7, 0),
        (header + 7, 9, 0),
        (data, 1, 0),
        (data + 1, 510, 0),
        (data + 511, 1, 0),
        (status, 1, flags::WRITE),
    ];
    let head = bench.driver.indirect(&pieces);
    bench.driver.publish(head);
    let placed = Placed { head, answer: 0, answer_len: 0, status };
    assert_eq!(bench.outcome(&placed).await.status, 0);
    // The status may be the last byte of the data's own descriptor.
    bench.driver.rewind();
    let header = bench.driver.header(0, 2 * SECTORS);
    let answer = bench.driver.place(513, 512);
    let head = bench.driver.chain(&[(header, 16, 0), (answer, 513, flags::WRITE)]);
    bench.driver.publish(head);
    let placed = Placed { head, answer, answer_len: 513, status: answer + 512 };
    let outcome = bench.outcome(&placed).await;
    assert_eq!((outcome.status, outcome.written), (0, 513));
    assert_eq!(outcome.data[..512], [5; 512]);
}

#[tokio::test]
async fn one_notification_serves_a_batch() {
    let shape = Shape { event_idx: true, ..Shape::default() };
    let mut bench = bench(shape).await;
    let placed: Vec<_> = (0..16).map(|_| bench.driver.lay_out(0, 0, &[], 512)).collect();
    bench.driver.set_used_event(15);
    for placed in &placed {
        bench.driver.publish(placed.head);
    }
    bench.kick.write(1).unwrap();
    for _ in 0..16 {
        bench.used().await;
    }
    assert_eq!(bench.told.used.load(Ordering::SeqCst), 1);
    assert_eq!(bench.stop().await, 16);
}

#[tokio::test]
async fn a_driver_that_looks_by_itself_is_not_notified() {
    let mut bench = bench(Shape::default()).await;
    bench.driver.write(bench.driver.available(), &[1, 0]);
    assert_eq!(bench.ask(4, 0, &[], 0).await.status, 0);
    assert_eq!(bench.told.used.load(Ordering::SeqCst), 0);
    bench.driver.write(bench.driver.available(), &[0, 0]);
    assert_eq!(bench.ask(4, 0, &[], 0).await.status, 0);
    assert_eq!(bench.told.used.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_disabled_queue_takes_nothing() {
    let mut bench = bench(Shape::default()).await;
    bench.commands.send(Command::Enable(false)).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let placed = bench.driver.request(4, 0, &[], 0);
    bench.kick.write(1).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.driver.take_used(), None);
    bench.commands.send(Command::Enable(true)).unwrap();
    assert_eq!(bench.used().await.0, placed.head);
}

#[tokio::test]
async fn memory_may_be_exchanged_between_requests() {
    let mut bench = bench(Shape::default()).await;
    assert_eq!(bench.ask(4, 0, &[], 0).await.status, 0);
    let (told, done) = oneshot::channel();
    let nothing = Arc::new(Memory::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
    bench.commands.send(Command::Memory(nothing, told)).unwrap();
    done.await.unwrap();
    assert_eq!(bench.broken().await, Broken::Available);
    assert_eq!(bench.stop().await, 1);
}

/// What breaks the rings kills the queue: nothing more is taken, and it can still be stopped.
async fn kills(shape: Shape, make: impl FnOnce(&mut Driver)) -> Broken {
    let mut bench = bench(shape).await;
    make(&mut bench.driver);
    let why = bench.broken().await;
    // What was under way before still comes back.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = bench.driver.used_index();
    bench.driver.rewind();
    if bench.driver.available_index() < 100 {
        bench.driver.request(4, 0, &[], 0);
    }
    bench.kick.write(1).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.driver.used_index(), before, "a dead queue gives nothing back");
    bench.stop().await;
    why
}

#[tokio::test]
async fn rings_that_make_no_sense_kill_the_queue() {
    let shape = Shape::default();
    let why = kills(shape, |driver| driver.set_available(65)).await;
    assert_eq!(why, Broken::Available, "the index jumps by more than the queue holds");
    let why = kills(shape, |driver| driver.publish(64)).await;
    assert_eq!(why, Broken::Endless { head: 64 }, "no such descriptor");
    let why = kills(shape, |driver| {
        driver.set(0, virtio_driver::Descriptor::new(0, 16, flags::NEXT, 0));
        driver.publish(0);
    })
    .await;
    assert_eq!(why, Broken::Endless { head: 0 });
    let why = kills(shape, |driver| {
        let header = driver.header(4, 0);
        let head = driver.chain(&[(header, 16, 0)]);
        driver.publish(head);
    })
    .await;
    assert_eq!(why, Broken::NoStatus { head: 0 });
    let why = kills(shape, |driver| {
        let header = driver.header(4, 0);
        let head = driver.chain(&[(header, 16, 0), (SPACE, 1, flags::WRITE)]);
        driver.publish(head);
    })
    .await;
    assert_eq!(why, Broken::NoStatus { head: 0 }, "the status lies outside of memory");
    let why = kills(shape, |driver| {
        let placed = driver.lay_out(15, 2 * SECTORS, &[1; 512], 15);
        driver.publish(placed.head);
        driver.publish(placed.head);
    })
    .await;
    assert_eq!(why, Broken::Twice { head: 0 });
}

#[tokio::test]
async fn a_request_that_is_wrong_in_itself_gets_an_error() {
    let mut bench = bench(Shape::default()).await;
    let wrong = [
        (0, 0, 0, 511),            // half a sector
        (0, 0, 0, 0),              // nothing to read
        (0, 0, 512, 512),          // data both ways
        (1, 2 * SECTORS, 0, 512),  // data the wrong way
        (1, 2 * SECTORS, 0, 0),    // nothing to write
        (1, u64::MAX, 512, 0),     // an offset that overflows
        (0, 8 * SECTORS, 0, 512),  // past the end
        (8, 0, 0, 0),              // no room for an identity
        (15, 2 * SECTORS, 512, 7), // no room for the position
    ];
    for (kind, sector, data, answer) in wrong {
        let outcome = bench.ask(kind, sector, &vec![1; data], answer).await;
        assert_eq!(outcome.status, 1, "{kind} at {sector}");
    }
    // A header that is too short, or that lies outside of memory.
    for (addr, len) in [(0x800, 15), (SPACE - 8, 16), (u64::MAX - 3, 16)] {
        bench.driver.rewind();
        let status = bench.driver.place(1, 1);
        let head = bench.driver.chain(&[(addr, len, 0), (status, 1, flags::WRITE)]);
        bench.driver.publish(head);
        let placed = Placed { head, answer: 0, answer_len: 0, status };
        assert_eq!(bench.outcome(&placed).await.status, 1);
    }
    // Data outside of memory, and of all of 4 GiB.
    for (addr, len) in [(SPACE - 511, 512), (u64::MAX - 511, 512), (0, 0xffff_fe00)] {
        for (kind, flag) in [(0, flags::WRITE), (1, 0)] {
            bench.driver.rewind();
            let header = bench.driver.header(kind, 2 * SECTORS);
            let status = bench.driver.place(1, 1);
            let pieces = [(header, 16, 0), (addr, len, flag), (status, 1, flags::WRITE)];
            let head = bench.driver.chain(&pieces);
            bench.driver.publish(head);
            let placed = Placed { head, answer: 0, answer_len: 0, status };
            assert_eq!(bench.outcome(&placed).await.status, 1, "{kind} {addr:#x} {len:#x}");
        }
    }
    assert_eq!(*bench.told.broken.lock().unwrap(), None);
}

#[tokio::test]
async fn a_driver_without_flush_has_every_write_durable() {
    let shape = Shape { accept: !features::FLUSH, ..Shape::default() };
    let mut bench = bench(shape).await;
    assert_eq!(bench.ask(1, 2 * SECTORS, &[7; 512], 0).await.status, 0);
}

/// A guest whose driver makes a request available between two looks of the device.
struct BetweenLooks {
    memory: Memory,
    /// Where the available index is.
    index: u64,
    looks: AtomicU32,
}

impl vm_memory::GuestMemory for BetweenLooks {
    type PhysicalMemory = Memory;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        vm_memory::GuestMemory::check_range(&self.memory, addr, count, access)
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> vm_memory::GuestMemoryResult<impl vm_memory::guest_memory::GuestMemorySliceIterator<'a, ()>>
    {
        // The first look finds nothing; the second one is to make sure.
        if addr.0 == self.index && self.looks.fetch_add(1, Ordering::SeqCst) == 1 {
            self.memory.store(1_u16, GuestAddress(self.index), Ordering::SeqCst).unwrap();
        }
        vm_memory::GuestMemory::get_slices(&self.memory, addr, count, access)
    }
}

// SAFETY: the slices are those of the memory within.
unsafe impl virtio_blk::StableMemory for BetweenLooks {}

#[tokio::test]
async fn a_request_that_comes_while_the_device_looks_is_no_lie() {
    let bench = bench(Shape::default()).await;
    let same = Memory::from_ranges(&[(GuestAddress(0), SPACE.try_into().unwrap())]).unwrap();
    let mut driver = Driver::new(Arc::new(same.clone()), 0x1000, SPACE, 64);
    // Laid out, and in the ring, but its index is not there yet.
    let placed = driver.request(4, 0, &[], 0);
    driver.set_available(0);
    let index = driver.available() + 2;
    let memory = BetweenLooks { memory: same, index, looks: AtomicU32::new(0) };
    let (commands, mut receiver) = mpsc::unbounded_channel();
    let told = Told::default();
    let setup = Setup {
        queue: rings(&driver, Shape::default()),
        memory: Arc::new(memory),
        enabled: true,
        device: bench.device.clone(),
        kick: bench.kick.as_fd().try_clone_to_owned().unwrap(),
        signal: told.clone(),
        log: None::<NoLog>,
        unfinished: Vec::new(),
    };
    let queue = tokio::spawn(async move { run(setup, &mut receiver).await });
    for _ in 0..2000 {
        if driver.used_index() == 1 || told.broken.lock().unwrap().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(*told.broken.lock().unwrap(), None);
    assert_eq!(driver.outcome(&placed, 0).status, 0);
    commands.send(Command::Stop).unwrap();
    assert_eq!(queue.await.unwrap(), 1);
}
