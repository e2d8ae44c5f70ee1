use super::*;
use crate::kernel::fake::{Fake, Side, eventually, pair};
use block_export::{Heard, Identity};
use std::time::Duration;
use virtio_driver::Driver;
use virtio_driver::kind::{FLUSH, IN};

/// ACKNOWLEDGE, DRIVER, FEATURES_OK, and with DRIVER_OK too.
const NEGOTIATED: u32 = 0b1011;
const RUNNING: u32 = 0b1111;

struct Bench {
    side: Side,
    export: Export,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Result<()>>,
}

async fn export(image: &str) -> Export {
    let backend = block_backend::BlockBackend::open(image).await.unwrap();
    Export::new(backend, Identity::default()).await.unwrap()
}

/// A device of this image with a driver that has laid out its queues.
async fn bench(image: &str, queues: u16, change: impl FnOnce(&mut Side)) -> Bench {
    let export = export(image).await;
    let (fake, mut side) = pair(queues, offered(&export));
    change(&mut side);
    let protocol = Protocol::new(fake, export.clone(), queues, None);
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(protocol.run(stopped, export.announcements()));
    Bench { side, export, stop: Some(stop), serving }
}

async fn fast(queues: u16, change: impl FnOnce(&mut Side)) -> Bench {
    bench("driver=null,size=1M", queues, change).await
}

/// A device that takes a while for each request.
async fn slow() -> Bench {
    bench("driver=null,size=1M,latency-ns=300000000", 1, |_| {}).await
}

impl Bench {
    fn driver(&mut self) -> &mut Driver {
        &mut self.side.drivers[0]
    }

    async fn start(&self) {
        assert!(self.side.set_status(NEGOTIATED).await);
        assert!(self.side.set_status(RUNNING).await);
    }

    /// A request is taken, and not yet answered.
    async fn begin_slow_request(&mut self) {
        self.start().await;
        self.driver().request(IN, 0, &[], 512);
        self.side.kick(0);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(self.driver().used_index(), 0);
    }

    /// The image becomes larger, and the device with it.
    async fn grow(&self, length: u64) -> block_backend::Result<Heard> {
        self.export.backend().resize(length).await.unwrap();
        self.export.look_again().await?.heard
    }

    /// The status of a read.
    async fn read_at_1_mib(&mut self) -> u8 {
        let before = self.driver().used_index();
        let placed = self.driver().request(IN, 1 << 11, &[], 512);
        self.side.kick(0);
        eventually("an answer", || self.side.drivers[0].used_index() != before).await;
        let (_, written) = self.driver().take_used().unwrap();
        self.driver().outcome(&placed, written).status
    }

    async fn end(mut self) -> Side {
        drop(self.stop.take());
        tokio::time::timeout(Duration::from_secs(5), self.serving).await.unwrap().unwrap().unwrap();
        self.side
    }
}

#[tokio::test]
async fn a_driver_is_told_of_answers_that_were_ready_before_its_status_was_noted() {
    let mut bench = fast(2, |side| {
        for driver in &mut side.drivers {
            driver.request(FLUSH, 0, &[], 0);
        }
    })
    .await;
    bench.start().await;
    eventually("the answers", || bench.side.drivers.iter().all(|d| d.used_index() == 1)).await;
    let fake = bench.side.fake.clone();
    eventually("interrupts", || fake.state().interrupts.iter().all(|n| *n > 0)).await;
    assert!(bench.driver().take_used().is_some());
    bench.end().await;
}

#[tokio::test]
async fn messages_are_answered_while_the_kernel_never_notes_the_status() {
    let bench = fast(1, |_| {}).await;
    assert!(bench.side.set_status(NEGOTIATED).await);
    // The driver was killed while it waited, so that the status stays as it was.
    bench.side.send(1, RUNNING);
    assert!(bench.side.answer().await.0);
    bench.side.send(1, 0);
    assert!(bench.side.answer().await.0);
    let tried = bench.side.fake.state().refused;
    assert!((1..1000).contains(&tried), "tried {tried} times before the message was answered");
    bench.end().await;
}

#[tokio::test]
async fn a_driver_whose_status_is_noted_late_is_told_all_the_same() {
    let bench = fast(1, |_| {}).await;
    assert!(bench.side.set_status(NEGOTIATED).await);
    bench.side.send(1, RUNNING);
    assert!(bench.side.answer().await.0);
    let fake = bench.side.fake.clone();
    // It was tried for a second, each millisecond, and then on.
    eventually("more tries", || fake.state().refused > 1002).await;
    fake.state().driver_ok = true;
    eventually("an interrupt", || fake.state().interrupts[0] == 1).await;
    let tried = fake.state().refused;
    assert!(tried < 1100, "tried {tried} times, and ever so often");
    bench.end().await;
}

#[tokio::test]
async fn a_stop_amid_a_reset_waits_for_the_requests_too() {
    let mut bench = slow().await;
    bench.begin_slow_request().await;
    // The reset waits for the request, and now the stop comes.
    bench.side.send(1, 0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let side = bench.end().await;
    assert_eq!(side.drivers[0].used_index(), 1, "the request was given back before the end");
}

#[tokio::test]
async fn a_reset_is_answered_when_all_requests_are() {
    let mut bench = slow().await;
    bench.begin_slow_request().await;
    assert!(bench.side.set_status(0).await);
    assert_eq!(bench.driver().used_index(), 1);
    assert!(!bench.side.is_listened_to(0));
    bench.end().await;
}

#[tokio::test]
async fn a_queue_tells_where_it_is_and_goes_on_there() {
    let mut bench = fast(1, |_| {}).await;
    bench.start().await;
    for n in 1..4 {
        bench.driver().rewind();
        bench.driver().request(FLUSH, 0, &[], 0);
        bench.side.kick(0);
        let driver = &bench.side.drivers[0];
        eventually("the answer", || driver.used_index() == n).await;
    }
    // Asked twice, it says the same; of a queue that there is not, nothing.
    for _ in 0..2 {
        bench.side.send(0, 0);
        assert_eq!(bench.side.answer().await, (true, 3));
    }
    bench.side.send(0, 1);
    assert!(!bench.side.answer().await.0);
    bench.end().await;
}

/// What is started has time to run before the next queue is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_driver_that_is_refused_has_no_queue_served() {
    // The first queue has a request, and the last one's rings lie outside of the driver's memory.
    let mut bench = fast(3, |side| {
        side.drivers[0].request(FLUSH, 0, &[], 0);
        let mut state = side.fake.state();
        state.queues[2].used = 1 << 40;
        state.slowness = Duration::from_millis(50);
    })
    .await;
    assert!(bench.side.set_status(NEGOTIATED).await);
    assert!(!bench.side.set_status(RUNNING).await);
    assert!(!bench.side.is_listened_to(0), "the first queue runs");
    assert_eq!(bench.driver().used_index(), 0, "a refused driver's request was carried out");
    // With rings in their place it is another matter.
    let first = bench.side.fake.state().queues[0].used;
    bench.side.fake.state().queues[2].used = first + 256;
    assert!(bench.side.set_status(RUNNING).await);
    eventually("the answer", || bench.side.drivers[0].used_index() > 0).await;
    let side = bench.end().await;
    assert_eq!(side.drivers[0].used_index(), 1, "the request was carried out once");
}

#[tokio::test]
async fn a_start_that_fails_half_way_leaves_no_kick_behind() {
    let mut bench = fast(3, |side| {
        side.drivers[0].request(FLUSH, 0, &[], 0);
        side.fake.state().deaf = Some(2);
    })
    .await;
    assert!(bench.side.set_status(NEGOTIATED).await);
    assert!(!bench.side.set_status(RUNNING).await);
    for queue in 0..3 {
        assert!(!bench.side.is_listened_to(queue), "queue {queue} has a kick that nobody hears");
    }
    assert_eq!(bench.driver().used_index(), 0, "a refused driver's request was carried out");
    bench.side.fake.state().deaf = None;
    assert!(bench.side.set_status(RUNNING).await);
    eventually("the answer", || bench.side.drivers[0].used_index() == 1).await;
    bench.end().await;
}

#[tokio::test]
async fn features_that_were_not_offered_are_refused() {
    let bench = fast(1, |side| side.fake.state().features |= 1 << 17).await;
    assert!(!bench.side.set_status(NEGOTIATED).await);
    bench.end().await;
}

/// Takes over a device of which nobody has answered some requests.
async fn take_over(queues: u16, change: impl FnOnce(&mut Side)) -> (Bench, Fake) {
    let export = export("driver=null,size=1M").await;
    let (fake, mut side) = pair(queues, offered(&export));
    side.fake.state().driver_ok = true;
    for driver in &mut side.drivers {
        driver.request(FLUSH, 0, &[], 0);
    }
    change(&mut side);
    let mut protocol = Protocol::of_stale(fake.clone(), export.clone(), queues, None);
    protocol.resume().unwrap();
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(protocol.run(stopped, export.announcements()));
    (Bench { side, export, stop: Some(stop), serving }, fake)
}

#[tokio::test]
async fn what_a_killed_process_left_is_answered() {
    let (bench, fake) = take_over(2, |_| {}).await;
    eventually("the answers", || bench.side.drivers.iter().all(|d| d.used_index() == 1)).await;
    eventually("interrupts", || fake.state().interrupts.iter().all(|n| *n > 0)).await;
    bench.end().await;
}

#[tokio::test]
async fn a_queue_that_cannot_be_taken_over_keeps_no_other_from_it() {
    let (bench, _) = take_over(3, |side| {
        let mut state = side.fake.state();
        state.queues[0].used = 1 << 40;
        state.queues[1].size = 0;
    })
    .await;
    eventually("the answer", || bench.side.drivers[2].used_index() == 1).await;
    assert!(!bench.side.is_listened_to(0) && !bench.side.is_listened_to(1));
    // And the device can be reset.
    assert!(bench.side.set_status(0).await);
    bench.end().await;
}

#[tokio::test]
async fn a_driver_is_told_of_a_larger_device_and_may_use_all_of_it() {
    let mut bench = fast(1, |_| {}).await;
    bench.start().await;
    assert_ne!(bench.read_at_1_mib().await, 0, "beyond the end");
    assert_eq!(bench.grow(2 << 20).await.unwrap(), Heard::Now);
    {
        let state = bench.side.fake.state();
        assert_eq!((state.capacity, state.config_interrupts), (Some(2 << 11), 1));
    }
    bench.grow(3 << 20).await.unwrap();
    assert_eq!(bench.side.fake.state().config_interrupts, 2);
    assert_eq!(bench.read_at_1_mib().await, 0);
    bench.end().await;
}

#[tokio::test]
async fn a_device_without_a_driver_is_larger_for_the_next_one() {
    let bench = fast(1, |_| {}).await;
    assert_eq!(bench.grow(2 << 20).await.unwrap(), Heard::Later("no driver uses the device now"));
    assert_eq!(bench.side.fake.state().capacity, Some(2 << 11));
    bench.start().await;
    // It may have read the capacity before that was changed.
    let fake = bench.side.fake.clone();
    eventually("word of it", || fake.state().config_interrupts == 1).await;
    assert!(bench.side.set_status(0).await);
    bench.side.fake.state().interrupts[0] = 0;
    bench.start().await;
    eventually("an interrupt", || fake.state().interrupts[0] == 1).await;
    assert_eq!(fake.state().config_interrupts, 1, "this driver has nothing new to read");
    bench.end().await;
}

#[tokio::test]
async fn a_driver_that_is_just_starting_hears_of_a_larger_device_when_it_has() {
    let bench = fast(1, |_| {}).await;
    assert!(bench.side.set_status(NEGOTIATED).await);
    bench.side.send(1, RUNNING);
    assert!(bench.side.answer().await.0);
    // The kernel has not noted it.
    let heard = bench.grow(2 << 20).await.unwrap();
    assert_eq!(heard, Heard::Later("the device's driver is just starting"));
    let fake = bench.side.fake.clone();
    assert_eq!(fake.state().config_interrupts, 0);
    fake.state().driver_ok = true;
    eventually("word of it", || fake.state().config_interrupts == 1).await;
    bench.end().await;
}

#[tokio::test]
async fn a_kernel_that_refuses_another_capacity_is_asked_again() {
    let bench = fast(1, |side| side.fake.state().config_fails = true).await;
    bench.start().await;
    let error = bench.grow(2 << 20).await.unwrap_err().to_string();
    assert!(error.contains("changing the device's capacity"), "{error}");
    assert_eq!(bench.side.fake.state().config_interrupts, 0, "there is nothing new to read");
    bench.side.fake.state().config_fails = false;
    assert_eq!(bench.grow(2 << 20).await.unwrap(), Heard::Now);
    bench.end().await;
}
