//! A graph as a block device of this machine's kernel, `/dev/ublkbN`, with its zones if it has any.
//!
//! The kernel's driver `ublk_drv` hands each block request to this process through an `io_uring`
//! and takes its result back the same way; data is copied from and to the request by `pread` and
//! `pwrite` on `/dev/ublkcN` (`UBLK_F_USER_COPY`, which zones need). What a request means is the
//! matter of [`block_export`].
//!
//! # How it is built
//! - `params`: what the kernel is told of the device;
//! - `host`: what this machine's kernel offers, and what to do where it does not;
//! - `control`: the commands that add, start, recover, stop and delete a device, from one thread;
//! - `queue`: a thread for each hardware queue, with a tokio runtime of its own, so that a request
//!   and all that the graph does for it stay on that thread;
//! - `crew`: the requests that such a thread serves side by side, and `bell`: what wakes it for them;
//! - `park`: how it sleeps: in one call that hands results to the kernel, waits for requests, and
//!   wakes for files' rings, other threads and whatever the runtime waits for;
//! - `request`: from the kernel's descriptor to a request and from its outcome to the result;
//! - `resize`: what the kernel is told of a device that has become larger;
//! - `doubt`: which writes an earlier server may have made already;
//! - `sys`: the few calls that need `unsafe`.
#![deny(unsafe_code)]

mod bell;
mod control;
mod crew;
mod device;
mod doubt;
mod error;
mod host;
mod mailbox;
mod params;
mod park;
mod queue;
mod request;
mod resize;
mod settings;
mod sys;

pub use device::{Device, remove};
pub use host::check_host;
pub use settings::Settings;
