//! `zblk export vhost-user` with a guest that lives on: it is killed under load, and the next server
//! takes up what it left.

use crate::process::{Place, Victim, a_moment};
use power_cut::Rng;
use virtio_driver::kind::{APPEND, IN, OUT, REPORT, RESET};
use virtio_driver::{Descriptor, Guest, UNTOUCHED, flags};

const ZONE: u64 = 1 << 20;
const BLOCK: usize = 4096;
/// Zones that are written at their write pointers, one request at a time each.
const WRITTEN: std::ops::Range<u64> = 1..5;
/// The zone that is appended to. (Zone 0 is conventional.)
const APPENDED: u64 = 5;
const APPENDS: usize = 3;
const MOST_BLOCKS: u64 = 4;

/// A place for one request: three descriptors, and memory.
struct Slot {
    index: u16,
    header: u64,
    data: u64,
    status: u64,
    asks: Option<Asks>,
}

#[derive(Clone)]
enum Asks {
    Write { zone: u64, data: Vec<u8> },
    Append { byte: u8 },
    Reset { zone: u64 },
    Other,
}

struct Machine {
    guest: Guest,
    slots: Vec<Slot>,
    /// What each zone holds.
    zones: Vec<Vec<u8>>,
    /// Where appends landed.
    appended: Vec<(u64, u8)>,
    answers: u64,
}

/// Kills so many times. Says what was done.
pub fn kill(mut rng: Rng, kills: u64) -> String {
    let place = Place::new();
    let create = ["create", "d.zbd", "--size", "6M", "--zone-size", "1M", "--conventional", "1"];
    place.zblk(&create).unwrap();
    let mut machine: Option<Machine> = None;
    let (mut taken_up, mut killed) = (0, 0);
    while killed < kills {
        let mut command = place.command("zblk");
        command.args(["export", "vhost-user", "d.zbd", "--socket", "s", "--write-through"]);
        let mut server = Victim::start(command, "");
        assert!(server.listen(), "no ready line");
        let socket = place.path("s");
        let machine = match &mut machine {
            Some(machine) => {
                machine.guest.reconnect(&socket).unwrap();
                machine
            }
            none => none.insert(Machine::new(&socket)),
        };
        machine.start();
        // Whatever the last one left must be answered, and well.
        taken_up += machine.slots.iter().filter(|slot| slot.asks.is_some()).count();
        while machine.slots.iter().any(|slot| slot.asks.is_some()) {
            machine.take_answer();
        }
        machine.verify();
        let enough = machine.answers + rng.below(30);
        machine.load(&mut rng);
        while machine.answers < enough {
            machine.take_answer();
            machine.load(&mut rng);
        }
        a_moment(&mut rng);
        let (was_alive, said) = server.kill();
        assert!(was_alive, "the server ended by itself: {said:?}");
        killed += 1;
        place.must_be_sound("d.zbd");
    }
    let answers = machine.map_or(0, |machine| machine.answers);
    format!("{killed} kills, {answers} answers, {taken_up} requests taken up by the next server")
}

impl Machine {
    fn new(socket: &std::path::Path) -> Self {
        let mut guest = Guest::connect(socket, 1, 64, 4 << 20).unwrap();
        let driver = &mut guest.queues[0].driver;
        let slots = (0..16)
            .map(|index| Slot {
                index: 3 * index,
                header: driver.place(16, 16),
                data: driver.place(64 << 10, 4096),
                status: driver.place(16, 16),
                asks: None,
            })
            .collect();
        let zones = vec![Vec::new(); 6];
        Self { guest, slots, zones, appended: Vec::new(), answers: 0 }
    }

    fn start(&mut self) {
        assert_eq!(self.guest.offered & (1 << 9), 0, "a flush is offered");
        self.guest.boot_with_record().unwrap();
    }

    /// Asks for something in a slot that is free.
    fn ask(&mut self, slot: usize, kind: u32, sector: u64, out: &[u8], answer: u32, asks: Asks) {
        let slot = &mut self.slots[slot];
        let driver = &mut self.guest.queues[0].driver;
        driver.write(slot.header, &kind.to_le_bytes());
        driver.write(slot.header + 8, &sector.to_le_bytes());
        driver.write(slot.data, out);
        driver.write(slot.status, &[UNTOUCHED; 16]);
        let last = slot.index + 2;
        // The position of an append lies before the status.
        let status = if kind == APPEND { 16 } else { 1 };
        let (len, write) = match out.len() {
            0 => (answer, flags::WRITE),
            n => (n as u32, 0),
        };
        let first = if len == 0 { last } else { slot.index + 1 };
        driver.set(slot.index, Descriptor::new(slot.header, 16, flags::NEXT, first));
        driver.set(slot.index + 1, Descriptor::new(slot.data, len, write | flags::NEXT, last));
        driver.set(last, Descriptor::new(slot.status, status, flags::WRITE, 0));
        slot.asks = Some(asks);
        driver.publish(slot.index);
        self.guest.queues[0].kick();
    }

    /// Takes one answer and believes it.
    fn take_answer(&mut self) {
        let (head, _) = self.guest.queues[0].used();
        let slot = &mut self.slots[usize::from(head / 3)];
        let driver = &self.guest.queues[0].driver;
        let asks = slot.asks.take().expect("an answer to nothing");
        let at = if matches!(asks, Asks::Append { .. }) { slot.status + 15 } else { slot.status };
        let status = driver.read(at, 1)[0];
        assert_eq!(status, 0, "a request of slot {head} failed");
        self.answers += 1;
        match asks {
            Asks::Write { zone, data } => self.zones[zone as usize].extend(data),
            Asks::Append { byte } => {
                let sector = driver.read(slot.status, 8).try_into().unwrap();
                self.appended.push((u64::from_le_bytes(sector), byte));
            }
            Asks::Reset { zone } if zone == APPENDED => self.appended.clear(),
            Asks::Reset { zone } => self.zones[zone as usize].clear(),
            Asks::Other => {}
        }
    }

    /// Keeps every zone busy.
    fn load(&mut self, rng: &mut Rng) {
        for zone in WRITTEN {
            let slot = zone as usize;
            if self.slots[slot].asks.is_some() {
                continue;
            }
            let position = self.zones[slot].len() as u64;
            let len = (rng.below(MOST_BLOCKS) + 1) * BLOCK as u64;
            if position + len > ZONE {
                self.ask(slot, RESET, zone * ZONE / 512, &[], 0, Asks::Reset { zone });
                continue;
            }
            let byte = rng.below(255) as u8 + 1;
            let data = vec![byte; len as usize];
            let sector = (zone * ZONE + position) / 512;
            self.ask(slot, OUT, sector, &data.clone(), 0, Asks::Write { zone, data });
        }
        let appends = 8..8 + APPENDS;
        let idle = appends.clone().all(|slot| self.slots[slot].asks.is_none());
        // Half a zone is left for appends that land twice.
        if self.appended.len() * BLOCK > ZONE as usize / 2 {
            if idle {
                let asks = Asks::Reset { zone: APPENDED };
                self.ask(8, RESET, APPENDED * ZONE / 512, &[], 0, asks);
            }
            return;
        }
        for slot in appends {
            if self.slots[slot].asks.is_none() {
                let byte = rng.below(255) as u8 + 1;
                let data = vec![byte; BLOCK];
                self.ask(slot, APPEND, APPENDED * ZONE / 512, &data, 0, Asks::Append { byte });
            }
        }
    }

    /// All that was ever answered is there.
    fn verify(&mut self) {
        for zone in WRITTEN {
            let expected = self.zones[zone as usize].clone();
            let report = self.look(REPORT, zone * ZONE / 512, 128);
            let pointer = u64::from_le_bytes(report[80..88].try_into().unwrap()) * 512;
            let full = report[64 + 25] == 14;
            assert!(full || pointer == zone * ZONE + expected.len() as u64, "zone {zone}");
            for (i, piece) in (0_u64..).zip(expected.chunks(64 << 10)) {
                let sector = (zone * ZONE + i * (64 << 10)) / 512;
                assert!(self.look(IN, sector, piece.len() as u32) == piece, "zone {zone}, {i}");
            }
        }
        for (sector, byte) in self.appended.clone() {
            assert_eq!(self.look(IN, sector, BLOCK as u32), vec![byte; BLOCK], "an append");
        }
    }

    fn look(&mut self, kind: u32, sector: u64, len: u32) -> Vec<u8> {
        self.ask(15, kind, sector, &[], len, Asks::Other);
        self.take_answer();
        self.guest.queues[0].driver.read(self.slots[15].data, len as usize)
    }
}
