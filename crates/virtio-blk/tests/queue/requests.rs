//! What requests do, and what is an error of theirs alone.

use crate::bench::{SECTORS, SPACE, Shape, bench};
use virtio_blk::features;
use virtio_driver::{Placed, UNTOUCHED, flags};

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
