//! Protocol drivers that stand on system calls: the bottom of a graph.
//!
//! - [`file()`]: a regular file, buffered or with `cache.direct=on`;
//! - [`host_device()`]: a block device, with its zones if it has any;
//! - [`zoned_host_device()`]: the same, for who wants zones or an error.
//!
//! # How it is built
//! - `sys` holds every raw system call, one typed function each. The rest of the crate is safe
//!   code.
//! - `engine` takes requests off the async threads. It is the seam behind which other ways of
//!   making the same calls can stand; a request crosses it as a job that owns the open file, its
//!   buffers and its in-flight guard, so that a dropped future frees nothing that is in use.
//! - `open_file`, `alignment` and `durability` are what any driver on a file descriptor
//!   needs: the descriptor with its lock, the rules of `O_DIRECT`, and what a failed sync means.
//! - `file` is the driver, its options, and the creation of files.
//! - `host_device` is the driver of block devices: opening, and what a regular device has of its
//!   own. Reads, writes and flushes go the way of the file driver. Below it, `zones` is what a
//!   zoned device adds: reports, management and the write pointers.
//! - `sysfs` reads what the kernel tells about a block device's queue.
//!
//! Everything runs in whichever tokio runtime polls the request, multi-thread or current-thread;
//! outside of any, requests fail with [`Unsupported`](block_core::ErrorKind::Unsupported).
#![deny(unsafe_code)]

mod ahead;
mod alignment;
mod durability;
mod engine;
mod error;
mod file;
mod host_device;
mod open_file;
mod sys;
mod sysfs;

pub use file::{create, file};
pub use host_device::{host_device, parse_zone_report, zoned_host_device};
