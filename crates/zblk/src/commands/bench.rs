//! `zblk bench`

use crate::cli::{ImageArgs, bytes};
use crate::error::{Failure, Result};
use crate::image::Access;
use crate::output::units::{count, duration_ns, size};
use crate::output::{Output, progress};
use block_backend::BlockBackend;
use block_bench::{BenchReport, Op, Until, Workload, run as measure};
use clap::Args;
use std::time::Duration;

/// Most threads that a runtime is given.
const MAX_THREADS: u64 = 1024;

const EXAMPLES: &str = "\
OP is read, write, randread, randwrite, append or report. A writing load destroys data, and resets
zones on its way; it wants --force.

Examples:
  zblk bench disk.zbd --op randread --depth 32 --size 4k --count 100000
  zblk bench disk.zbd --op append --depth 32 --size 64k --time 10 --zones 8 --force
  zblk bench driver=null,size=1G --op read --depth 1 --size 4k --time 2     the layer alone";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// What is measured: read, write, randread, randwrite, append or report
    #[arg(long, value_name = "OP")]
    op: Op,

    /// How many requests are kept in flight
    #[arg(long, value_name = "D", default_value_t = 64)]
    depth: u32,

    /// Length of each request, in bytes, for example 4k
    #[arg(long, value_name = "SIZE", default_value = "4096", value_parser = bytes)]
    size: u64,

    /// Stop after this many requests [default: 75000]
    #[arg(long, value_name = "N", conflicts_with = "time")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Stop after this many seconds, for example 10 or 0.5
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,

    /// Spread appends over N zones; report N zones at a time (0 = all); write to N zones in turn
    /// (0 = all)
    #[arg(long, value_name = "N", default_value_t = 0)]
    zones: u64,

    /// Begin at this byte, and leave what is before it alone
    #[arg(long, value_name = "OFFSET", default_value = "0", value_parser = bytes)]
    offset: u64,

    /// Flush after every N writes or appends; 0 = never
    #[arg(long, value_name = "N", default_value_t = 0)]
    flush_interval: u64,

    /// Choose other random positions
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Threads of the runtime that makes the requests; system calls have threads of their own
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    pub(crate) threads: usize,

    /// Write, although what the image holds is lost
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: &BenchArgs, output: &Output) -> Result<()> {
    if args.op.destroys_data() && !args.force {
        let op = args.op;
        let message = format!("a bench with --op {op} destroys data; give --force if it may");
        return Err(Failure::Usage(message));
    }
    let access = if args.op.destroys_data() { Access::Write } else { Access::Read };
    let workload = args.workload();
    let work = async |backend: &BlockBackend| {
        let bar = match workload.until {
            Until::Count(count) => progress::of_requests(output, Some(count)),
            Until::Time(_) => progress::of_requests(output, None),
        };
        let report = measure(backend, &workload, |done| bar.set_position(done)).await;
        report.map_err(|failed| {
            let done = failed.done;
            let failure = Failure::from(failed.error);
            match done {
                0 => failure,
                _ => failure.because(&format!("after {}", count(done, "request"))),
            }
        })
    };
    let report = args.image.with(access, work).await?;
    output.result(&report, || text(&report))
}

impl BenchArgs {
    fn workload(&self) -> Workload {
        let default = Workload::new(self.op);
        let until = match (self.count, self.time) {
            (Some(count), _) => Until::Count(count),
            (None, Some(time)) => Until::Time(time),
            (None, None) => default.until,
        };
        Workload {
            depth: self.depth,
            size: self.size,
            until,
            zones: self.zones,
            offset: self.offset,
            seed: self.seed,
            flush_interval: self.flush_interval,
            ..default
        }
    }
}

fn text(report: &BenchReport) -> String {
    let BenchReport { op, depth, ops, seconds, latency_ns: latency, .. } = report;
    let what = match op {
        Op::Report => "zone reports".to_owned(),
        _ => format!("{op} requests of {}", size(report.size)),
    };
    let rate = match op {
        Op::Report => format!("{:.0} reports/s", report.ops_per_sec),
        _ => format!(
            "{:.0} requests/s, {:.1} MiB/s",
            report.ops_per_sec,
            report.bytes_per_sec / f64::from(1 << 20)
        ),
    };
    let time = duration_ns;
    let mut text = format!(
        "{ops} {what}, {depth} in flight, in {seconds:.2} s\n\
         throughput  {rate}\n\
         CPU         {:.2} us/request\n\
         latency     mean {}, p50 {}, p99 {}, p99.9 {}, max {}\n",
        report.cpu_ns_per_op / 1000.0,
        time(latency.mean),
        time(latency.p50),
        time(latency.p99),
        time(latency.p999),
        time(latency.max),
    );
    if let Some(merged) = merged(report) {
        text.push_str(&merged);
    }
    text
}

/// What the zones' queues did, if they did anything.
fn merged(report: &BenchReport) -> Option<String> {
    let of = |name| u32::try_from(report.counter(name)).ok().filter(|n| *n > 0).map(f64::from);
    let batches = of("queue_batches")?;
    Some(format!(
        "queues      {:.1} requests and {} a write, {:.3} writes/request\n",
        of("queue_requests")? / batches,
        size(report.counter("queue_bytes").checked_div(report.counter("queue_batches"))?),
        batches / of("queue_requests")?,
    ))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    match seconds {
        Some(time) if !time.is_zero() => Ok(time),
        _ => Err("give a number of seconds above 0, for example 10 or 0.5".to_owned()),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse::<u64>() {
        Ok(n @ 1..=MAX_THREADS) => usize::try_from(n).map_err(|error| error.to_string()),
        _ => Err(format!("give a number from 1 to {MAX_THREADS}")),
    }
}
