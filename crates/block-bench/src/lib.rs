//! Measures a block backend under a chosen load.
//!
//! A [`Workload`] says what is asked: which operation, how many requests are kept in flight, how
//! large they are, and when to stop. [`run`] does it and gives a [`BenchReport`]: throughput,
//! latency percentiles and CPU time. Depth, size and count mean what they mean to
//! `qemu-img bench`.
//!
//! Writing workloads destroy data, and on a zoned device they reset zones. The library does as it
//! is told; a program asks its user first.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use block_backend::BlockBackend;
//! use block_bench::{Op, Until, Workload, run};
//! let disk = BlockBackend::open("driver=null,size=1G").await?;
//! let workload = Workload { depth: 32, until: Until::Count(1000), ..Workload::new(Op::RandRead) };
//! let report = run(&disk, &workload, |_done| ()).await?;
//! assert_eq!(report.ops, 1000);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
//! ```
#![forbid(unsafe_code)]

mod clock;
mod counters;
mod crew;
mod engine;
mod error;
mod load;
mod position;
mod report;
mod workload;
mod zones;

pub use engine::run;
pub use error::BenchError;
pub use report::{BenchReport, Latency};
pub use workload::{Op, ParseOpError, Until, Workload};
