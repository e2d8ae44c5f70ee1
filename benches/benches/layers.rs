//! What a request costs on its way through the graph, without any I/O: the driver `null` below one,
//! three and six nodes, called on the node and through the backend.

#![allow(missing_docs, clippy::unwrap_used)]

use block_backend::{BlockBackend, IoBuf, IoVec, RequestFlags, standard_drivers};
use block_core::graph::{Graph, Inherited};
use block_core::{ImageSpec, Node};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The options of `null` with so many nodes in all.
fn image(nodes: usize) -> String {
    let above = "driver=raw,".to_owned();
    let prefix = |depth: usize| "file.".repeat(depth);
    let mut image = String::new();
    for depth in 0..nodes - 1 {
        image += &format!("{}{above}", prefix(depth));
    }
    image += &format!("{0}driver=null,{0}size=1G,{0}read-zeroes=off", prefix(nodes - 1));
    image
}

fn open(runtime: &Runtime, nodes: usize) -> BlockBackend {
    runtime.block_on(BlockBackend::open(&image(nodes))).unwrap()
}

fn open_node(runtime: &Runtime, nodes: usize) -> Arc<Node> {
    let spec = ImageSpec::parse(&image(nodes)).unwrap();
    let graph = Graph::new(standard_drivers());
    runtime.block_on(graph.open(&spec, Inherited::default())).unwrap()
}

fn layers(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("layers");
    group.throughput(Throughput::Elements(1));
    for nodes in [1, 3, 6] {
        let disk = open(&runtime, nodes);
        let mut buf = Some(disk.buffer(4096));
        group.bench_function(BenchmarkId::new("read 4 KiB", nodes), |b| {
            b.iter(|| {
                let mine = buf.take().unwrap();
                buf = Some(runtime.block_on(disk.read_buf(4096, mine)).unwrap());
            });
        });
        let node = open_node(&runtime, nodes);
        let data = IoBuf::zeroed(4096);
        group.bench_function(BenchmarkId::new("write 4 KiB", nodes), |b| {
            b.iter(|| runtime.block_on(disk.write(4096, data.clone())).unwrap());
        });
        // Many requests in one poll of the runtime, as a busy task issues them.
        group.throughput(Throughput::Elements(1000));
        group.bench_function(BenchmarkId::new("1000 writes on the node", nodes), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    for _ in 0..1000 {
                        let bufs = IoVec::from(data.clone());
                        node.write(4096, bufs, RequestFlags::empty()).await.unwrap();
                    }
                });
            });
        });
        group.throughput(Throughput::Elements(1));
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
