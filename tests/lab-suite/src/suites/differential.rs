//! Random sequences of operations on a device and on the emulated device of the same geometry: the
//! same outcome of each, and the same zones afterwards.
//!
//! What may differ:
//! - which implicitly open zone a device closes to make room: so implicitly open and closed are
//!   taken for the same;
//! - how much of a range a refused operation has done: so both are reset then;
//! - a zone that is closed untouched is closed in NVMe, and empty elsewhere: it is not asked for;
//! - which of two reasons a range is refused for: the driver looks at all zones of a range before
//!   the device counts its open zones;
//! - whether finishing an empty zone needs an active resource: then both are reset, too.
//!
//! The sequences are the same on every run but one, whose seed is printed: `LAB_SEED` repeats it.

use crate::harness::Suite;
use crate::subject::{
    BUFFERED, Device, NO_FLAGS, data, graph, manage, read, sequential, unit, zones,
};
use block_core::{ChildNeeds, ChildRole, Node, Options, Result, Zone, ZoneCondition, ZoneOp};
use std::path::Path;
use std::sync::Arc;
use zoned_file::{CreateOptions, GeometryConfig};

const SEEDS: u64 = 9;
const STEPS: usize = 320;

/// A small generator; sequences must be the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Write { zone: usize, off: i64, units: u64 },
    Append { zone: usize, units: u64 },
    Zeroes { zone: usize, units: u64 },
    Manage { op: ZoneOp, zone: usize, count: usize },
    Everything { op: ZoneOp },
    Fill { zone: usize },
}

fn op(random: &mut Random, zones: usize) -> Op {
    // Some zones are used more than others, so that they come to be full.
    let among = if random.next(3) == 0 { zones as u64 } else { 6 };
    let zone = random.next(among) as usize;
    let units = 1 + random.next(8);
    match random.next(20) {
        0..=4 => Op::Append { zone, units },
        5..=8 => Op::Write { zone, off: 0, units },
        9 => Op::Write { zone, off: random.next(5) as i64 - 2, units },
        10 => Op::Zeroes { zone, units },
        11 => Op::Fill { zone },
        12 | 13 => Op::Manage { op: ZoneOp::Open, zone, count: 1 },
        14 => Op::Manage { op: ZoneOp::Close, zone, count: 1 },
        15 => Op::Manage { op: ZoneOp::Finish, zone, count: 1 },
        16 => Op::Manage { op: ZoneOp::Reset, zone, count: 1 },
        17 => Op::Manage { op: ZoneOp::ALL[random.next(4) as usize], zone, count: 2 },
        18 if random.next(4) == 0 => {
            Op::Everything { op: [ZoneOp::Reset, ZoneOp::Close][random.next(2) as usize] }
        }
        _ => Op::Append { zone, units: 1 },
    }
}

/// An image with the geometry of the device.
async fn emulated(path: &Path, like: &Node) -> Arc<Node> {
    let all = zones(like).await;
    let limits = like.limits().zoned.unwrap();
    let first = all.iter().find(|z| z.zone_type.is_sequential()).unwrap();
    let geometry = GeometryConfig {
        size: like.length(),
        zone_size: limits.zone_size,
        zone_capacity: (first.capacity != first.length).then_some(first.capacity),
        conventional: all.iter().take_while(|z| !z.zone_type.is_sequential()).count() as u64,
        block_size: limits.write_granularity,
        max_open: limits.max_open_zones,
        max_active: limits.max_active_zones,
    };
    std::fs::write(path, []).unwrap();
    let graph = graph();
    let file = Options::driver("file").set("filename", path.to_str().unwrap());
    let node = graph.open_options(file.clone(), BUFFERED).await.unwrap();
    let needs =
        ChildNeeds { role: ChildRole::File, write: true, share_write: false, carries_zones: false };
    let child = node.attach(needs, "create").unwrap();
    zoned_file::create(&child, &CreateOptions::new(geometry)).await.unwrap();
    drop(child);
    node.close().await.unwrap();
    drop(node);
    let image = Options::driver("zoned-file").child("file", file);
    graph.open_options(image, BUFFERED).await.unwrap()
}

/// Does one operation; what came of it as text.
async fn outcome(node: &Node, all: &[Zone], op: Op, seed: u64) -> String {
    let unit = unit(node);
    let now = |zone: usize| async move { node.report_zones(all[zone].start, 1).await.unwrap()[0] };
    let tell = |result: Result<()>| match result {
        Ok(()) => "ok".to_owned(),
        Err(e) => e.kind().name().to_owned(),
    };
    match op {
        Op::Write { zone, off, units } => {
            let z = now(zone).await;
            let at = z.write_pointer.unwrap_or(z.start).saturating_add_signed(off * unit as i64);
            if at + units * unit > node.length() {
                return "not asked".to_owned();
            }
            tell(node.write(at, data(seed, units * unit), NO_FLAGS).await)
        }
        Op::Append { zone, units } => {
            match node.append(all[zone].start, data(seed, units * unit), NO_FLAGS).await {
                Ok(at) => format!("at {at:#x}"),
                Err(e) => e.kind().name().to_owned(),
            }
        }
        Op::Zeroes { zone, units } => {
            let z = now(zone).await;
            let at = z.write_pointer.unwrap_or(z.start);
            if at + units * unit > node.length() {
                return "not asked".to_owned();
            }
            tell(node.write_zeroes(at, units * unit, NO_FLAGS).await)
        }
        Op::Fill { zone } => {
            let z = now(zone).await;
            match z.write_pointer {
                Some(at) if at < z.writable_end() => {
                    tell(node.write(at, data(seed, z.writable_end() - at), NO_FLAGS).await)
                }
                _ => "not asked".to_owned(),
            }
        }
        Op::Manage { op: ZoneOp::Close, zone, count }
            if untouched(all, node, zone, count).await =>
        {
            "not asked".to_owned()
        }
        Op::Everything { op: ZoneOp::Close } if untouched(all, node, 0, all.len()).await => {
            "not asked".to_owned()
        }
        Op::Manage { op, zone, count } => {
            let last = all[(zone + count - 1).min(all.len() - 1)];
            let len = last.end() - all[zone].start;
            tell(node.manage_zones(op, all[zone].start, len).await)
        }
        Op::Everything { op } => tell(node.manage_zones(op, 0, node.length()).await),
    }
}

/// Whether one of the zones is open and nothing is written in it.
async fn untouched(all: &[Zone], node: &Node, zone: usize, count: usize) -> bool {
    let now = node.report_zones(all[zone].start, count).await.unwrap();
    now.iter().any(|z| z.condition.is_open() && z.write_pointer == Some(z.start))
}

/// A zone as it is compared.
fn seen(mut zone: Zone) -> Zone {
    if zone.condition == ZoneCondition::ImplicitOpen {
        zone.condition = ZoneCondition::Closed;
    }
    if zone.condition == ZoneCondition::Full {
        zone.write_pointer = None;
    }
    zone
}

async fn compare(device: Device, seed: u64) {
    let subject = device.fresh_with_one_limit();
    let real = subject.open().await;
    let path = std::path::PathBuf::from(format!("/tmp/emulated-{seed}"));
    let model = emulated(&path, &real).await;
    let all = zones(&real).await;
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9) + 0x1234_5678_9ABC);
    let mut history = Vec::new();
    for step in 0..STEPS {
        let op = op(&mut random, all.len());
        let data_seed = seed.wrapping_mul(1000) + step as u64;
        let ours = outcome(&real, &all, op, data_seed).await;
        let theirs = outcome(&model, &all, op, data_seed).await;
        history.push(format!("{op:?}: {ours}"));
        let tail = || history[history.len().saturating_sub(12)..].join("\n    ");
        let resources = |s: &str| s.starts_with("too-many");
        let may_differ = match op {
            Op::Manage { op: ZoneOp::Finish, .. } if resources(&ours) || resources(&theirs) => true,
            Op::Manage { count, .. } => count > 1 && ours != "ok" && theirs != "ok",
            _ => false,
        };
        if may_differ {
            for node in [&real, &model] {
                node.manage_zones(ZoneOp::Reset, 0, node.length()).await.unwrap();
            }
        } else {
            assert_eq!(ours, theirs, "step {step} of seed {seed}: {op:?}\n    {}", tail());
        }
        let (a, b) = (zones(&real).await, zones(&model).await);
        for (a, b) in a.iter().zip(&b) {
            assert_eq!(
                seen(*a),
                seen(*b),
                "after step {step} of seed {seed}: {op:?}\n    {}",
                tail()
            );
        }
    }
    for z in sequential(&real).await {
        let written = z.write_pointer.map_or(0, |p| p.min(z.writable_end()) - z.start);
        if z.condition != ZoneCondition::Full && written > 0 {
            assert_eq!(read(&real, z.start, written).await, read(&model, z.start, written).await);
        }
    }
    manage(&real, ZoneOp::Reset, &sequential(&real).await[0]).await.unwrap();
    drop(model);
    std::fs::remove_file(path).unwrap();
}

/// A seed that is another on each run.
fn from_the_clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    1_000_000 + now.as_micros() as u64 % 1_000_000_000
}

pub async fn run(device: &Device, suite: &mut Suite<'_>) {
    let given = std::env::var("LAB_SEED").ok();
    let seeds: Vec<u64> = match &given {
        Some(seed) => vec![seed.parse().expect("LAB_SEED is a number")],
        None => (1..=SEEDS).chain([from_the_clock()]).collect(),
    };
    for seed in &seeds {
        let name = match *seed {
            seed if seed <= SEEDS => format!("sequence_{seed}"),
            seed => format!("LAB_SEED={seed}"),
        };
        suite.case(&name, compare(device.clone(), *seed)).await;
    }
    println!(
        "{} operations on {} compared with the emulated device; the last sequence is LAB_SEED={}",
        seeds.len() * STEPS,
        device.name(),
        seeds.last().unwrap()
    );
}
