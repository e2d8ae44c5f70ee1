//! The buffer pool against the allocator.

#![allow(missing_docs)]

use block_core::{BufferPool, IoBufMut};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn buffers(c: &mut Criterion) {
    let mut group = c.benchmark_group("buffers");
    for len in [4096, 65536] {
        let pool = BufferPool::default();
        group.bench_function(BenchmarkId::new("from the pool", len), |b| b.iter(|| pool.get(len)));
        group.bench_function(BenchmarkId::new("new, zeroed", len), |b| {
            b.iter(|| IoBufMut::zeroed(len));
        });
        let shared = pool.get(len).freeze();
        group.bench_function(BenchmarkId::new("share", len), |b| b.iter(|| shared.clone()));
    }
}

criterion_group!(benches, buffers);
criterion_main!(benches);
