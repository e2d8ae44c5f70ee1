//! The public async API of the block layer: what a storage service imports.
//!
//! A [`BlockBackend`] is a handle on the root of a graph of drivers. It checks each request once,
//! counts what is under way, and can be drained and closed. It runs in whatever tokio runtime
//! polls it, multi-thread or current-thread, several at once, and starts none of its own.
//!
//! ```
//! # async fn run() -> block_core::Result<()> {
//! use block_backend::BlockBackend;
//! let disk = BlockBackend::open("driver=null,size=1M").await?;
//! disk.write(0x1000, vec![7; 4096]).await?;
//! disk.flush().await?;
//! assert_eq!(disk.read(0, 4096).await?.len(), 4096);
//! disk.close().await
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run()).unwrap();
//! ```
#![forbid(unsafe_code)]

mod admission;
mod backend;
mod builder;
mod gate;
pub mod image;
mod request;
mod validate;
mod zones;

pub use admission::Pressure;
pub use backend::{BlockBackend, DrainGuard};
pub use block_core::{
    self, Error, ErrorKind, IoBuf, IoBufMut, IoVec, IoVecMut, Limits, Options, RequestFlags,
    Result, Zone, ZoneCondition, ZoneOp, ZoneType, ZonedLimits, ZonedModel,
};
pub use builder::{BackendBuilder, standard_drivers};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
