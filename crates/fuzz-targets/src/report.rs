//! Zone reports as a hostile device gives them.

use crate::world::list;
use arbitrary::{Arbitrary, Unstructured};
use block_core::ErrorKind;

/// How far an input can come.
pub const OUTCOMES: &[&str] = &["refused", "one zone", "several zones"];

const ZONES: usize = 64;

#[derive(Debug)]
struct Input {
    head: Head,
    zones: Vec<RawZone>,
}

#[derive(Arbitrary, Debug)]
struct Head {
    zone_size: Number,
    length: Number,
    first: Number,
    asked: u16,
    /// More or fewer than there are, if it is large.
    claimed: u8,
    flags: u8,
}

#[derive(Arbitrary, Debug)]
struct RawZone {
    /// Which field is hostile, if any: what is hostile throughout gets no further than the first
    /// check.
    wrong: u8,
    start: Number,
    len: Number,
    pointer: Number,
    zone_type: u8,
    condition: u8,
    capacity: Number,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Small(u8),
    Any(u64),
}

impl Number {
    fn get(self) -> u64 {
        match self {
            Self::Small(n) => n.into(),
            Self::Any(n) => n,
        }
    }

    /// Small numbers as sectors, which is what devices are made of.
    fn sectors(self) -> u64 {
        match self {
            Self::Small(n) => u64::from(n) * 512,
            Self::Any(n) => n,
        }
    }
}

/// Tries one input.
pub fn run(data: &[u8]) -> &'static str {
    let mut bytes = Unstructured::new(data);
    let head = Head::arbitrary(&mut bytes).unwrap();
    let input = Input { head, zones: list(&mut bytes, ZONES) };
    let head = &input.head;
    let (zone_size, length) = (head.zone_size.sectors(), head.length.sectors());
    let count = length.div_ceil(zone_size.max(1));
    let first = match head.first {
        Number::Small(n) => u64::from(n) % count.saturating_add(2),
        Number::Any(n) => n,
    };
    let reply = input.reply(zone_size, length, first);
    let asked = u32::from(head.asked);
    match file_posix::parse_zone_report(&reply, zone_size, length, first, asked) {
        Ok(zones) => {
            assert!(!zones.is_empty() && zones.len() <= usize::from(head.asked));
            let mut at = first.saturating_mul(zone_size);
            for zone in &zones {
                assert_eq!(zone.start, at, "{input:?}");
                assert!(zone.length > 0 && zone.length <= zone_size, "{input:?}");
                assert!(zone.start.checked_add(zone.length).is_some_and(|end| end <= length));
                assert!(zone.capacity <= zone.length, "{input:?}");
                let range = zone.start..=zone.end();
                assert!(zone.write_pointer.is_none_or(|p| range.contains(&p)), "{input:?}");
                at = zone.end();
            }
            if zones.len() > 1 { "several zones" } else { "one zone" }
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::InvalidDevice(_)), "{error}");
            "refused"
        }
    }
}

impl Input {
    /// `struct blk_zone_report` as words of the machine.
    fn reply(&self, zone_size: u64, length: u64, first: u64) -> Vec<u64> {
        let claimed = match self.head.claimed {
            0..200 => self.zones.len() as u32,
            n => u32::from(n - 200) << (n % 32),
        };
        let mut words = vec![0, pair(claimed, u32::from(self.head.flags))];
        for (number, zone) in (0_u64..).zip(&self.zones) {
            let start = first.saturating_add(number).saturating_mul(zone_size).min(length);
            let end = start.saturating_add(zone_size).min(length);
            words.extend(zone.words(start / 512, (end - start) / 512));
        }
        words
    }
}

impl RawZone {
    fn words(&self, start: u64, len: u64) -> [u64; 8] {
        let right = |field: u8| self.wrong < 200 || self.wrong % 6 != field;
        let pick = |field, good: u64, bad: Number| if right(field) { good } else { bad.get() };
        let kind = if right(3) { 1 + self.zone_type % 3 } else { self.zone_type };
        let known = [1, 2, 3, 4, 0xD, 0xE, 0xF][usize::from(self.condition % 7)];
        let condition = if right(4) { known } else { self.condition };
        let pointer = start.saturating_add(self.pointer.get() % len.max(1));
        let capacity = 1 + self.capacity.get() % len.max(1);
        let kinds = [kind, condition, 0, 0, 0, 0, 0, 0];
        [
            pick(0, start, self.start),
            pick(1, len, self.len),
            pick(2, pointer, self.pointer),
            word(kinds),
            pick(5, capacity, self.capacity),
            0,
            0,
            0,
        ]
    }
}

#[allow(clippy::host_endian_bytes)] // The kernel's structures are in the machine's own order.
fn word(bytes: [u8; 8]) -> u64 {
    u64::from_ne_bytes(bytes)
}

#[allow(clippy::host_endian_bytes)] // As above.
fn pair(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    word([a, b, c, d, e, f, g, h])
}
