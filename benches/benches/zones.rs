//! The zone state machine, and an emulated device of 100,000 zones: open, report, reset.

#![allow(missing_docs, clippy::unwrap_used)]

use block_backend::BlockBackend;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Builder;
use zone_model::{Geometry, ZoneModel};

const ZONES: u64 = 100_000;
const ZONE: u64 = 1 << 20;

fn config() -> GeometryConfig {
    GeometryConfig { size: ZONES * ZONE, zone_size: ZONE, ..GeometryConfig::default() }
}

fn model(c: &mut Criterion) {
    let mut group = c.benchmark_group("zone model");
    let geometry = Geometry::new(&config()).unwrap();
    group.throughput(Throughput::Elements(1));
    group.bench_function("append", |b| {
        let mut model = ZoneModel::new(geometry);
        let mut next = 0_u64;
        b.iter(|| {
            next += 1;
            let zone = next % ZONES;
            model.append(zone * ZONE, 512).is_ok()
        });
    });
    group.throughput(Throughput::Elements(ZONES));
    group.bench_function("report of 100,000 zones", |b| {
        let model = ZoneModel::new(geometry);
        b.iter(|| model.report(0, usize::MAX));
    });
}

fn device(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.zbd");
    runtime.block_on(create_zoned(&path, &CreateOptions::new(config()), false)).unwrap();
    let image = path.to_str().unwrap();
    let mut group = c.benchmark_group("emulated device of 100,000 zones");
    group.sample_size(20).throughput(Throughput::Elements(ZONES));
    group.bench_function("open and close", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let disk = BlockBackend::builder().read_only(true).open(image).await.unwrap();
                disk.close().await.unwrap();
            });
        });
    });
    let disk = runtime.block_on(BlockBackend::open(image)).unwrap();
    group.bench_function("report", |b| {
        b.iter(|| runtime.block_on(disk.report_zones(0, usize::MAX)).unwrap());
    });
    group.bench_function("finish all, then reset all (timed)", |b| {
        b.iter_batched(
            || runtime.block_on(disk.finish_zones(0, disk.length())).unwrap(),
            |()| runtime.block_on(disk.reset_all_zones()).unwrap(),
            BatchSize::PerIteration,
        );
    });
    runtime.block_on(disk.close()).unwrap();
}

criterion_group!(benches, model, device);
criterion_main!(benches);
