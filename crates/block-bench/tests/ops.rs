//! Every operation, on a node without zones, on a file, and on an emulated zoned device.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use block_backend::BlockBackend;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use block_bench::{BenchReport, Op, Until, Workload, run};
use block_core::{OpKind, ZoneCondition, ZoneOp};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ZONE: u64 = 64 << 10;
const CAPACITY: u64 = 40 << 10;

async fn null(size: &str) -> BlockBackend {
    BlockBackend::open(&format!("driver=null,size={size}")).await.unwrap()
}

async fn file(dir: &tempfile::TempDir) -> BlockBackend {
    let path = dir.path().join("f.raw");
    std::fs::write(&path, vec![1; 1 << 20]).unwrap();
    BlockBackend::open(path.to_str().unwrap()).await.unwrap()
}

fn geometry() -> CreateOptions {
    let mut options = CreateOptions::new(GeometryConfig {
        size: 16 * ZONE,
        zone_size: ZONE,
        zone_capacity: Some(CAPACITY),
        conventional: 2,
        block_size: 4096,
        max_open: 3,
        max_active: 4,
    });
    options.read_only_zones = vec![3];
    options.offline_zones = vec![4];
    options
}

async fn zoned(dir: &tempfile::TempDir, options: &CreateOptions) -> BlockBackend {
    let path = dir.path().join("d.zbd");
    create_zoned(&path, options, false).await.unwrap();
    BlockBackend::open(path.to_str().unwrap()).await.unwrap()
}

fn load(op: Op, depth: u32, count: u64) -> Workload {
    Workload { depth, until: Until::Count(count), ..Workload::new(op) }
}

async fn bench(disk: &BlockBackend, workload: &Workload) -> BenchReport {
    run(disk, workload, |_| ()).await.unwrap()
}

async fn kind(disk: &BlockBackend, workload: &Workload) -> &'static str {
    run(disk, workload, |_| ()).await.unwrap_err().error.kind().name()
}

fn counted(disk: &BlockBackend, kind: OpKind) -> (u64, u64) {
    let stats = disk.root().stats().of(kind);
    (stats.done(), stats.bytes())
}

#[tokio::test]
async fn plain_operations_make_as_many_requests_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    for disk in [null("1M").await, file(&dir).await] {
        let mut reads = 0;
        let mut writes = 0;
        for (depth, count) in [(1, 10), (4, 100), (64, 3), (7, 0)] {
            for op in [Op::Read, Op::RandRead, Op::Write, Op::RandWrite] {
                let report = bench(&disk, &load(op, depth, count)).await;
                assert_eq!((report.op, report.depth, report.size), (op, depth, 4096));
                assert_eq!(report.ops, count);
                if op.destroys_data() { writes += count } else { reads += count }
            }
        }
        assert_eq!(counted(&disk, OpKind::Read), (reads, reads * 4096));
        assert_eq!(counted(&disk, OpKind::Write), (writes, writes * 4096));
    }
}

#[tokio::test]
async fn the_report_has_the_documented_keys_and_sensible_values() {
    let report = bench(&null("1M").await, &load(Op::Read, 2, 1000)).await;
    assert!(report.seconds > 0.0 && report.cpu_ns_per_op > 0.0);
    let rate = report.ops_per_sec * 4096.0;
    assert!((report.bytes_per_sec - rate).abs() < 1.0);
    let l = report.latency_ns;
    assert!(l.mean > 0 && l.p50 <= l.p99 && l.p99 <= l.p999 && l.p999 <= l.max);
    let json = serde_json::to_value(&report).unwrap();
    let keys = |v: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<_> = v.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let mut expected: Vec<_> =
        "op depth size ops seconds ops_per_sec bytes_per_sec cpu_ns_per_op latency_ns counters"
            .split(' ')
            .collect();
    expected.sort_unstable();
    assert_eq!(keys(&json), expected);
    assert_eq!(keys(&json["latency_ns"]), ["max", "mean", "p50", "p99", "p999"]);
    assert_eq!(json["op"], "read");
    let none = bench(&null("1M").await, &load(Op::Read, 2, 0)).await;
    assert_eq!((none.ops, none.latency_ns.max), (0, 0));
    assert!(serde_json::to_string(&none).unwrap().contains("\"cpu_ns_per_op\":0.0"));
}

#[tokio::test]
async fn sequential_writes_go_from_the_offset_to_the_end_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = file(&dir).await;
    let from = (1 << 20) - 3 * 4096;
    let workload = Workload { offset: from, ..load(Op::Write, 2, 7) };
    bench(&disk, &workload).await;
    let content = disk.read(0, 1 << 20).await.unwrap();
    let written = usize::try_from(from).unwrap();
    assert!(content[..written].iter().all(|b| *b == 1));
    assert!(content[written..].iter().all(|b| *b == 0xbe));
}

#[tokio::test]
async fn a_run_by_time_ends_soon_after_and_tells_its_progress() {
    let disk = null("1M").await;
    let by_time = |time| Workload { until: Until::Time(time), ..load(Op::RandRead, 8, 0) };
    let mut ended_well = false;
    // A machine that stands still meanwhile hears of the end alone: it gets more time.
    for time in [350, 2_000, 10_000].map(Duration::from_millis) {
        let calls = AtomicU64::new(0);
        let start = Instant::now();
        let tell = |_| _ = calls.fetch_add(1, Ordering::Relaxed);
        let report = run(&disk, &by_time(time), tell).await.unwrap();
        let took = start.elapsed();
        assert!(took >= time, "{took:?}");
        let told = calls.into_inner();
        let most = took.as_millis() / 100 + 2;
        assert!(u128::from(told) <= most, "{told} times in {took:?}");
        ended_well = told >= 2 && report.ops > 100 && took < time + Duration::from_secs(60);
        if ended_well {
            break;
        }
        println!("{} requests in {took:?}, told {told} times", report.ops);
    }
    assert!(ended_well);
    let no_time = by_time(Duration::ZERO);
    assert_eq!(bench(&disk, &no_time).await.ops, 0);
}

#[tokio::test]
async fn flushes_follow_writes_at_the_interval() {
    let disk = null("1M").await;
    let workload = Workload { flush_interval: 10, ..load(Op::Write, 4, 100) };
    bench(&disk, &workload).await;
    assert_eq!(counted(&disk, OpKind::Flush).0, 10);
    bench(&disk, &Workload { flush_interval: 10, ..load(Op::Read, 4, 100) }).await;
    assert_eq!(counted(&disk, OpKind::Flush).0, 10);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_the_first_request() {
    let disk = null("1M").await;
    let good = load(Op::Read, 1, 1);
    for bad in [
        Workload { depth: 0, ..good.clone() },
        Workload { depth: u32::MAX, ..good.clone() },
        Workload { size: 0, ..good.clone() },
        Workload { size: u64::MAX, ..good.clone() },
        Workload { depth: 1024, size: 1 << 30, ..good.clone() },
        Workload { size: 2 << 20, ..good.clone() },
        Workload { offset: (1 << 20) - 4095, ..good.clone() },
    ] {
        assert_eq!(kind(&disk, &bad).await, "invalid-option", "{bad:?}");
    }
    let beyond = Workload { offset: u64::MAX, ..good };
    assert_eq!(kind(&disk, &beyond).await, "out-of-range");
    for op in [Op::Append, Op::Report] {
        assert_eq!(kind(&disk, &load(op, 1, 1)).await, "not-zoned");
    }
    let read_only =
        BlockBackend::builder().read_only(true).open("driver=null,size=1M").await.unwrap();
    assert_eq!(kind(&read_only, &load(Op::Write, 1, 1)).await, "read-only");
    assert_eq!(counted(&disk, OpKind::Read).0, 0);
}

#[tokio::test]
async fn an_error_ends_the_run_and_says_how_far_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let disk = zoned(&dir, &geometry()).await;
    // The fifth zone is offline: reads up to it work.
    let error = run(&disk, &load(Op::Read, 1, 10_000), |_| ()).await.unwrap_err();
    assert_eq!(error.error.kind().name(), "zone-offline");
    assert_eq!(error.done, 4 * ZONE / 4096);
    assert!(error.to_string().starts_with("after 64 requests: read of 0x1000 bytes"), "{error}");
    let misaligned = Workload { size: 1000, ..load(Op::Read, 4, 10) };
    assert_eq!(kind(&disk, &misaligned).await, "misaligned");
}

#[tokio::test]
async fn zones_are_written_in_turn_and_reset_when_their_turn_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = zoned(&dir, &geometry()).await;
    for depth in [1, 3, 32] {
        // 40 KiB hold 10 requests; twelve zones take 120; this goes round three times.
        let report = bench(&disk, &load(Op::Write, depth, 365)).await;
        assert_eq!(report.ops, 365);
        // A size that leaves a rest in each zone.
        let workload = Workload { size: 12 << 10, ..load(Op::Write, depth, 100) };
        assert_eq!(bench(&disk, &workload).await.ops, 100);
    }
    let two = Workload { zones: 2, offset: 8 * ZONE, ..load(Op::Write, 4, 95) };
    disk.reset_all_zones().await.unwrap();
    bench(&disk, &two).await;
    let zones = disk.report_zones(0, 16).await.unwrap();
    let used: Vec<_> = (0..16).filter(|&i| zones[i].condition.is_active()).collect();
    assert_eq!(used, [9]);
    assert_eq!(zones[9].write_pointer, Some(9 * ZONE + 5 * 4096));
    assert_eq!(zones[8].condition, ZoneCondition::Full);
    // One zone is enough, too.
    let one = Workload { zones: 1, offset: 15 * ZONE, ..load(Op::Write, 4, 95) };
    assert_eq!(bench(&disk, &one).await.ops, 95);
}

#[tokio::test]
async fn appends_are_spread_over_zones_within_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    let disk = zoned(&dir, &geometry()).await;
    for (asked, used) in [(0, 1), (1, 1), (2, 2), (3, 3), (100, 3)] {
        disk.reset_all_zones().await.unwrap();
        let workload = Workload { zones: asked, ..load(Op::Append, 8, 6) };
        bench(&disk, &workload).await;
        let zones = disk.report_zones(0, 16).await.unwrap();
        let active = zones.iter().filter(|z| z.condition.is_active()).count();
        assert_eq!(active, used, "{asked}");
    }
    // Zones of somebody else that are open or active leave less.
    disk.reset_all_zones().await.unwrap();
    for zone in [10, 11] {
        disk.manage_zones(ZoneOp::Open, zone * ZONE, ZONE).await.unwrap();
    }
    let workload = Workload { zones: 8, ..load(Op::Append, 8, 200) };
    assert_eq!(bench(&disk, &workload).await.ops, 200);
    let (ops, bytes) = counted(&disk, OpKind::Append);
    assert_eq!((ops, bytes), (230, 230 * 4096));
}

#[tokio::test]
async fn random_writes_stay_in_conventional_zones() {
    let dir = tempfile::tempdir().unwrap();
    let disk = zoned(&dir, &geometry()).await;
    assert_eq!(bench(&disk, &load(Op::RandWrite, 4, 300)).await.ops, 300);
    let zones = disk.report_zones(2 * ZONE, 1).await.unwrap();
    assert_eq!(zones[0].condition, ZoneCondition::Empty);
    let sequential = Workload { offset: 2 * ZONE, ..load(Op::RandWrite, 4, 1) };
    assert_eq!(kind(&disk, &sequential).await, "unsupported");
}

#[tokio::test]
async fn reports_ask_for_as_many_zones_as_said() {
    let dir = tempfile::tempdir().unwrap();
    let disk = zoned(&dir, &geometry()).await;
    let report = bench(&disk, &load(Op::Report, 2, 20)).await;
    assert_eq!((report.ops, report.bytes_per_sec), (20, 0.0));
    bench(&disk, &Workload { zones: 3, size: 0, ..load(Op::Report, 2, 20) }).await;
    assert_eq!(counted(&disk, OpKind::Report).0, 40);
}

#[tokio::test]
async fn appends_need_a_zone_that_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let disk = zoned(&dir, &geometry()).await;
    let big = Workload { size: CAPACITY + 4096, ..load(Op::Append, 1, 1) };
    assert_eq!(kind(&disk, &big).await, "invalid-option");
    let dir = tempfile::tempdir().unwrap();
    let mut options = geometry();
    options.geometry.conventional = 16;
    options.read_only_zones.clear();
    options.offline_zones.clear();
    options.geometry.zone_capacity = None;
    let conventional = zoned(&dir, &options).await;
    assert_eq!(kind(&conventional, &load(Op::Append, 1, 1)).await, "unsupported");
    // Without a sequential zone, writes are as on any other device.
    assert_eq!(bench(&conventional, &load(Op::Write, 8, 500)).await.ops, 500);
}

#[test]
fn operations_have_names() {
    for op in Op::ALL {
        assert_eq!(op.name().parse(), Ok(op));
        assert_eq!(format!("{op:>10}").len(), 10);
    }
    let error = "writes".parse::<Op>().unwrap_err().to_string();
    assert!(error.contains("read, write, randread, randwrite, append, report"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_can_be_spawned() {
    let dir = tempfile::tempdir().unwrap();
    let disk = file(&dir).await;
    let task = tokio::spawn(async move { run(&disk, &load(Op::RandRead, 16, 500), |_| ()).await });
    assert_eq!(task.await.unwrap().unwrap().ops, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_keep_their_order_on_several_threads() {
    let dir = tempfile::tempdir().unwrap();
    let disk = zoned(&dir, &geometry()).await;
    for op in [Op::Write, Op::Append] {
        let workload = Workload { zones: 3, ..load(op, 32, 1000) };
        assert_eq!(bench(&disk, &workload).await.ops, 1000);
    }
}

#[test]
fn a_bench_needs_no_runtime_if_the_driver_needs_none() {
    use futures_util::FutureExt;
    let disk = null("1M").now_or_never().unwrap();
    let report = bench(&disk, &load(Op::RandRead, 4, 100)).now_or_never().unwrap();
    assert_eq!(report.ops, 100);
}
