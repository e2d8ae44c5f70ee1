//! Requests, flushes, restarts and crashes of an emulated device, each answer compared with that
//! of the naive model, and each byte with a plain array.

#[allow(missing_docs, dead_code)]
#[path = "../../../zone-model/tests/naive/mod.rs"]
mod naive;
mod oracle;

use crate::world::{after_crash, block_on, disk, list, new_image, open_backend};
use arbitrary::{Arbitrary, Unstructured};
use block_backend::BlockBackend;
use block_core::{RequestFlags, ZoneOp};
use oracle::Oracle;
use power_cut::PowerCutDisk;
use zoned_file::{CreateOptions, GeometryConfig};

/// How far an input can come.
pub const OUTCOMES: &[&str] = &["refusals only", "some done", "some done, and a crash"];

const STEPS: usize = 80;

/// A device, in blocks.
#[derive(Arbitrary, Debug)]
struct Shape {
    large_blocks: bool,
    zone: u8,
    capacity: u8,
    zones: u8,
    tail: u8,
    conventional: u8,
    max_open: u8,
    max_active: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Write(Place, Length, Options),
    WriteZeroes(Place, Length, Options),
    Append(Place, Length, Options),
    Manage(Op, Place, Length),
    ManageZone(Op, u8),
    ManageAll(Op),
    Read(Place, Length),
    Flush,
    Restart,
    Crash,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Open,
    Close,
    Finish,
    Reset,
}

impl Op {
    fn get(self) -> ZoneOp {
        match self {
            Self::Open => ZoneOp::Open,
            Self::Close => ZoneOp::Close,
            Self::Finish => ZoneOp::Finish,
            Self::Reset => ZoneOp::Reset,
        }
    }
}

/// A place by what is interesting there, because random numbers hardly ever hit it.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    Start(u8),
    Pointer(u8),
    NearPointer(u8, i8),
    Capacity(u8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Length {
    Blocks(u8),
    Rest(u8),
    Zones(u8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Options {
    fua: bool,
    may_unmap: bool,
}

impl Options {
    fn get(self) -> RequestFlags {
        let mut flags = RequestFlags::empty();
        flags.set(RequestFlags::FUA, self.fua);
        flags.set(RequestFlags::MAY_UNMAP, self.may_unmap);
        flags
    }
}

/// Tries one input.
pub fn run(data: &[u8]) -> &'static str {
    let mut bytes = Unstructured::new(data);
    let shape = Shape::arbitrary(&mut bytes).unwrap();
    let steps: Vec<Step> = list(&mut bytes, STEPS);
    block_on(async {
        let mut run = Run::new(&shape).await;
        for (number, step) in steps.into_iter().enumerate() {
            run.step(step).await;
            run.oracle.compare(&run.backend, &format!("after step {number}, {step:?}")).await;
        }
        run.outcome()
    })
}

struct Run {
    disk: PowerCutDisk,
    backend: BlockBackend,
    oracle: Oracle,
    done: usize,
    crashes: usize,
    /// Different in every write.
    fill: u8,
}

impl Shape {
    fn config(&self) -> GeometryConfig {
        let block = if self.large_blocks { 4096 } else { 512 };
        let zone = u64::from(self.zone % 8) + 1;
        let zones = u64::from(self.zones % 6) + 1;
        let tail = u64::from(self.tail) % zone;
        let max_active = u32::from(self.max_active % 6);
        let max_open = u32::from(self.max_open % 5);
        let bytes = |blocks: u64| blocks * u64::from(block);
        GeometryConfig {
            size: bytes(zones * zone + tail),
            zone_size: bytes(zone),
            zone_capacity: Some(bytes(u64::from(self.capacity) % zone + 1)),
            conventional: u64::from(self.conventional % 3).min(zones),
            block_size: block,
            max_open: if max_active == 0 { max_open } else { max_open.min(max_active) },
            max_active,
        }
    }
}

impl Run {
    async fn new(shape: &Shape) -> Self {
        let config = shape.config();
        let disk = disk(&new_image(&CreateOptions::new(config)).await);
        let backend = open_backend(&disk).await.unwrap();
        Self { disk, backend, oracle: Oracle::new(&config), done: 0, crashes: 0, fill: 0 }
    }

    fn outcome(&self) -> &'static str {
        match (self.done, self.crashes) {
            (0, _) => "refusals only",
            (_, 0) => "some done",
            _ => "some done, and a crash",
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Write(place, len, options) => {
                let (at, len) = self.oracle.range(place, len);
                // A length that no buffer has is for write-zeroes to try.
                let len = len.min(1 << 20);
                self.fill = self.fill % 251 + 1;
                let data = vec![self.fill; len as usize];
                let answer = self.backend.write_with(at, data.clone(), options.get()).await;
                self.done += usize::from(self.oracle.write(at, &data, options.fua, answer));
            }
            Step::WriteZeroes(place, len, options) => {
                let (at, len) = self.oracle.range(place, len);
                let answer = self.backend.write_zeroes(at, len, options.get()).await;
                // Only what is refused can be longer than the device.
                let data = vec![0; len.min(1 << 20) as usize];
                let longer = len > 1 << 20;
                assert!(!longer || answer.is_err(), "{step:?} was done");
                if !longer {
                    self.done += usize::from(self.oracle.write(at, &data, options.fua, answer));
                }
            }
            Step::Append(place, len, options) => {
                let (at, len) = self.oracle.range(place, len);
                self.fill = self.fill % 251 + 1;
                let data = vec![self.fill; len.min(1 << 20) as usize];
                let answer = self.backend.append_with(at, data.clone(), options.get()).await;
                self.done += usize::from(self.oracle.append(at, &data, options.fua, answer));
            }
            Step::Manage(op, place, len) => {
                let (at, len) = self.oracle.range(place, len);
                self.manage(op.get(), at, len).await;
            }
            Step::ManageZone(op, zone) => {
                let (at, len) = self.oracle.zone_range(zone);
                self.manage(op.get(), at, len).await;
            }
            Step::ManageAll(op) => self.manage(op.get(), 0, self.backend.length()).await,
            Step::Read(place, len) => {
                let (at, len) = self.oracle.range(place, len);
                let len = len.min(1 << 20) as usize;
                let answer = self.backend.read(at, len).await;
                self.oracle.read(at, len, answer);
            }
            Step::Flush => {
                self.backend.flush().await.unwrap();
                self.oracle.flushed();
            }
            Step::Restart => {
                self.backend.close().await.unwrap();
                self.oracle.flushed();
                self.oracle.restart();
                self.reopen(self.disk.live()).await;
            }
            Step::Crash => {
                self.crashes += 1;
                let content = after_crash(&self.disk);
                self.reopen(content).await;
                self.oracle.crash(&self.backend).await;
            }
        }
    }

    async fn manage(&mut self, op: ZoneOp, at: u64, len: u64) {
        let answer = self.backend.manage_zones(op, at, len).await;
        self.done += usize::from(self.oracle.manage(op, at, len, answer));
    }

    async fn reopen(&mut self, content: power_cut::Content) {
        self.disk = disk(&content);
        self.backend = open_backend(&self.disk).await.unwrap_or_else(|e| panic!("reopen: {e}"));
    }
}
