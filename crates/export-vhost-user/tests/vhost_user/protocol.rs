//! Negotiation, queues, memory and reconnection.

use crate::device::{Served, Spec, ZS};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_driver::{Guest, PROTOCOL_FEATURES, USER};
use vmm_sys_util::eventfd::EventFd;

const ZONED: u64 = 1 << 17;
const EVENT_IDX: u64 = 1 << 29;

/// The connection is over: whatever is said, nobody answers.
fn is_left(guest: &Guest) -> bool {
    guest.frontend.get_features().is_err()
}

#[test]
fn a_front_end_that_does_not_know_zones_is_refused() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.connect(1);
    assert_ne!(guest.offered & ZONED, 0);
    assert_eq!(guest.offered & (1 << 13), 0, "no discard of a host-managed device");
    assert!(guest.accept(!ZONED).is_err());
    assert!(is_left(&guest));
    // And the next one is served.
    let mut guest = device.guest(1);
    assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
}

#[test]
fn without_a_choice_of_features_no_queue_starts() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.connect(1);
    // Only the front end's own bit, as some set it first.
    guest.accept(0).unwrap();
    guest.share().unwrap();
    assert!(guest.start(0).is_err());
    let mut guest = device.connect(1);
    guest.accept(0).unwrap();
    guest.boot().unwrap();
    assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let device = Served::regular(1 << 20);
    let mut guest = device.connect(1);
    guest.offered |= ZONED;
    assert!(guest.accept(!0).is_err());
    assert!(is_left(&guest));
}

#[test]
fn the_configuration_space_has_every_field() {
    let device = Served::zoned(Spec { queues: 3, ..Spec::default() });
    let mut guest = device.connect(3);
    guest.accept(!0).unwrap();
    let space = guest.config(0, 96).unwrap();
    assert_eq!(space[..8], (8 * ZS).to_le_bytes());
    assert_eq!(space[34..36], [3, 0]);
    assert_eq!(space[72..76], (ZS as u32).to_le_bytes());
    assert_eq!((space[76], space[80], space[92]), (2, 3, 1));
    assert_eq!(u32::from_le_bytes(space[84..88].try_into().unwrap()), 768 * 2);
    // In parts, and beyond what is defined.
    assert_eq!(guest.config(72, 24).unwrap(), space[72..]);
    assert_eq!(guest.config(90, 10).unwrap()[6..], [0; 4]);
    assert_eq!(guest.frontend.get_queue_num().unwrap(), 3);
}

#[test]
fn queues_work_side_by_side() {
    let device = Served::zoned(Spec { queues: 4, ..Spec::default() });
    let mut guest = device.guest(4);
    for round in 0..20_u64 {
        let placed: Vec<_> = guest
            .queues
            .iter_mut()
            .map(|queue| {
                queue.driver.rewind();
                let out = queue.driver.request(1, round, &[round as u8; 512], 0);
                queue.kick();
                out
            })
            .collect();
        for (queue, placed) in guest.queues.iter_mut().zip(&placed) {
            let (_, written) = queue.used();
            assert_eq!(queue.driver.outcome(placed, written).status, 0);
        }
    }
    assert_eq!(guest.ask(3, 0, 19, &[], 512).data, [19; 512]);
}

#[test]
fn a_queue_stops_where_it_is_and_goes_on_there() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.guest(1);
    for _ in 0..3 {
        assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
    }
    assert_eq!(guest.stop(0).unwrap(), 3);
    // What comes meanwhile waits.
    guest.queues[0].driver.rewind();
    let placed = guest.queues[0].driver.request(4, 0, &[], 0);
    guest.queues[0].kick();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(guest.queues[0].driver.take_used(), None);
    guest.start(0).unwrap();
    assert_eq!(guest.queues[0].used().0, placed.head);
    assert_eq!(guest.stop(0).unwrap(), 4);
    assert_eq!(guest.stop(0).unwrap(), 4, "a stopped queue is where it was");
}

/// Linux as a user-mode process turns queues off when a driver leaves the device, never asks where they
/// stand, and sets them up anew for the next driver.
#[test]
fn a_queue_that_is_off_may_be_set_up_anew() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.guest(1);
    let all = guest.offered | PROTOCOL_FEATURES;
    assert_eq!(guest.ask(0, 1, 2 * ZS, &[6; 512], 0).status, 0);
    guest.frontend.set_vring_enable(0, false).unwrap();
    guest.frontend.set_features(all).unwrap();
    guest.share().unwrap();
    guest.start(0).unwrap();
    assert_eq!(guest.ask(0, 0, 2 * ZS, &[], 512).data, [6; 512]);
    // One that is on goes on as it is.
    assert!(guest.frontend.set_features(all).is_err());
    assert!(is_left(&guest));
}

/// What is said while a queue is off may come in any order, and is kept.
#[test]
fn a_queue_that_is_off_keeps_its_kick() {
    let say_again: [fn(&mut Guest); 2] = [
        |guest| {
            let base = guest.queues[0].driver.used_index();
            guest.frontend.set_vring_base(0, base).unwrap();
        },
        |guest| guest.frontend.set_features(guest.offered | PROTOCOL_FEATURES).unwrap(),
    ];
    let device = Served::zoned(Spec::default());
    for say_again in say_again {
        let mut guest = device.connect(1);
        guest.accept(!0).unwrap();
        guest.share().unwrap();
        let driver = &guest.queues[0].driver;
        guest.frontend.set_vring_num(0, driver.size()).unwrap();
        guest.frontend.set_vring_addr(0, &driver.rings(USER)).unwrap();
        guest.frontend.set_vring_kick(0, &guest.queues[0].kick).unwrap();
        say_again(&mut guest);
        guest.frontend.set_vring_enable(0, true).unwrap();
        assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
        // The same of one that ran.
        guest.frontend.set_vring_enable(0, false).unwrap();
        say_again(&mut guest);
        guest.frontend.set_vring_enable(0, true).unwrap();
        assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
    }
}

/// A device whose reads take this long.
fn slow_to_read(by: Duration) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.raw");
    std::fs::write(&path, vec![6; 1 << 20]).unwrap();
    let image = format!(
        "driver=fault-inject,rules.a.op=read,rules.a.action=delay,rules.a.delay-us={},\
         file.driver=raw,file.file.driver=file,file.file.filename={}",
        by.as_micros(),
        path.display()
    );
    Served::image(dir, image, false, 1)
}

/// Once a queue is off, its rings and data are the driver's: it may use the memory for anything.
#[test]
fn a_queue_that_was_turned_off_touches_nothing() {
    let by = Duration::from_millis(500);
    let device = slow_to_read(by);
    let mut guest = device.guest(1);
    let driver = &mut guest.queues[0].driver;
    let slow = driver.request(0, 0, &[], 512);
    let kicked = Instant::now();
    guest.queues[0].kick();
    let end = Instant::now() + Duration::from_secs(120);
    // The device says from which request on it wants a kick: it took this one.
    let driver = &guest.queues[0].driver;
    let wants_kick = driver.used() + 4 + 8 * u64::from(driver.size());
    while driver.read(wants_kick, 2) != [1, 0] {
        assert!(Instant::now() < end, "the request is not taken");
        std::thread::sleep(Duration::from_millis(1));
    }
    // Unless this thread stood still meanwhile, it is under way.
    assert!(driver.used_index() == 0 || kicked.elapsed() >= by, "it came back too soon");
    guest.frontend.set_vring_enable(0, false).unwrap();
    let driver = &mut guest.queues[0].driver;
    assert_eq!(driver.take_used(), Some((slow.head, 513)));
    assert_eq!(driver.outcome(&slow, 513).data, [6; 512]);
    let next = driver.request(0, 1, &[], 512);
    let before = driver.read(0, 8 << 20);
    guest.queues[0].kick();
    std::thread::sleep(by * 2);
    assert!(guest.queues[0].driver.read(0, 8 << 20) == before, "memory changed");
    guest.frontend.set_vring_enable(0, true).unwrap();
    assert_eq!(guest.queues[0].outcome(&next).data, [6; 512]);
}

/// How often the guest was notified since the last look, once it was: that comes after the answer.
fn told(call: &EventFd) -> u64 {
    for _ in 0..60_000 {
        if let Ok(told) = call.read() {
            return told;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the guest is not notified");
}

#[test]
fn the_guest_is_notified_as_it_wishes() {
    let device = Served::zoned(Spec::default());
    for event_idx in [false, true] {
        let mut guest = device.connect(1);
        guest.accept(if event_idx { !0 } else { !EVENT_IDX }).unwrap();
        guest.share().unwrap();
        guest.start(0).unwrap();
        let driver = &mut guest.queues[0].driver;
        driver.set_used_event(7);
        let placed: Vec<_> = (0..8).map(|_| driver.request(4, 0, &[], 0)).collect();
        guest.queues[0].kick();
        for _ in placed {
            guest.queues[0].used();
        }
        let told = told(&guest.queues[0].call);
        // Nor is it told again.
        std::thread::sleep(Duration::from_millis(50));
        let told = told + guest.queues[0].call.read().unwrap_or(0);
        assert!(if event_idx { told == 1 } else { told >= 1 }, "{event_idx} {told}");
    }
}

#[test]
fn the_way_to_notify_may_change_while_requests_run() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.guest(1);
    assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
    let other = guest.queues[0].call.try_clone().unwrap();
    guest.queues[0].call = EventFd::new(0x800).unwrap();
    drop(other);
    let call = guest.queues[0].call.try_clone().unwrap();
    guest.frontend.set_vring_call(0, &call).unwrap();
    assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
    assert!(told(&call) >= 1);
}

#[test]
fn memory_comes_and_goes_in_slots() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.guest(1);
    assert!(guest.frontend.get_max_mem_slots().unwrap() >= 32);
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let slot = VhostUserMemoryRegionInfo {
        guest_phys_addr: 1 << 40,
        memory_size: 1 << 20,
        userspace_addr: USER + (1 << 40),
        mmap_offset: 0,
        mmap_handle: file.as_raw_fd(),
    };
    let read_there = |guest: &mut Guest| {
        let queue = &mut guest.queues[0];
        queue.driver.rewind();
        let header = queue.driver.header(0, 0);
        let status = queue.driver.place(1, 1);
        let head = queue.driver.chain(&[(header, 16, 0), (1 << 40, 512, 2), (status, 1, 2)]);
        queue.driver.publish(head);
        queue.kick();
        queue.used();
        queue.driver.read(status, 1)[0]
    };
    assert_eq!(read_there(&mut guest), 1);
    guest.frontend.add_mem_region(&slot).unwrap();
    assert_eq!(read_there(&mut guest), 0);
    guest.frontend.remove_mem_region(&slot).unwrap();
    assert_eq!(read_there(&mut guest), 1);
    assert!(guest.frontend.remove_mem_region(&slot).is_err());
}

#[test]
fn a_front_end_may_go_and_come_back() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.guest(1);
    assert_eq!(guest.ask(0, 1, 2 * ZS, &[6; 512], 0).status, 0);
    guest.reconnect(&device.socket()).unwrap();
    guest.boot().unwrap();
    assert_eq!(guest.ask(0, 0, 2 * ZS, &[], 512).data, [6; 512]);
    drop(guest);
    let mut other = device.guest(1);
    assert_eq!(other.ask(0, 0, 2 * ZS, &[], 512).data, [6; 512]);
}

#[test]
fn a_reset_device_begins_anew() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.guest(1);
    assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
    guest.frontend.reset_device().unwrap();
    guest.boot().unwrap();
    assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
    assert_eq!(guest.stop(0).unwrap(), 2);
}

#[test]
fn a_reset_forgets_the_record_of_the_old_rings() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.connect(1);
    guest.boot_with_record().unwrap();
    assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
    assert_eq!(guest.stop(0).unwrap(), 1);
    // The record names a request of rings that are no more.
    let driver = &mut guest.queues[0].driver;
    driver.rewind();
    let old = driver.lay_out(1, 2 * ZS, &[5; 512], 0);
    let (_, file) = guest.record.as_ref().unwrap();
    std::os::unix::fs::FileExt::write_all_at(file, &[1], 16 + 16 * u64::from(old.head)).unwrap();
    guest.frontend.reset_device().unwrap();
    guest.boot().unwrap();
    let flush = guest.queues[0].driver.request(4, 0, &[], 0);
    assert_eq!(guest.queues[0].outcome(&flush).status, 0);
    assert_eq!(guest.stop(0).unwrap(), 2, "nothing but the flush was taken");
    assert_eq!(guest.queues[0].driver.outcome(&old, 0).status, virtio_driver::UNTOUCHED);
}

/// Front ends that still say `RESET_OWNER` mean that queues shall be off, and nothing more.
#[test]
fn a_device_without_an_owner_is_off_and_keeps_the_rest() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.connect(1);
    guest.boot_with_record().unwrap();
    assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
    guest.frontend.reset_owner().unwrap();
    let driver = &mut guest.queues[0].driver;
    driver.rewind();
    let waiting = driver.request(4, 0, &[], 0);
    guest.queues[0].kick();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(guest.queues[0].driver.take_used(), None);
    guest.frontend.set_vring_enable(0, true).unwrap();
    assert_eq!(guest.queues[0].outcome(&waiting).status, 0);
    assert_eq!(guest.stop(0).unwrap(), 2);
    // The record has the used ring's index in its header.
    let mut used = [0; 2];
    let (_, file) = guest.record.as_ref().unwrap();
    std::os::unix::fs::FileExt::read_exact_at(file, &mut used, 14).unwrap();
    assert_eq!(used, [2, 0], "the record is kept on");
}

#[test]
fn what_makes_no_sense_ends_the_connection_and_not_the_server() {
    let device = Served::zoned(Spec { queues: 2, ..Spec::default() });
    let wrong: [fn(&mut Guest) -> bool; 8] = [
        |guest| guest.frontend.set_vring_num(0, 3).is_err(),
        |guest| guest.frontend.set_vring_num(0, 2048).is_err(),
        |guest| guest.frontend.set_vring_num(5, 128).is_err(),
        |guest| guest.start(0).is_ok() && guest.frontend.set_vring_base(0, 7).is_err(),
        |guest| {
            let config = VringConfigData {
                queue_max_size: 128,
                queue_size: 128,
                desc_table_addr: USER - 16,
                used_ring_addr: USER,
                avail_ring_addr: USER,
                ..VringConfigData::default()
            };
            guest.frontend.set_vring_addr(0, &config).is_err()
        },
        |guest| {
            // The rings begin in the guest's memory, and end outside of it.
            let end = USER + (16 << 20);
            let config = VringConfigData {
                queue_max_size: 128,
                queue_size: 128,
                desc_table_addr: end - 16,
                used_ring_addr: end - 4,
                avail_ring_addr: end - 2,
                ..VringConfigData::default()
            };
            let kick = guest.queues[0].kick.try_clone().unwrap();
            guest.frontend.set_vring_num(0, 128).unwrap();
            guest.frontend.set_vring_addr(0, &config).unwrap();
            guest.frontend.set_vring_kick(0, &kick).unwrap();
            guest.frontend.set_vring_enable(0, true).is_err()
        },
        |guest| guest.frontend.set_features(1 << 63).is_err(),
        |guest| {
            let small = tempfile::tempfile().unwrap();
            let region = VhostUserMemoryRegionInfo {
                guest_phys_addr: 0,
                memory_size: 1 << 20,
                userspace_addr: USER,
                mmap_offset: 0,
                mmap_handle: small.as_raw_fd(),
            };
            guest.frontend.set_mem_table(&[region]).is_err()
        },
    ];
    for (i, wrong) in wrong.iter().enumerate() {
        let mut guest = device.connect(2);
        guest.accept(!0).unwrap();
        guest.share().unwrap();
        assert!(wrong(&mut guest), "{i}");
        assert!(is_left(&guest), "{i}");
    }
    let mut guest = device.guest(2);
    assert_eq!(guest.ask(1, 4, 0, &[], 0).status, 0);
}

#[test]
fn what_is_promised_is_what_is_offered() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.connect(1);
    guest.accept(!0).unwrap();
    let offered = guest.frontend.get_protocol_features().unwrap();
    let expected = VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::BACKEND_REQ
        | VhostUserProtocolFeatures::INFLIGHT_SHMFD
        | VhostUserProtocolFeatures::RESET_DEVICE
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS;
    assert_eq!(offered, expected);
}

#[test]
fn a_server_that_ends_has_written_everything() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.guest(1);
    assert_eq!(guest.ask(0, 1, 2 * ZS, &[4; 512], 0).status, 0);
    let socket = device.socket();
    let dir = device.stop();
    assert!(!socket.exists(), "the socket is gone");
    let image = dir.path().join("d.zbd").to_str().unwrap().to_owned();
    let again = Served::image(dir, image, false, 1);
    let mut guest = again.guest(1);
    assert_eq!(guest.ask(0, 0, 2 * ZS, &[], 512).data, [4; 512]);
}

#[test]
fn a_record_of_requests_is_kept_by_the_front_end() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.connect(1);
    guest.boot_with_record().unwrap();
    assert_eq!(guest.ask(0, 1, 2 * ZS, &[4; 512], 0).status, 0);
    assert_eq!(guest.stop(0).unwrap(), 1);
    // As if the back end had been killed after it took three requests: one that never began, one
    // that landed, and an append.
    let driver = &mut guest.queues[0].driver;
    driver.rewind();
    let placed = [
        driver.lay_out(1, 3 * ZS, &[5; 512], 0),
        driver.lay_out(1, 2 * ZS, &[4; 512], 0),
        driver.lay_out(15, 4 * ZS, &[6; 512], 8),
    ];
    for (counter, placed) in (1_u64..).zip(&placed) {
        driver.publish(placed.head);
        let (_, file) = guest.record.as_ref().unwrap();
        use std::os::unix::fs::FileExt;
        let entry = 16 + 16 * u64::from(placed.head);
        file.write_all_at(&counter.to_le_bytes(), entry + 8).unwrap();
        file.write_all_at(&[1], entry).unwrap();
    }
    guest.reconnect(&device.socket()).unwrap();
    guest.boot_with_record().unwrap();
    for _ in 0..3 {
        guest.queues[0].used();
    }
    let queue = &guest.queues[0];
    let statuses = placed.clone().map(|placed| queue.driver.outcome(&placed, 0).status);
    assert_eq!(statuses, [0, 0, 0]);
    assert_eq!(queue.driver.outcome(&placed[2], 0).data, (4 * ZS).to_le_bytes());
    assert_eq!(guest.ask(0, 0, 3 * ZS, &[], 512).data, [5; 512]);
    assert_eq!(guest.stop(0).unwrap(), 5);
}
