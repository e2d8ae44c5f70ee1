//! Owned I/O buffers: a buffer moves into a request and comes back with the result.
//!
//! An operation that outlives its caller (a dropped future does not stop a system call) must own
//! the memory that it works on, so no borrowed slice ever crosses the driver interface.
//!
//! - [`IoBufMut`] is memory to read into: unique, aligned when it comes from a [`BufferPool`].
//! - [`IoBuf`] is memory to write from: shared, cheap to clone and slice, converts from and to
//!   [`bytes::Bytes`] without a copy.
//! - [`IoVecMut`] and [`IoVec`] are lists of them, for vectored requests.
//! - All of them can also stand for memory that belongs to somebody else, such as a guest, kept
//!   alive by an `Arc` (see [`IoBufMut::from_foreign`]). Such memory may change at any time, so it
//!   is never shown as a slice, only copied from and to.

mod block;
mod iobuf;
mod iovec;
mod pool;

pub use iobuf::{IoBuf, IoBufMut};
pub use iovec::{IoVec, IoVecMut};
pub use pool::BufferPool;

/// The alignment of every buffer that this crate allocates, in bytes: enough for O_DIRECT on any
/// device with logical blocks up to this size.
pub const BUFFER_ALIGNMENT: usize = 4096;
