//! A disk in memory that knows what it may hold after a power cut.
//!
//! [`PowerCutDisk`] is a node without zones at the bottom of a graph. It keeps a journal of every
//! write, write-zeroes, discard, resize and flush, each with the moments at which it began and
//! ended. [`PowerCutDisk::after_cut`] then gives what a disk may hold if the power went away at any
//! point of that journal; a new `PowerCutDisk` on that [`Content`] is the same disk after the
//! power came back.
//!
//! ```
//! use block_core::{BlockDriver, RequestFlags};
//! use power_cut::{Content, PowerCutDisk, Rng};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> block_core::Result<()> {
//! let disk = PowerCutDisk::new(Content::new(1 << 20), 42);
//! disk.write(0, vec![1; 4096].into(), RequestFlags::empty()).await?;
//! disk.flush().await?;
//! disk.write(0, vec![2; 4096].into(), RequestFlags::empty()).await?;
//!
//! let mut rng = Rng::new(42);
//! let after = disk.after_cut(disk.points(), &mut rng);
//! // Each sector holds what was flushed, or what was written since.
//! assert!((0..8).all(|sector| matches!(after.byte(sector * 512), 1 | 2)));
//! # Ok(())
//! # }
//! ```
//!
//! # What a power cut does
//! - A request is durable from the end of a flush that **began after the request had ended**, or
//!   from its own end if it carries FUA. What is durable is there, always.
//! - Of every other request that began before the cut, whether it had ended or was in flight, any
//!   part may be there: any subset of its 512-byte sectors, in any order with the others. A later
//!   write may be there without an earlier one, a discard may have happened in part.
//! - A sector is written wholly or not at all, and no byte outside of a request's range changes.
//! - What was overwritten by something durable never comes back.
//!
//! # What else can happen to a request
//! - Requests take their time: each lets others run a random number of times before it ends, so
//!   that they overlap. [`PowerCutDisk::hold`] stops them until [`PowerCutDisk::release`].
//! - A request whose future is dropped is *abandoned*: it lands all the same, at a later moment,
//!   at the latest when the node is settled.
//! - [`PowerCutDisk::kill`] is the end of the process that used the disk, not of the disk: what was
//!   in flight has landed wholly, in part or not at all, and what was not flushed is still not
//!   durable, although the next process reads it.
//!
//! # Replaying
//! Everything random comes from the seeds of the disk and of the [`Rng`] that is given to
//! `after_cut`. On a current-thread runtime the same seeds give the same journal and the same cuts.
#![forbid(unsafe_code)]

mod content;
mod cut;
mod disk;
mod driver;
mod journal;
mod op;
mod rng;

pub use content::Content;
pub use disk::PowerCutDisk;
pub use rng::Rng;

/// What is written wholly or not at all, in bytes.
pub const SECTOR: u64 = 512;
