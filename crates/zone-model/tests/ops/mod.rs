//! Random devices and random requests.
//!
//! A request names places by what is interesting there (a zone's start, its write pointer, the end
//! of its capacity, its end, give or take some blocks and bytes), because random numbers would
//! hardly ever hit them. It becomes numbers when it is its turn.

use super::naive::{Naive, Numbers};
use block_core::{ZoneCondition, ZoneOp};
use proptest::prelude::*;
use std::fmt;
use zone_model::GeometryConfig;

/// A device, in blocks.
#[derive(Clone, Debug)]
pub struct Device {
    pub block: u32,
    pub zone: u64,
    pub capacity: Option<u64>,
    /// Whole zones, and the blocks of a smaller last one (0 = none).
    pub zones: u64,
    pub tail: u64,
    pub conventional: u64,
    pub max_open: u32,
    pub max_active: u32,
    pub max_append: u64,
}

impl Device {
    pub fn config(&self) -> GeometryConfig {
        let block = u64::from(self.block);
        GeometryConfig {
            size: (self.zones * self.zone + self.tail) * block,
            zone_size: self.zone * block,
            zone_capacity: self.capacity.map(|blocks| blocks * block),
            conventional: self.conventional,
            block_size: self.block,
            max_open: self.max_open,
            max_active: self.max_active,
        }
    }

    pub fn max_append_bytes(&self) -> u64 {
        self.max_append * u64::from(self.block)
    }

    pub fn numbers(&self) -> Numbers {
        let block = i128::from(self.block);
        Numbers {
            size: i128::from(self.zones * self.zone + self.tail) * block,
            zone_size: i128::from(self.zone) * block,
            capacity: i128::from(self.capacity.unwrap_or(self.zone)) * block,
            conventional: i128::from(self.conventional),
            block,
            max_open: i128::from(self.max_open),
            max_active: i128::from(self.max_active),
            max_append: i128::from(self.max_append) * block,
        }
    }
}

pub fn device(most_zones: u64, most_limit: u32) -> impl Strategy<Value = Device> {
    (
        prop_oneof![Just(512u32), Just(1024), Just(4096)],
        prop_oneof![1 => 1..=3u64, 3 => 3..=16u64],
        prop_oneof![2 => Just(None), 1 => (1..=3u64).prop_map(Some), 2 => (4..=16u64).prop_map(Some)],
        1..=most_zones,
        prop_oneof![1 => Just(0), 1 => 0..16u64],
        prop_oneof![2 => Just(0), 1 => 0..=3u64],
        prop_oneof![1 => Just(0), 3 => 1..=most_limit],
        prop_oneof![2 => Just(0), 3 => 1..=most_limit.saturating_mul(2)],
        prop_oneof![5 => Just(0), 1 => 1..4u64],
    )
        .prop_map(
            |(block, zone, capacity, zones, tail, conventional, open, active, max_append)| {
                let tail = tail % zone;
                Device {
                    block,
                    zone,
                    capacity: capacity.map(|blocks| 1 + (blocks - 1) % zone),
                    zones,
                    tail,
                    conventional: conventional.min(zones + u64::from(tail != 0)),
                    max_open: if active == 0 { open } else { open.min(active) },
                    max_active: active,
                    max_append,
                }
            },
        )
}

#[derive(Clone, Copy, Debug)]
pub enum Mark {
    Start,
    Pointer,
    Capacity,
    End,
}

/// A byte on the device, or far from it.
#[derive(Clone, Copy)]
pub enum Place {
    Near(u8, Mark, i8, i8),
    Far(u64),
}

#[derive(Clone, Copy)]
pub enum Length {
    Blocks(u8),
    /// From the write pointer to the end of the capacity, and some blocks.
    Rest(i8),
    Zones(u8),
    Bytes(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    AtOnce,
    Later,
}

#[derive(Clone)]
pub enum Op {
    Write(Place, Length, Landing),
    Append(Place, Length, Landing),
    Complete(u8, Length),
    Manage(ZoneOp, u8, u8),
    ManageAll(ZoneOp),
    ManageBytes(ZoneOp, Place, Length),
    Check(ZoneOp, u8, u8),
    SetCondition(u8, ZoneCondition),
    Report(Place, u8),
    Restart,
}

fn near(mark: Mark, blocks: i8, bytes: i8) -> impl Strategy<Value = Place> {
    any::<u8>().prop_map(move |zone| Place::Near(zone, mark, blocks, bytes))
}

fn hostile() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(u64::MAX),
        Just(u64::MAX - 511),
        Just(u64::MAX - 4095),
        Just(1 << 63),
        Just((1 << 63) - 512),
        Just(0),
        any::<u64>(),
        0..100_000u64,
    ]
}

// Boxed, as are lengths: a request's value tree holds all its alternatives, and is moved around.
fn place(usual: Mark) -> BoxedStrategy<Place> {
    prop_oneof![
        24 => near(usual, 0, 0),
        1 => near(Mark::Start, 0, 0),
        1 => near(Mark::Pointer, 0, 0),
        1 => near(Mark::Capacity, 0, 0),
        1 => near(Mark::Capacity, -1, 0),
        1 => near(Mark::End, 0, 0),
        1 => near(Mark::End, -1, 0),
        1 => (any::<u8>(), -1..=1i8, -1..=1i8)
            .prop_map(move |(zone, blocks, bytes)| Place::Near(zone, usual, blocks, bytes)),
        1 => hostile().prop_map(Place::Far),
    ]
    .boxed()
}

fn length() -> BoxedStrategy<Length> {
    prop_oneof![
        16 => (1..=3u8).prop_map(Length::Blocks),
        2 => Just(Length::Rest(0)),
        1 => (-2..=2i8).prop_map(Length::Rest),
        1 => (0..=12u8).prop_map(Length::Blocks),
        1 => (1..=3u8).prop_map(Length::Zones),
        1 => hostile().prop_map(Length::Bytes),
    ]
    .boxed()
}

fn zone_op() -> impl Strategy<Value = ZoneOp> {
    prop_oneof![
        4 => Just(ZoneOp::Open),
        3 => Just(ZoneOp::Close),
        1 => Just(ZoneOp::Finish),
        6 => Just(ZoneOp::Reset),
    ]
}

fn condition() -> impl Strategy<Value = ZoneCondition> {
    prop_oneof![
        12 => Just(ZoneCondition::Empty),
        2 => Just(ZoneCondition::ReadOnly),
        2 => Just(ZoneCondition::Offline),
        1 => Just(ZoneCondition::Full),
        1 => Just(ZoneCondition::Closed),
        1 => Just(ZoneCondition::ImplicitOpen),
        1 => Just(ZoneCondition::ExplicitOpen),
        1 => Just(ZoneCondition::NotWritePointer),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    let landing = || prop_oneof![2 => Just(Landing::AtOnce), 1 => Just(Landing::Later)];
    let bytes = || {
        prop_oneof![
            3 => (1..=3u8).prop_map(Length::Zones),
            1 => length(),
        ]
    };
    prop_oneof![
        16 => (place(Mark::Pointer), length(), landing()).prop_map(|(p, l, d)| Op::Write(p, l, d)),
        16 => (place(Mark::Start), length(), landing()).prop_map(|(p, l, d)| Op::Append(p, l, d)),
        10 => (any::<u8>(), length()).prop_map(|(zone, l)| Op::Complete(zone, l)),
        14 => (zone_op(), any::<u8>(), Just(1u8)).prop_map(|(op, z, n)| Op::Manage(op, z, n)),
        4 => (zone_op(), any::<u8>(), 0..=7u8).prop_map(|(op, z, n)| Op::Manage(op, z, n)),
        1 => zone_op().prop_map(Op::ManageAll),
        3 => (zone_op(), place(Mark::Start), bytes())
            .prop_map(|(op, p, l)| Op::ManageBytes(op, p, l)),
        2 => (zone_op(), any::<u8>(), 0..=7u8).prop_map(|(op, z, n)| Op::Check(op, z, n)),
        3 => (any::<u8>(), condition()).prop_map(|(zone, to)| Op::SetCondition(zone, to)),
        2 => (place(Mark::Start), 0..=6u8).prop_map(|(p, max)| Op::Report(p, max)),
        1 => Just(Op::Restart),
    ]
}

/// Most zone numbers fall on the device, and one in so many just past its end.
pub fn zone(raw: u8, naive: &Naive) -> usize {
    usize::from(raw) % (naive.count() + usize::from(raw > 250))
}

impl Place {
    pub fn resolve(self, naive: &Naive, block: u32) -> u64 {
        match self {
            Self::Far(offset) => offset,
            Self::Near(raw, mark, blocks, bytes) => {
                let [start, pointer, capacity, end] = naive.marks(zone(raw, naive));
                let base = match mark {
                    Mark::Start => start,
                    Mark::Pointer => pointer,
                    Mark::Capacity => capacity,
                    Mark::End => end,
                };
                let offset = base + i128::from(blocks) * i128::from(block) + i128::from(bytes);
                u64::try_from(offset).unwrap_or(u64::MAX)
            }
        }
    }
}

impl Length {
    /// The length in bytes, for a request in the zone that holds `offset`.
    pub fn resolve(self, naive: &Naive, device: &Device, offset: u64) -> u64 {
        let block = u64::from(device.block);
        match self {
            Self::Blocks(n) => u64::from(n) * block,
            Self::Zones(n) => u64::from(n) * device.zone * block,
            Self::Bytes(n) => n,
            Self::Rest(blocks) => {
                let rest = naive.rest(offset) + i128::from(blocks) * i128::from(block);
                u64::try_from(rest).unwrap_or(0)
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Far(offset) => write!(f, "at {offset:#x}"),
            Self::Near(zone, mark, 0, 0) => write!(f, "at {mark:?} of zone~{zone}"),
            Self::Near(zone, mark, blocks, bytes) => {
                write!(f, "at {mark:?}{blocks:+} blocks{bytes:+} bytes of zone~{zone}")
            }
        }
    }
}

impl fmt::Debug for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks(n) => write!(f, "len {n} blocks"),
            Self::Zones(n) => write!(f, "len {n} zones"),
            Self::Rest(0) => write!(f, "len rest"),
            Self::Rest(n) => write!(f, "len rest{n:+} blocks"),
            Self::Bytes(n) => write!(f, "len {n:#x}"),
        }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(place, len, landing) => write!(f, "write {place:?} {len:?} {landing:?}"),
            Self::Append(place, len, landing) => write!(f, "append {place:?} {len:?} {landing:?}"),
            Self::Complete(zone, len) => write!(f, "complete zone~{zone} {len:?}"),
            Self::Manage(op, zone, n) => write!(f, "{op} zone~{zone} and {n} zones"),
            Self::ManageAll(op) => write!(f, "{op} all"),
            Self::ManageBytes(op, place, len) => write!(f, "{op} {place:?} {len:?}"),
            Self::Check(op, zone, n) => write!(f, "check {op} zone~{zone} and {n} zones"),
            Self::SetCondition(zone, to) => write!(f, "make zone~{zone} {to}"),
            Self::Report(place, max) => write!(f, "report {place:?} {max} zones"),
            Self::Restart => write!(f, "restart"),
        }
    }
}
