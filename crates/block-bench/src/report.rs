//! What a bench found out.

use crate::workload::{Op, Workload};
use block_core::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The result of a bench. It serializes to the object that `zblk bench --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// What was measured.
    pub op: Op,
    /// Requests kept in flight.
    pub depth: u32,
    /// Bytes of each request.
    pub size: u64,
    /// Requests that were done.
    pub ops: u64,
    /// Wall-clock time from the first request to the end of the last.
    pub seconds: f64,
    /// Requests per second.
    pub ops_per_sec: f64,
    /// Bytes per second; 0 for reports, which move none.
    pub bytes_per_sec: f64,
    /// CPU time of the whole process, user and system, per request.
    pub cpu_ns_per_op: f64,
    /// How long requests took.
    pub latency_ns: Latency,
    /// What the graph's nodes counted meanwhile, by node and name: requests that ended well
    /// (`file.write`), and what drivers count themselves (`disk.queue_batches`).
    pub counters: BTreeMap<String, u64>,
}

/// Latency in nanoseconds. Percentiles are exact to 1/16, mean and maximum exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Arithmetic mean.
    pub mean: u64,
    /// Median.
    pub p50: u64,
    /// 99 % were at most this.
    pub p99: u64,
    /// 99.9 % were at most this.
    pub p999: u64,
    /// The slowest request.
    pub max: u64,
}

impl Latency {
    fn of(histogram: &Histogram) -> Self {
        Self {
            mean: histogram.mean(),
            p50: histogram.per_mille(500),
            p99: histogram.per_mille(990),
            p999: histogram.per_mille(999),
            max: histogram.max(),
        }
    }
}

impl BenchReport {
    /// The sum of a counter over all nodes that have it, for example `queue_batches`.
    pub fn counter(&self, name: &str) -> u64 {
        let has = |key: &str| key.rsplit_once('.').is_some_and(|(_, counter)| counter == name);
        let values = self.counters.iter().filter(|(key, _)| has(key)).map(|(_, value)| *value);
        values.fold(0, u64::saturating_add)
    }

    pub(crate) fn new(
        workload: &Workload,
        ops: u64,
        wall: Duration,
        cpu: Duration,
        latency: &Histogram,
    ) -> Self {
        let seconds = wall.as_secs_f64();
        let ops_per_sec = ratio(as_f64(ops), seconds);
        let bytes = if workload.op == Op::Report { 0 } else { workload.size };
        Self {
            op: workload.op,
            depth: workload.depth,
            size: workload.size,
            ops,
            seconds,
            ops_per_sec,
            bytes_per_sec: ops_per_sec * as_f64(bytes),
            cpu_ns_per_op: ratio(cpu.as_secs_f64() * 1e9, as_f64(ops)),
            latency_ns: Latency::of(latency),
            counters: BTreeMap::new(),
        }
    }
}

/// 0 where the division has no meaning: JSON has no infinity.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// The nearest float; counts above 2^53 lose their last digits, which no report shows.
#[allow(clippy::cast_precision_loss)]
fn as_f64(n: u64) -> f64 {
    n as f64
}
