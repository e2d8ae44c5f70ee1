//! What each rule does, from code and from options.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)] // In helpers of tests.

mod actions;
mod holds;
mod options;
mod which;

use block_conformance::memory::{MemoryConfig, MemoryDriver, MemoryZoned, MemoryZonedConfig};
use block_core::{
    BlockDriver, ChildNeeds, ChildRole, Graph, ImageSpec, Inherited, IoBufMut, Node, Registry,
    RequestFlags, Result, Zone, ZoneCondition, ZoneOp,
};
use fault_inject::{
    Action, Failure, FaultHandle, FaultInject, Intrusion, Ops, Place, Rule, When, fault_inject,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ZONE: u64 = 256 << 10;
const CAPACITY: u64 = 192 << 10;
const NONE: RequestFlags = RequestFlags::empty();
const SOON: Duration = Duration::from_millis(30);
const LATE: Duration = Duration::from_secs(120);

struct Subject {
    node: Arc<Node>,
    /// The same storage without faults.
    below: Arc<Node>,
    faults: FaultHandle,
}

fn over(driver: Box<dyn BlockDriver>) -> Subject {
    let needs = ChildNeeds {
        role: ChildRole::Filtered,
        write: true,
        share_write: false,
        carries_zones: true,
    };
    let below = Node::new("child", driver);
    let (driver, faults) = FaultInject::new(below.attach(needs, "faults").unwrap());
    Subject { node: Node::new("faults", Box::new(driver)), below, faults }
}

fn plain() -> Subject {
    over(Box::new(MemoryDriver::new(MemoryConfig::default())))
}

fn zoned() -> Subject {
    over(Box::new(MemoryZoned::new(MemoryZonedConfig::default())))
}

impl Subject {
    fn rule(&self, rule: Rule) {
        self.faults.add(rule).unwrap();
    }

    async fn write(&self, offset: u64, byte: u8, len: usize) -> Result<()> {
        self.node.write(offset, vec![byte; len].into(), NONE).await
    }

    async fn append(&self, zone: u64, byte: u8, len: usize) -> Result<u64> {
        self.node.append(zone * ZONE, vec![byte; len].into(), NONE).await
    }

    async fn below(&self, offset: u64, len: usize) -> Vec<u8> {
        self.below.read(offset, IoBufMut::zeroed(len).into()).await.unwrap().to_vec()
    }

    async fn zone(&self, index: u64) -> Zone {
        self.node.report_zones(index * ZONE, 1).await.unwrap()[0]
    }
}

fn eio(when: When) -> Action {
    Action::Fail { error: Failure::IO, when }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    result.expect_err("must fail").kind().name()
}
