//! The length in the used ring: a driver believes no byte behind it, and the status is the last one
//! (virtio 1.3, 2.7.8). So whatever comes of a request, all that the device may write is written, and
//! is counted.

use crate::bench::{Bench, SECTORS, SPACE, Shape, bench};
use virtio_blk::Answer;
use virtio_driver::told::{INVALID, IOERR, OK, UNALIGNED, UNSUPP};
use virtio_driver::{Placed, UNTOUCHED, flags};

/// What was in the driver's memory before.
const OLD: u8 = 0x5a;

impl Bench {
    /// One request into memory that is not clean: status, length and data.
    async fn ask_dirty(
        &mut self,
        kind: u32,
        sector: u64,
        data: &[u8],
        answer: u32,
    ) -> (u8, u32, Vec<u8>) {
        self.driver.rewind();
        let placed = self.driver.lay_out(kind, sector, data, answer);
        self.driver.write(placed.answer, &vec![OLD; answer.try_into().unwrap()]);
        self.driver.publish(placed.head);
        let outcome = self.outcome(&placed).await;
        (outcome.status, outcome.written, outcome.data)
    }
}

/// What it is, type, sector, data, room for an answer, and the status that is due.
type Case<'a> = (&'a str, u32, u64, &'a [u8], u32, u8);

#[tokio::test]
async fn every_byte_that_the_driver_may_read_was_written_and_is_counted() {
    let mut bench = bench(Shape::default()).await;
    let zone = |n: u64| n * SECTORS;
    let range = [[0_u8; 8], [8, 0, 0, 0, 0, 0, 0, 0]].concat();
    let cases: &[Case<'_>] = &[
        ("a write", 1, zone(2), &[7; 512], 0, OK),
        ("a write off the pointer", 1, zone(2), &[7; 512], 0, UNALIGNED),
        ("a write with room for data", 1, zone(2) + 1, &[7; 512], 512, IOERR),
        ("a read", 0, zone(2), &[], 1024, OK),
        ("a read past the end", 0, zone(8), &[], 1024, IOERR),
        ("a read into another zone", 0, zone(3) - 1, &[], 1024, INVALID),
        ("a read of half a sector", 0, 0, &[], 700, IOERR),
        ("a flush", 4, 0, &[], 0, OK),
        ("a flush with room for data", 4, 0, &[], 64, OK),
        ("an identity", 8, 0, &[], 20, OK),
        ("a short identity", 8, 0, &[], 3, OK),
        ("a long identity", 8, 0, &[], 64, OK),
        ("no identity", 8, 0, &[], 0, IOERR),
        ("a lifetime", 10, 0, &[], 6, UNSUPP),
        ("a discard", 11, 0, &range, 0, UNSUPP),
        ("zeroes", 13, 0, &range, 8, UNSUPP),
        ("an append as in the standard", 15, zone(2), &[8; 512], 8, OK),
        ("an append as in Linux", 15, zone(2), &[8; 512], 15, OK),
        ("an append to no zone's start", 15, zone(2) + 1, &[8; 512], 15, INVALID),
        ("an append without room", 15, zone(2), &[8; 512], 7, IOERR),
        ("an append off the granularity", 15, zone(2), &[8; 100], 8, UNALIGNED),
        ("a report", 16, 0, &[], 64 * 4, OK),
        ("a report with room left", 16, zone(6), &[], 64 * 40 + 9, OK),
        ("a report without room", 16, 0, &[], 63, INVALID),
        ("a report past the end", 16, zone(8), &[], 640, INVALID),
        ("an open", 18, zone(3), &[], 0, OK),
        ("an open of no zone", 18, zone(3) + 1, &[], 24, INVALID),
        ("a close", 20, zone(3), &[], 0, OK),
        ("a finish", 22, zone(3), &[], 16, OK),
        ("a close of a full zone", 20, zone(3), &[], 16, INVALID),
        ("a reset", 24, zone(3), &[], 0, OK),
        ("a reset of all", 26, 0, &[], 5, OK),
        ("what nobody knows", 99, 0, &[], 33, UNSUPP),
    ];
    for &(what, kind, sector, data, answer, status) in cases {
        let (told, written, bytes) = bench.ask_dirty(kind, sector, data, answer).await;
        assert_eq!((told, written), (status, answer + 1), "{what}");
        assert!(!bytes.contains(&OLD), "{what}: {bytes:02x?}");
        if status != OK {
            assert_eq!(bytes, vec![0; bytes.len()], "{what}: a failed request tells nothing");
        }
    }
    // What is told is in its place, with zeroes behind it.
    let (_, _, bytes) = bench.ask_dirty(8, 0, &[], 64).await;
    assert_eq!(bytes, [&b"abc"[..], &[0; 61]].concat());
    let (_, _, bytes) = bench.ask_dirty(15, zone(4), &[1; 512], 15).await;
    assert_eq!(bytes, [&zone(4).to_le_bytes()[..], &[0; 7]].concat());
    let (_, _, bytes) = bench.ask_dirty(16, zone(7), &[], 64 * 4).await;
    assert_eq!((bytes[0], &bytes[64 + 8..64 + 16]), (1, &zone(7).to_le_bytes()[..]));
    assert_eq!(bytes[128..], [0; 128]);
}

#[tokio::test]
async fn a_request_without_a_header_is_told_so_in_full() {
    let mut bench = bench(Shape::default()).await;
    let data = bench.driver.place(100, 1);
    bench.driver.write(data, &[OLD; 100]);
    bench.driver.write(data + 99, &[UNTOUCHED]);
    let head = bench.driver.chain(&[(0x800, 15, 0), (data, 100, flags::WRITE)]);
    bench.driver.publish(head);
    let placed = Placed { head, answer: data, answer_len: 99, status: data + 99 };
    let outcome = bench.outcome(&placed).await;
    assert_eq!((outcome.status, outcome.written, outcome.data), (IOERR, 100, vec![0; 99]));
}

#[tokio::test]
async fn requests_that_fail_make_no_work_without_end() {
    let mut bench = bench(Shape::default()).await;
    let most = u32::try_from(Answer::MOST).unwrap();
    // As much as is filled, and one sector more: a length of nothing, of which nothing is a lie.
    for (len, written) in [(most, most + 1), (most + 512, 0)] {
        let (status, told, bytes) = bench.ask_dirty(0, 8 * SECTORS, &[], len).await;
        assert_eq!((status, told), (IOERR, written), "{len}");
        assert_eq!(bytes.contains(&OLD), written == 0);
    }
    // A report counts what it has told then.
    let room = 64 * 9 + most + 64;
    let (status, told, bytes) = bench.ask_dirty(16, 0, &[], room).await;
    assert_eq!((status, told, bytes[0]), (OK, 64 * 9, 8));
    assert!(bytes[64 * 9..].iter().all(|byte| *byte == OLD));
    // All of 4 GiB, many times over: told at once.
    bench.driver.rewind();
    let header = bench.driver.header(0, 0);
    let status = bench.driver.place(1, 1);
    let mut pieces = vec![(header, 16, 0)];
    pieces.extend((0..1000).map(|_| (0, 0xffff_fe00, flags::WRITE)));
    pieces.push((status, 1, flags::WRITE));
    let head = bench.driver.indirect(&pieces);
    bench.driver.publish(head);
    let placed = Placed { head, answer: 0, answer_len: 0, status };
    let outcome = bench.outcome(&placed).await;
    assert_eq!((outcome.status, outcome.written), (IOERR, 0));
}

#[tokio::test]
async fn memory_that_is_not_there_is_not_counted() {
    let mut bench = bench(Shape::default()).await;
    let header = bench.driver.header(0, 0);
    let there = bench.driver.place(512, 512);
    let status = bench.driver.place(1, 1);
    // The second sector would lie outside of memory.
    let pieces = [
        (header, 16, 0),
        (there, 512, flags::WRITE),
        (SPACE, 512, flags::WRITE),
        (status, 1, flags::WRITE),
    ];
    let head = bench.driver.chain(&pieces);
    bench.driver.publish(head);
    let placed = Placed { head, answer: there, answer_len: 512, status };
    let outcome = bench.outcome(&placed).await;
    assert_eq!(outcome.status, IOERR);
    assert!(outcome.written <= 512, "no more than what is there: {}", outcome.written);
}
