//! One request path for every door by which hosts and guests reach a graph.
//!
//! A door (ublk, VDUSE, vhost-user) moves descriptors and buffers. What a request means, which of
//! them are allowed, how a device describes itself and how a failure is told is the same behind
//! each of them, and is here:
//!
//! - [`Export`] wraps a [`BlockBackend`](block_backend::BlockBackend) and answers [`Request`]s;
//! - [`Characteristics`] is what a device says of itself, the same through every door;
//! - [`Export::look_again`] makes it larger when its image is, and [`Announcements`] have the doors
//!   tell so;
//! - [`status`] turns a typed error into what a door can carry: a virtio-blk status or an errno;
//! - [`report`] lays out zone descriptors as a virtio-blk guest or the Linux kernel reads them;
//! - [`Counters`] counts requests by kind and outcome, and the bytes that had to be copied.
//!
//! ```
//! # async fn run() -> block_core::Result<()> {
//! use block_backend::BlockBackend;
//! use block_export::{Export, Identity, Reply, Request};
//! let disk = BlockBackend::open("driver=null,size=1M").await?;
//! let export = Export::new(disk, Identity::new("disk-1", false)?).await?;
//! assert_eq!(export.length(), 1 << 20);
//! let reply = export.serve(Request::Write { offset: 0, data: vec![7; 4096].into(), fua: true });
//! assert!(matches!(reply.await?, Reply::Done));
//! export.close().await
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run()).unwrap();
//! ```
#![forbid(unsafe_code)]

mod characteristics;
mod counters;
mod export;
mod identity;
pub mod report;
mod request;
mod resize;
mod resume;
pub mod status;

pub use characteristics::{Characteristics, Discard, WriteZeroes, ZonedCharacteristics};
pub use counters::{Counters, KindCounters};
pub use export::Export;
pub use identity::Identity;
pub use request::{Kind, Reply, Request};
pub use resize::{Announcement, Announcements, Heard, Look};

/// The unit of positions and lengths in the kernel's and virtio's structures, in bytes.
pub const SECTOR: u64 = 512;
