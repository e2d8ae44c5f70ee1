//! Every type of request with every status that it can have, counted.

use crate::device::{Served, Spec, ZONE, ZS, geometry};
use block_backend::image::{CreateOptions, GeometryConfig};
use std::collections::BTreeMap;
use virtio_driver::kind::{
    APPEND, CLOSE, DISCARD, FINISH, FLUSH, GET_ID, GET_LIFETIME, IN, OPEN, OUT, REPORT, RESET,
    RESET_ALL, SECURE_ERASE, WRITE_ZEROES,
};
use virtio_driver::told::{ACTIVE_RESOURCE, INVALID, IOERR, OK, OPEN_RESOURCE, UNALIGNED, UNSUPP};
use virtio_driver::{Guest, Outcome};

/// How often each type ended with each status.
#[derive(Default)]
struct Told {
    counts: BTreeMap<(u32, u8), u32>,
}

struct Talk<'a> {
    guest: &'a mut Guest,
    told: &'a mut Told,
}

impl Talk<'_> {
    fn ask(&mut self, kind: u32, sector: u64, data: &[u8], answer: u32) -> Outcome {
        let outcome = self.guest.ask(0, kind, sector, data, answer);
        *self.told.counts.entry((kind, outcome.status)).or_default() += 1;
        outcome
    }

    #[track_caller]
    fn expect(&mut self, status: u8, kind: u32, sector: u64, data: &[u8], answer: u32) -> Outcome {
        let outcome = self.ask(kind, sector, data, answer);
        assert_eq!(outcome.status, status, "type {kind} at sector {sector:#x}");
        outcome
    }

    #[track_caller]
    fn plain(&mut self, status: u8, kind: u32, sector: u64) {
        self.expect(status, kind, sector, &[], 0);
    }

    /// State and write pointer of a zone.
    #[track_caller]
    fn zone(&mut self, sector: u64) -> (u8, u64) {
        let report = self.expect(OK, REPORT, sector, &[], 128).data;
        assert_eq!(report[0], 1);
        (report[64 + 25], u64::from_le_bytes(report[64 + 16..64 + 24].try_into().unwrap()))
    }
}

const DATA: [u8; 512] = [0xab; 512];

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

#[test]
fn every_request_is_answered_as_the_standard_says() {
    let mut told = Told::default();
    on_a_zoned_device(&mut told);
    on_dead_zones(&mut told);
    on_a_read_only_device(&mut told);
    on_a_regular_device(&mut told);
    on_large_blocks(&mut told);
    on_a_failing_device(&mut told);
    let seen: Vec<_> = told.counts.keys().copied().collect();
    // What the standard allows for each type and this device can meet.
    let expected = [
        (IN, &[OK, IOERR, INVALID][..]),
        (OUT, &[OK, IOERR, INVALID, UNALIGNED, OPEN_RESOURCE, ACTIVE_RESOURCE]),
        (FLUSH, &[OK, IOERR]),
        (GET_ID, &[OK, IOERR]),
        (GET_LIFETIME, &[UNSUPP]),
        (DISCARD, &[OK, IOERR, UNSUPP]),
        (WRITE_ZEROES, &[OK, IOERR, UNSUPP]),
        (SECURE_ERASE, &[UNSUPP]),
        (APPEND, &[OK, IOERR, UNSUPP, INVALID, UNALIGNED, OPEN_RESOURCE, ACTIVE_RESOURCE]),
        (REPORT, &[OK, IOERR, UNSUPP, INVALID]),
        (OPEN, &[OK, IOERR, UNSUPP, INVALID, OPEN_RESOURCE, ACTIVE_RESOURCE]),
        (CLOSE, &[OK, IOERR, UNSUPP, INVALID]),
        (FINISH, &[OK, IOERR, UNSUPP, INVALID]),
        (RESET, &[OK, IOERR, UNSUPP, INVALID]),
        (RESET_ALL, &[OK, IOERR, UNSUPP]),
        (0x7fff_ffff, &[UNSUPP]),
    ];
    let expected: Vec<_> = expected
        .iter()
        .flat_map(|(kind, statuses)| statuses.iter().map(|status| (*kind, *status)))
        .collect();
    assert_eq!(seen, expected);
}

fn on_a_zoned_device(told: &mut Told) {
    let device = Served::zoned(Spec::default());
    let mut guest = device.guest(1);
    let mut talk = Talk { guest: &mut guest, told };
    let zone = |n: u64| n * ZS;

    // Conventional zones are a plain disk.
    talk.expect(OK, OUT, 5, &DATA, 0);
    let read = talk.expect(OK, IN, 5, &[], 512);
    assert_eq!((read.data, read.written), (DATA.to_vec(), 513));
    for kind in [OPEN, CLOSE, FINISH, RESET] {
        talk.plain(INVALID, kind, zone(1));
    }
    talk.expect(INVALID, APPEND, zone(1), &DATA, 8);

    // Writes at the write pointer.
    talk.expect(OK, OUT, zone(2), &DATA, 0);
    talk.expect(UNALIGNED, OUT, zone(2), &DATA, 0);
    talk.expect(UNALIGNED, OUT, zone(2) + 2, &DATA, 0);
    assert_eq!(talk.zone(zone(2)), (2, zone(2) + 1));
    // Appends.
    let append = talk.expect(OK, APPEND, zone(2), &[1; 1024], 8);
    assert_eq!(append.data, (zone(2) + 1).to_le_bytes());
    talk.expect(INVALID, APPEND, zone(2) + 1, &DATA, 8);
    talk.expect(INVALID, APPEND, 8 * ZS, &DATA, 8);
    talk.expect(INVALID, APPEND, u64::MAX, &DATA, 8);
    talk.expect(INVALID, APPEND, zone(2), &[], 8);
    talk.expect(UNALIGNED, APPEND, zone(2), &DATA[..100], 8);
    talk.expect(IOERR, APPEND, zone(2), &DATA, 7);
    assert_eq!(talk.zone(zone(2)), (2, zone(2) + 3));
    let large = vec![3; (ZONE / 4 * 3) as usize + 512];
    talk.expect(INVALID, APPEND, zone(3), &large, 8);
    // Past the capacity; into the next zone.
    talk.expect(INVALID, OUT, zone(3), &large, 0);
    talk.expect(INVALID, OUT, zone(3), &vec![3; ZONE as usize + 512], 0);
    assert_eq!(talk.zone(zone(3)), (1, zone(3)));
    talk.expect(OK, OUT, zone(3), &large[512..], 0);
    assert_eq!(talk.zone(zone(3)).0, 14);
    talk.expect(INVALID, OUT, zone(3), &DATA, 0);
    talk.expect(INVALID, APPEND, zone(3), &DATA, 8);
    talk.plain(INVALID, OPEN, zone(3));

    // Reads across zones: between conventional ones, out of a sequential one.
    talk.expect(OK, IN, ZS - 1, &[], 1024);
    talk.expect(INVALID, IN, zone(4) - 1, &[], 1024);
    talk.expect(OK, IN, zone(4) - 1, &[], 512);
    talk.expect(IOERR, IN, 8 * ZS - 1, &[], 1024);

    // Resources: 2 open, 3 active.
    talk.plain(OK, RESET_ALL, 77);
    talk.plain(OK, OPEN, zone(2));
    assert_eq!(talk.zone(zone(2)), (3, zone(2)));
    talk.plain(OK, OPEN, zone(3));
    talk.plain(OPEN_RESOURCE, OPEN, zone(4));
    talk.expect(OPEN_RESOURCE, OUT, zone(4), &DATA, 0);
    talk.expect(OPEN_RESOURCE, APPEND, zone(4), &DATA, 8);
    assert_eq!(talk.zone(zone(4)), (1, zone(4)));
    for n in [2, 3] {
        talk.expect(OK, OUT, zone(n), &DATA, 0);
        talk.plain(OK, CLOSE, zone(n));
        assert_eq!(talk.zone(zone(n)).0, 4);
    }
    talk.expect(OK, OUT, zone(4), &DATA, 0);
    talk.plain(ACTIVE_RESOURCE, OPEN, zone(5));
    talk.expect(ACTIVE_RESOURCE, OUT, zone(5), &DATA, 0);
    talk.expect(ACTIVE_RESOURCE, APPEND, zone(5), &DATA, 8);
    talk.plain(INVALID, CLOSE, zone(5) + 1);
    talk.plain(OK, FINISH, zone(4));
    assert_eq!(talk.zone(zone(4)).0, 14);
    talk.plain(INVALID, CLOSE, zone(4));
    talk.plain(OK, RESET, zone(4));
    talk.plain(OK, RESET, zone(4));
    assert_eq!(talk.zone(zone(4)), (1, zone(4)));
    for kind in [OPEN, CLOSE, FINISH, RESET] {
        talk.plain(INVALID, kind, 8 * ZS);
        talk.plain(INVALID, kind, zone(5) + 8);
        talk.plain(INVALID, kind, u64::MAX);
    }

    // Reports into buffers of any size.
    for (bytes, zones) in [(64, 0), (127, 0), (128, 1), (64 * 3, 2), (64 * 9, 8), (64 * 100, 8)] {
        let report = talk.expect(OK, REPORT, 0, &[], bytes);
        assert_eq!(report.data[0], zones, "{bytes}");
        // All of the buffer, zeroes behind the report, and the status.
        assert_eq!(report.written, bytes + 1);
    }
    for bytes in [0, 1, 63] {
        talk.expect(INVALID, REPORT, 0, &[], bytes);
    }
    let rest = talk.expect(OK, REPORT, zone(6) + 9, &[], 64 * 9).data;
    assert_eq!((rest[0], &rest[64 + 8..64 + 16]), (2, &zone(6).to_le_bytes()[..]));
    talk.expect(INVALID, REPORT, 8 * ZS, &[], 640);
    talk.expect(INVALID, REPORT, u64::MAX, &[], 640);

    // What a host-managed device does not offer, and what nobody has.
    talk.expect(UNSUPP, DISCARD, 0, &range(0, 8, 0), 0);
    talk.expect(UNSUPP, WRITE_ZEROES, 0, &range(0, 8, 0), 0);
    talk.expect(UNSUPP, SECURE_ERASE, 0, &range(0, 8, 0), 0);
    talk.expect(UNSUPP, GET_LIFETIME, 0, &[], 6);
    talk.expect(UNSUPP, 0x7fff_ffff, 0, &[], 0);
    let id = talk.expect(OK, GET_ID, 0, &[], 20);
    assert_eq!((&id.data[..], id.written), (&b"a serial number of 2"[..], 21));
    talk.plain(IOERR, GET_ID, 0);
    talk.plain(OK, FLUSH, 0);
}

fn on_dead_zones(told: &mut Told) {
    let mut image = CreateOptions::new(geometry());
    image.read_only_zones = vec![2];
    image.offline_zones = vec![3];
    let device = Served::zoned(Spec { image, ..Spec::default() });
    let mut guest = device.guest(1);
    let mut talk = Talk { guest: &mut guest, told };
    assert_eq!((talk.zone(2 * ZS).0, talk.zone(3 * ZS).0), (13, 15));
    talk.expect(OK, IN, 2 * ZS, &[], 512);
    talk.expect(INVALID, IN, 3 * ZS, &[], 512);
    for zone in [2 * ZS, 3 * ZS] {
        talk.expect(INVALID, OUT, zone, &DATA, 0);
        talk.expect(INVALID, APPEND, zone, &DATA, 8);
        for kind in [OPEN, CLOSE, FINISH, RESET] {
            talk.plain(INVALID, kind, zone);
        }
    }
    talk.plain(OK, RESET_ALL, 0);
}

fn on_a_read_only_device(told: &mut Told) {
    let device = Served::zoned(Spec { read_only: true, ..Spec::default() });
    let mut guest = device.guest(1);
    let mut talk = Talk { guest: &mut guest, told };
    assert_ne!(talk.guest.offered & (1 << 5), 0);
    talk.expect(IOERR, OUT, 0, &DATA, 0);
    talk.expect(IOERR, APPEND, 2 * ZS, &DATA, 8);
    for kind in [OPEN, CLOSE, FINISH, RESET, RESET_ALL] {
        talk.plain(IOERR, kind, 2 * ZS);
    }
    talk.expect(OK, IN, 0, &[], 512);
    talk.plain(OK, FLUSH, 0);
}

fn on_a_regular_device(told: &mut Told) {
    let device = Served::regular(1 << 20);
    let mut guest = device.guest(1);
    let mut talk = Talk { guest: &mut guest, told };
    assert_eq!(talk.guest.offered & (1 << 17), 0);
    talk.expect(OK, OUT, 0, &[7; 4096], 0);
    talk.expect(OK, WRITE_ZEROES, 0, &range(1, 1, 0), 0);
    talk.expect(OK, WRITE_ZEROES, 0, &[range(2, 1, 1), range(4, 2, 0)].concat(), 0);
    let read = talk.expect(OK, IN, 0, &[], 4096).data;
    let zeroed: Vec<_> = read.chunks(512).map(|sector| sector == [0; 512]).collect();
    assert_eq!(zeroed, [false, true, true, false, true, true, false, false]);
    talk.expect(OK, DISCARD, 0, &range(0, 8, 0), 0);
    talk.expect(UNSUPP, DISCARD, 0, &range(0, 8, 1), 0);
    talk.expect(UNSUPP, DISCARD, 0, &range(0, 8, 2), 0);
    talk.expect(UNSUPP, WRITE_ZEROES, 0, &range(0, 8, 0x8000_0000), 0);
    for kind in [DISCARD, WRITE_ZEROES] {
        talk.expect(IOERR, kind, 0, &[], 0);
        talk.expect(IOERR, kind, 0, &range(0, 8, 0)[..15], 0);
        talk.expect(IOERR, kind, 0, &range(2048, 8, 0), 0);
        talk.expect(IOERR, kind, 0, &range(u64::MAX, 8, 0), 0);
        talk.expect(IOERR, kind, 0, &range(0, u32::MAX, 0), 0);
        talk.expect(IOERR, kind, 0, &range(0, 1, 0).repeat(33), 0);
        talk.expect(OK, kind, 0, &range(0, 1, 0).repeat(32), 0);
    }
    talk.expect(UNSUPP, APPEND, 0, &DATA, 8);
    talk.expect(UNSUPP, REPORT, 0, &[], 640);
    for kind in [OPEN, CLOSE, FINISH, RESET, RESET_ALL] {
        talk.plain(UNSUPP, kind, 0);
    }
}

fn on_large_blocks(told: &mut Told) {
    let image = CreateOptions::new(GeometryConfig { block_size: 4096, ..geometry() });
    let device = Served::zoned(Spec { image, ..Spec::default() });
    let mut guest = device.guest(1);
    let mut talk = Talk { guest: &mut guest, told };
    assert_eq!(talk.guest.config(20, 4).unwrap(), 4096_u32.to_le_bytes());
    talk.expect(OK, OUT, 2 * ZS, &[5; 4096], 0);
    // An end off the granularity is no write at the write pointer; elsewhere it is an error.
    talk.expect(UNALIGNED, OUT, 2 * ZS + 8, &DATA, 0);
    talk.expect(UNALIGNED, OUT, 2 * ZS + 9, &[5; 4096], 0);
    talk.expect(UNALIGNED, APPEND, 2 * ZS, &DATA, 8);
    talk.expect(IOERR, OUT, 1, &DATA, 0);
    talk.expect(IOERR, IN, 2 * ZS, &[], 512);
}

fn on_a_failing_device(told: &mut Told) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.zbd");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = CreateOptions::new(geometry());
    runtime.block_on(block_backend::image::create_zoned(&path, &options, false)).unwrap();
    // The first report is the device's own, when it is made.
    let image = format!(
        "driver=fault-inject,rules.a.op=report,rules.a.skip=1,rules.a.action=error,\
         rules.b.op=read+write+append+manage,rules.b.action=error,rules.b.error=enospc,\
         rules.c.op=flush,rules.c.times=1,rules.c.action=error,\
         file.driver=zoned-file,file.file.driver=file,file.file.filename={}",
        path.display()
    );
    let device = Served::image(dir, image, false, 1);
    let mut guest = device.guest(1);
    let mut talk = Talk { guest: &mut guest, told };
    talk.expect(IOERR, IN, 0, &[], 512);
    talk.expect(IOERR, OUT, 0, &DATA, 0);
    talk.expect(IOERR, APPEND, 2 * ZS, &DATA, 8);
    talk.expect(IOERR, REPORT, 0, &[], 640);
    talk.plain(IOERR, RESET, 2 * ZS);
    talk.plain(IOERR, FLUSH, 0);
    talk.plain(OK, FLUSH, 0);
}
