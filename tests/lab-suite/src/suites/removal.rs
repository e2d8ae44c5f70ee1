//! A device that goes away while it is in use, and comes back.

use crate::harness::Suite;
use crate::plug::Plug;
use crate::subject::{
    DIRECT, Device, NO_FLAGS, data, kind, open, open_soon, options, sequential, unit,
};
use block_core::{Node, Result, Zone, ZoneOp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// No request may take longer than this to end once the device is gone.
pub const SOON: Duration = Duration::from_secs(110);

/// How requests are made while the device goes away.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// Nothing is in flight.
    None,
    /// Appends and resets.
    Appends,
    /// As before, with `append=native` or whatever `auto` is for a device that others use, too.
    Shared,
    /// Reads, reports, flushes, open and close of zones, large writes.
    Mixed,
}

/// Tasks that repeat an operation each until it fails.
#[derive(Default)]
pub struct Tasks {
    set: JoinSet<(u64, block_core::Error)>,
    /// How often each has worked.
    worked: Vec<Arc<AtomicU64>>,
}

impl Tasks {
    /// One more, which is told how often it has worked.
    pub fn spawn<F>(&mut self, mut operation: impl FnMut(u64) -> F + Send + 'static)
    where
        F: Future<Output = Result<()>> + Send,
    {
        let worked = Arc::new(AtomicU64::new(0));
        self.worked.push(Arc::clone(&worked));
        self.set.spawn(async move {
            loop {
                let count = worked.load(Ordering::Relaxed);
                match operation(count).await {
                    Ok(()) => worked.store(count + 1, Ordering::Relaxed),
                    Err(error) => return (count, error),
                }
            }
        });
    }

    /// Waits until each has worked, or so long that one cannot: then its error says why.
    pub async fn are_at_work(&self) {
        for _ in 0..6000 {
            if self.worked.iter().all(|worked| worked.load(Ordering::Relaxed) > 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Each has worked and ends soon, by an error of the device.
    pub async fn end_by_an_error(self) {
        let ended = tokio::time::timeout(SOON, self.set.join_all()).await;
        for (count, error) in ended.expect("requests in flight end") {
            assert!(count > 0, "it worked before: {error}");
            assert_eq!(error.kind().name(), "io", "{error}");
        }
    }
}

/// Appends, and resets the zone when it is full.
async fn append(node: &Node, z: Zone, len: u64, seed: u64) -> Result<()> {
    match node.append(z.start, data(seed, len), NO_FLAGS).await {
        Err(e) if e.kind().name() == "zone-full" => {
            node.manage_zones(ZoneOp::Reset, z.start, z.length).await
        }
        result => result.map(drop),
    }
}

fn start(load: Load, node: &Arc<Node>, seq: &[Zone], unit: u64) -> Tasks {
    let mut tasks = Tasks::default();
    let appender = |tasks: &mut Tasks, z: Zone, len: u64| {
        let node = Arc::clone(node);
        tasks.spawn(move |i| {
            let node = Arc::clone(&node);
            async move { append(&node, z, len, i).await }
        });
    };
    match load {
        Load::None => {}
        Load::Appends | Load::Shared => {
            for z in &seq[..3] {
                for _ in 0..3 {
                    appender(&mut tasks, *z, unit);
                }
            }
        }
        Load::Mixed => {
            let large = (64 * unit).min(seq[0].capacity);
            appender(&mut tasks, seq[0], large);
            let (z, other) = (seq[1], Arc::clone(node));
            tasks.spawn(move |_| {
                let other = Arc::clone(&other);
                async move { other.read(z.start, vec![0; unit as usize].into()).await.map(drop) }
            });
            let other = Arc::clone(node);
            tasks.spawn(move |_| {
                let other = Arc::clone(&other);
                async move { other.report_zones(0, usize::MAX).await.map(drop) }
            });
            let (z, other) = (seq[2], Arc::clone(node));
            tasks.spawn(move |i| {
                let op = [ZoneOp::Open, ZoneOp::Close, ZoneOp::Finish, ZoneOp::Reset];
                let other = Arc::clone(&other);
                async move { other.manage_zones(op[i as usize % 4], z.start, z.length).await }
            });
            let (z, other) = (seq[3], Arc::clone(node));
            tasks.spawn(move |i| {
                let other = Arc::clone(&other);
                async move {
                    append(&other, z, unit, i).await?;
                    other.flush().await
                }
            });
        }
    }
    tasks
}

async fn round(device: Device, load: Load) {
    let subject = device.fresh();
    let shared = if matches!(load, Load::Shared) { "off" } else { "on" };
    let options_of = |path: &std::path::Path| options(path).set("locking", shared);
    let node = open_soon(options_of(&subject.path), DIRECT).await.unwrap();
    let (unit, seq) = (unit(&node), sequential(&node).await);
    let tasks = start(load, &node, &seq, unit);
    tasks.are_at_work().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let plug = tokio::task::spawn_blocking(move || Plug::pull(&device, &subject)).await.unwrap();
    tasks.end_by_an_error().await;
    let afterwards = async {
        for z in &seq {
            assert_eq!(kind(node.append(z.start, data(1, unit), NO_FLAGS).await), "io");
            assert_eq!(kind(node.write(z.start, data(1, unit), NO_FLAGS).await), "io");
            for op in ZoneOp::ALL {
                assert_eq!(kind(node.manage_zones(op, z.start, z.length).await), "io");
            }
        }
        assert_eq!(kind(node.report_zones(0, 1).await), "io");
        assert_eq!(kind(node.report_zones(0, usize::MAX).await), "io");
        assert_eq!(kind(node.read(0, vec![0; unit as usize].into()).await), "io");
        node.settle().await.unwrap();
        let _ = node.close().await;
    };
    tokio::time::timeout(SOON, afterwards).await.expect("later requests end, and settle and close");
    assert_eq!(kind(open(options_of(plug.path()), DIRECT).await), "io", "there is no device");
    drop(node);
    // It comes back, perhaps under another name, and works.
    if let Some(subject) = tokio::task::spawn_blocking(move || plug.push()).await.unwrap() {
        let node = subject.open().await;
        let z = sequential(&node).await[0];
        node.manage_zones(ZoneOp::Reset, z.start, z.length).await.unwrap();
        let at = node.append(z.start, data(1, unit), NO_FLAGS).await.unwrap();
        assert_eq!(at, z.start);
    }
}

pub async fn run(device: &mut Device, suite: &mut Suite<'_>) {
    let rounds = std::env::var("LAB_ROUNDS").map_or(1, |n| n.parse().expect("LAB_ROUNDS"));
    for number in 1..=rounds {
        for (name, load) in [
            ("requests_end_with_an_error", Load::Appends),
            ("requests_of_a_shared_device_end_with_an_error", Load::Shared),
            ("every_kind_of_request_ends_with_an_error", Load::Mixed),
            ("an_idle_node_ends_with_an_error", Load::None),
        ] {
            let name = if rounds == 1 { name.to_owned() } else { format!("{name}_{number}") };
            let here = device.clone();
            suite.case(&name, round(here, load)).await;
            device.find_again();
        }
    }
}
