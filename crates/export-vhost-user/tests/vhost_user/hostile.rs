//! Guests that mean harm: what they do, they do to themselves.

use crate::device::{Served, Spec, ZS};
use block_export::Kind;
use virtio_driver::{Descriptor, Guest, Placed, flags};

/// Another queue, and the device behind it, go on as ever.
fn is_well(guest: &mut Guest, number: usize) {
    assert_eq!(guest.ask(number, 0, 0, &[], 512).status, 0);
    assert_eq!(guest.ask(number, 4, 0, &[], 0).status, 0);
}

/// What the guest does to the first of two queues kills that queue and no other; stopped and set up
/// anew it works again.
fn kills_its_queue(device: &Served, harm: impl FnOnce(&mut Guest)) {
    let mut guest = device.guest(2);
    is_well(&mut guest, 1);
    harm(&mut guest);
    guest.queues[0].kick();
    guest.queues[0].dies();
    is_well(&mut guest, 1);
    guest.stop(0).unwrap();
    is_well(&mut guest, 1);
    drop(guest);
    let mut guest = device.guest(2);
    is_well(&mut guest, 0);
}

#[test]
fn chains_without_an_end() {
    let device = Served::zoned(Spec { queues: 2, ..Spec::default() });
    kills_its_queue(&device, |guest| {
        let driver = &mut guest.queues[0].driver;
        driver.set(0, Descriptor::new(0x1000, 16, flags::NEXT, 1));
        driver.set(1, Descriptor::new(0x1000, 16, flags::NEXT | flags::WRITE, 0));
        driver.publish(0);
    });
    kills_its_queue(&device, |guest| {
        let driver = &mut guest.queues[0].driver;
        // A table that refers to itself.
        let table = driver.place(64, 16);
        let inner = Descriptor::new(table, 64, flags::INDIRECT, 0);
        driver.write(table, &[0; 64]);
        vm_memory::Bytes::write_obj(driver.memory(), inner, vm_memory::GuestAddress(table))
            .unwrap();
        driver.set(0, inner);
        driver.publish(0);
    });
    kills_its_queue(&device, |guest| {
        let driver = &mut guest.queues[0].driver;
        driver.set(0, Descriptor::new(u64::MAX - 15, 0xffff_fff0, flags::INDIRECT, 0));
        driver.publish(0);
    });
    kills_its_queue(&device, |guest| {
        let driver = &mut guest.queues[0].driver;
        // 65535 descriptors in a table.
        let table = driver.place(65535 * 16, 16);
        for i in 0..65535_u16 {
            let at = vm_memory::GuestAddress(table + 16 * u64::from(i));
            let piece = Descriptor::new(0x1000, 1, flags::NEXT, i.wrapping_add(1));
            vm_memory::Bytes::write_obj(driver.memory(), piece, at).unwrap();
        }
        driver.set(0, Descriptor::new(table, 65535 * 16, flags::INDIRECT, 0));
        driver.publish(0);
    });
}

#[test]
fn rings_that_lie() {
    let device = Served::zoned(Spec { queues: 2, ..Spec::default() });
    kills_its_queue(&device, |guest| guest.queues[0].driver.set_available(0x8000));
    kills_its_queue(&device, |guest| guest.queues[0].driver.publish(0xffff));
    kills_its_queue(&device, |guest| {
        let driver = &mut guest.queues[0].driver;
        let placed = driver.lay_out(15, 2 * ZS, &[1; 512], 8);
        (0..128).for_each(|_| driver.publish(placed.head));
    });
}

#[test]
fn requests_without_room_for_a_status() {
    let device = Served::zoned(Spec { queues: 2, ..Spec::default() });
    for place in [None, Some((u64::MAX, 1)), (Some((1 << 50, 1))), Some((0x1000, 0))] {
        kills_its_queue(&device, |guest| {
            let driver = &mut guest.queues[0].driver;
            let header = driver.header(4, 0);
            let mut pieces = vec![(header, 16, 0)];
            pieces.extend(place.map(|(addr, len)| (addr, len, flags::WRITE)));
            let head = driver.chain(&pieces);
            driver.publish(head);
        });
    }
    // Readable where writable is due.
    kills_its_queue(&device, |guest| {
        let driver = &mut guest.queues[0].driver;
        let header = driver.header(0, 0);
        let head = driver.chain(&[(header, 16, 0), (0x1000, 512, 0), (0x2000, 1, 0)]);
        driver.publish(head);
    });
    // Writable, then readable.
    kills_its_queue(&device, |guest| {
        let driver = &mut guest.queues[0].driver;
        let header = driver.header(0, 0);
        let head = driver.chain(&[(0x2000, 1, flags::WRITE), (header, 16, 0)]);
        driver.publish(head);
    });
}

#[test]
fn headers_and_data_that_are_not_there() {
    let device = Served::zoned(Spec { queues: 2, ..Spec::default() });
    let mut guest = device.guest(2);
    let memory_end = 16_u64 << 20;
    let pieces = [
        (0, 0),
        (0x1000, 15),
        (memory_end - 8, 16),
        (memory_end, 16),
        (u64::MAX, 16),
        (u64::MAX - 15, 16),
        (1 << 63, u32::MAX),
    ];
    let mut failed = 0;
    for (addr, len) in pieces {
        for kind in [None, Some(0), Some(1), Some(8), Some(15), Some(16)] {
            let queue = &mut guest.queues[0];
            queue.driver.rewind();
            let status = queue.driver.place(1, 1);
            let chain = match kind {
                // The header itself.
                None => vec![(addr, len, 0)],
                // Data to read, or to write.
                Some(kind) => {
                    let header = queue.driver.header(kind, 2 * ZS);
                    let flag = if matches!(kind, 1 | 15) { 0 } else { flags::WRITE };
                    vec![(header, 16, 0), (addr, len, flag)]
                }
            };
            let mut chain = chain;
            chain.push((status, 1, flags::WRITE));
            let head = queue.driver.chain(&chain);
            queue.driver.publish(head);
            let placed = Placed { head, answer: 0, answer_len: 0, status };
            let outcome = queue.outcome(&placed);
            // An identity of 15 bytes of room is told in part; so much is allowed.
            if kind == Some(8) && (addr, len) == (0x1000, 15) {
                continue;
            }
            assert_ne!(outcome.status, 0, "{kind:?} {addr:#x} {len:#x}");
            failed += 1;
        }
    }
    assert_eq!(failed, 7 * 6 - 1);
    is_well(&mut guest, 0);
    is_well(&mut guest, 1);
}

#[test]
fn thousands_of_requests_at_once() {
    let device = Served::zoned(Spec { queues: 2, ..Spec::default() });
    let mut guest = Guest::connect(&device.socket(), 2, 1024, 32 << 20).unwrap();
    guest.boot().unwrap();
    let queue = &mut guest.queues[0];
    for _ in 0..8 {
        queue.driver.rewind();
        // Every descriptor of the table is the same request.
        let into = queue.driver.place(64 << 10, 4096);
        let header = queue.driver.header(0, 0);
        let status = queue.driver.place(1, 1);
        let table = queue.driver.place(3 * 16, 16);
        let pieces = [(header, 16, 1, 1), (into, 64 << 10, 3, 2), (status, 1, 2, 0)];
        for (i, &(addr, len, flag, next)) in (0_u64..).zip(&pieces) {
            let at = vm_memory::GuestAddress(table + 16 * i);
            let piece = Descriptor::new(addr, len, flag, next);
            vm_memory::Bytes::write_obj(queue.driver.memory(), piece, at).unwrap();
        }
        for head in 0..1024 {
            queue.driver.set(head, Descriptor::new(table, 48, flags::INDIRECT, 0));
            queue.driver.publish(head);
        }
        queue.kick();
        for _ in 0..1024 {
            queue.used();
        }
    }
    is_well(&mut guest, 1);
    let counters = device.export().counters();
    assert_eq!(counters.of(Kind::Read).done(), 8 * 1024 + 1);
    assert_eq!(counters.copied_bytes(), 0);
    assert!(peak_memory() < 512 << 20, "{} bytes", peak_memory());
}

/// The most memory of its own that this process ever had, without what guests share.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    field("VmHWM").saturating_sub(field("RssFile") + field("RssShmem"))
}
