//! Devices that device-mapper makes of zoned ones.

use crate::harness::Suite;
use crate::nullb::Spec;
use crate::subject::{
    BUFFERED, DIRECT, NO_FLAGS, READ_ONLY, Subject, data, kind, manage, open, open_soon, options,
    pattern, read, sequential, zone, zones,
};
use crate::witness;
use block_core::{Zone, ZoneCondition, ZoneOp};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const UNIT: u64 = 4096;

/// A mapped device, which is removed when this is dropped.
struct Mapped {
    name: &'static str,
    path: PathBuf,
}

impl Mapped {
    fn new(name: &'static str, table: &str) -> Self {
        dmsetup(&["create", name, "--noudevsync", "--table", table]);
        // Its name in /dev/mapper is udev's work, which the lab does without.
        let show = ["info", "-c", "--noheadings", "-o", "minor", name];
        let minor = witness::run("dmsetup", &show);
        Self { name, path: PathBuf::from(format!("/dev/dm-{}", minor.trim())) }
    }

    /// Replaces what it does, while it is in use.
    fn becomes(&self, table: &str) {
        dmsetup(&["load", self.name, "--noudevsync", "--table", table]);
        dmsetup(&["suspend", self.name, "--noudevsync"]);
        dmsetup(&["resume", self.name, "--noudevsync"]);
    }

    fn options(&self) -> block_core::Options {
        options(&self.path)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let remove = ["remove", "--retry", "--noudevsync", self.name];
        let _ = Command::new("dmsetup").args(remove).stderr(Stdio::null()).status();
    }
}

fn dmsetup(args: &[&str]) {
    witness::run("dmsetup", args);
}

/// A zoned device below, and its zones but for the first three.
async fn below() -> (Subject, Vec<Zone>) {
    let subject = Subject::null_blk(&Spec::SMALL);
    let node = subject.open().await;
    let all = zones(&node).await;
    node.close().await.unwrap();
    (subject, all[3..9].to_vec())
}

/// The table of a device that shows these zones.
fn linear(subject: &Subject, part: &[Zone]) -> String {
    let len: u64 = part.iter().map(|z| z.length / 512).sum();
    format!("0 {len} linear {} {}", subject.device(), part[0].start / 512)
}

/// As [`linear`], and every write fails.
fn failing(subject: &Subject, part: &[Zone]) -> String {
    let len: u64 = part.iter().map(|z| z.length / 512).sum();
    let start = part[0].start / 512;
    format!("0 {len} flakey {} {start} 0 3600 1 error_writes", subject.device())
}

pub async fn run(suite: &mut Suite<'_>) {
    suite
        .case("a_part_of_a_zoned_device", async {
            let (subject, part) = below().await;
            let mapped = Mapped::new("part", &linear(&subject, &part));
            let node = open_soon(mapped.options(), DIRECT).await.unwrap();
            let base = part[0].start;
            let expected: Vec<Zone> = part
                .iter()
                .map(|z| Zone {
                    start: z.start - base,
                    write_pointer: z.write_pointer.map(|at| at - base),
                    ..*z
                })
                .collect();
            assert_eq!(zones(&node).await, expected);
            let (first, last) = (expected[0], *expected.last().unwrap());
            for z in [first, last] {
                for i in 0..3 {
                    let at = node.append(z.start, data(i, UNIT), NO_FLAGS).await.unwrap();
                    assert_eq!(at, z.start + i * UNIT);
                }
            }
            manage(&node, ZoneOp::Finish, &first).await.unwrap();
            let refused = node.append(first.start, data(1, UNIT), NO_FLAGS).await;
            assert_eq!(kind(refused), "zone-full");
            manage(&node, ZoneOp::Open, &expected[1]).await.unwrap();
            // The device below is taken, and shows the same from its own side.
            assert_eq!(kind(open(options(&subject.path), DIRECT).await), "busy");
            let under = open(options(&subject.path), READ_ONLY).await.unwrap();
            let seen = zones(&under).await;
            assert_eq!(seen[3].condition, ZoneCondition::Full);
            assert_eq!(seen[4].condition, ZoneCondition::ExplicitOpen);
            assert_eq!(seen[8].write_pointer, Some(part[5].start + 3 * UNIT));
            assert_eq!(read(&under, part[5].start + UNIT, UNIT).await, pattern(1, UNIT));
            node.manage_zones(ZoneOp::Reset, 0, node.length()).await.unwrap();
            assert_eq!(zones(&node).await, expected);
            drop((under, node));
        })
        .await;

    suite
        .case("write_errors_leave_the_pointer_known", async {
            let (subject, part) = below().await;
            let mapped = Mapped::new("flaky", &linear(&subject, &part));
            let node = open_soon(mapped.options(), DIRECT).await.unwrap();
            let z = sequential(&node).await[1];
            node.append(z.start, data(1, UNIT), NO_FLAGS).await.unwrap();
            mapped.becomes(&failing(&subject, &part));
            let crowd = (0..8).map(|i| node.append(z.start, data(i, UNIT), NO_FLAGS));
            for result in join_all(crowd).await {
                assert_eq!(kind(result), "io");
            }
            assert_eq!(kind(node.write(z.start + UNIT, data(1, UNIT), NO_FLAGS).await), "io");
            assert_eq!(kind(node.write_zeroes(z.start + UNIT, UNIT, NO_FLAGS).await), "io");
            let now = zone(&node, z.start).await;
            assert_eq!(now.write_pointer, Some(z.start + UNIT), "nothing was written");
            mapped.becomes(&linear(&subject, &part));
            let mut landed = Vec::new();
            for result in
                join_all((0..8).map(|i| node.append(z.start, data(i, UNIT), NO_FLAGS))).await
            {
                landed.push(result.unwrap());
            }
            landed.sort_unstable();
            let expected: Vec<u64> = (1..9).map(|i| z.start + i * UNIT).collect();
            assert_eq!(landed, expected, "appends go on where the zone stands");
            node.write(z.start + 9 * UNIT, data(9, UNIT), NO_FLAGS).await.unwrap();
            node.flush().await.unwrap();
        })
        .await;

    suite
        .case("a_regular_device_that_grows_in_use", async {
            const MIB: u64 = 1 << 20;
            let subject = Subject::null_blk(&Spec::REGULAR);
            let mib = |mib: u64| format!("0 {} linear {} 0", mib * MIB / 512, subject.device());
            let mapped = Mapped::new("growing", &mib(4));
            for how in [DIRECT, BUFFERED] {
                let node = open_soon(mapped.options(), how).await.unwrap();
                assert_eq!(node.length(), 4 * MIB);
                node.write(0, data(1, UNIT), NO_FLAGS).await.unwrap();
                mapped.becomes(&mib(8));
                assert_eq!(node.length(), 4 * MIB, "nobody has looked");
                node.refresh().await.unwrap();
                assert_eq!(node.length(), 8 * MIB);
                node.write(8 * MIB - UNIT, data(2, UNIT), NO_FLAGS).await.unwrap();
                node.flush().await.unwrap();
                assert_eq!(read(&node, 8 * MIB - UNIT, UNIT).await, pattern(2, UNIT));
                mapped.becomes(&mib(4));
                let error = node.refresh().await.unwrap_err().to_string();
                assert!(error.contains("from 0x800000 to 0x400000 bytes"), "{error}");
                assert_eq!(node.length(), 8 * MIB);
                assert_eq!(read(&node, 0, UNIT).await, pattern(1, UNIT));
                node.close().await.unwrap();
            }
        })
        .await;
}

/// Polls all at once.
async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        match results.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    results.into_iter().flatten().collect()
}
