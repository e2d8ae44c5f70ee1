//! A graph as a virtio-blk device of this kernel, or of a guest, through Linux's VDUSE (vDPA device
//! in userspace).
//!
//! The kernel makes a vDPA device of which this process does the work. Bound to `virtio_vdpa` it is
//! a disk of this kernel, `/dev/vda`; bound to `vhost_vdpa` it is what a VMM gives to its guest.
//! Zones pass: the device is a host-managed one.
//!
//! [`Server::start`] makes a device and puts it on the vDPA bus, [`Server::stop`] takes it away.
//!
//! # How it is built
//! - `sys` holds every raw system call and the kernel's structures: the only unsafe code.
//! - `node` is the device's node with its errors in words; `vdpa` puts a device on the bus and off
//!   it by netlink; `bus` looks in sysfs which disk came of it.
//! - `kernel` is what the conversation needs of the node, so that tests can stand for the kernel.
//! - `memory` maps what the driver shares, when it is first used.
//! - `protocol` answers the kernel's messages, and starts and stops the queues, which are those of
//!   the crate `virtio-blk`.
//! - `in_flight` remembers outside of the process which requests are under way, and `stale` gets
//!   rid of the device of a process that was killed.
//!
//! # What a driver can do
//! The driver is this kernel or a guest behind `vhost_vdpa`. What is said of hostile guests in the
//! crate `virtio-blk` holds. One thing more: the kernel shows its bounce buffers as one piece of
//! memory in which pages may be missing, and to touch a missing page is SIGBUS. Only the kernel's
//! own driver has such memory, and it names no such pages.
#![deny(unsafe_code)]

mod bus;
mod error;
mod in_flight;
mod kernel;
mod memory;
mod name;
mod node;
mod protocol;
mod server;
mod stale;
mod sys;
mod vdpa;

pub use error::{Error, Result};
pub use name::Name;
pub use server::{Options, Server};
