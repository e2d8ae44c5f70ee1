//! Protocol drivers that stand on system calls: the bottom of a graph.
//!
//! Today there is one, [`file()`]: a regular file, buffered or with `cache.direct=on`.
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
//!
//! Everything runs in whichever tokio runtime polls the request, multi-thread or current-thread;
//! outside of any, requests fail with [`Unsupported`](block_core::ErrorKind::Unsupported).
#![deny(unsafe_code)]

mod alignment;
mod durability;
mod engine;
mod error;
mod file;
mod open_file;
mod sys;

pub use file::{create, file};
