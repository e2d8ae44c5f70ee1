//! Rings, notifications and commands, and what kills a queue.

use crate::bench::{Memory, NoLog, ROUNDS, SECTORS, SPACE, Shape, Told, bench, rings};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use virtio_blk::Broken;
use virtio_blk::queue::{Command, Setup, run};
use virtio_driver::{Driver, flags};
use vm_memory::{Bytes, GuestAddress, Permissions};

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
    let (told, done) = oneshot::channel();
    bench.commands.send(Command::Enable(false, told)).unwrap();
    done.await.unwrap();
    let placed = bench.driver.request(4, 0, &[], 0);
    bench.kick.write(1).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.driver.take_used(), None);
    let (told, done) = oneshot::channel();
    bench.commands.send(Command::Enable(true, told)).unwrap();
    done.await.unwrap();
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

/// What breaks the rings kills the queue: nothing more is taken, and it can still be stopped. What
/// was `under_way` before still comes back: so many requests.
async fn kills(shape: Shape, under_way: u16, make: impl FnOnce(&mut Driver)) -> Broken {
    let mut bench = bench(shape).await;
    make(&mut bench.driver);
    let why = bench.broken().await;
    for _ in 0..ROUNDS {
        if bench.driver.used_index() >= under_way {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = bench.driver.used_index();
    assert_eq!(before, under_way, "what was under way comes back, and nothing else");
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
    let why = kills(shape, 0, |driver| driver.set_available(65)).await;
    assert_eq!(why, Broken::Available, "the index jumps by more than the queue holds");
    let why = kills(shape, 0, |driver| driver.publish(64)).await;
    assert_eq!(why, Broken::Endless { head: 64 }, "no such descriptor");
    let why = kills(shape, 0, |driver| {
        driver.set(0, virtio_driver::Descriptor::new(0, 16, flags::NEXT, 0));
        driver.publish(0);
    })
    .await;
    assert_eq!(why, Broken::Endless { head: 0 });
    let why = kills(shape, 0, |driver| {
        let header = driver.header(4, 0);
        let head = driver.chain(&[(header, 16, 0)]);
        driver.publish(head);
    })
    .await;
    assert_eq!(why, Broken::NoStatus { head: 0 });
    let why = kills(shape, 0, |driver| {
        let header = driver.header(4, 0);
        let head = driver.chain(&[(header, 16, 0), (SPACE, 1, flags::WRITE)]);
        driver.publish(head);
    })
    .await;
    assert_eq!(why, Broken::NoStatus { head: 0 }, "the status lies outside of memory");
    let why = kills(shape, 1, |driver| {
        let placed = driver.lay_out(15, 2 * SECTORS, &[1; 512], 15);
        driver.publish(placed.head);
        driver.publish(placed.head);
    })
    .await;
    assert_eq!(why, Broken::Twice { head: 0 });
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
    for _ in 0..ROUNDS {
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
