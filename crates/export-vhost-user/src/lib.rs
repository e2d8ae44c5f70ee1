//! A graph as a virtio-blk device of a virtual machine, over vhost-user.
//!
//! The VMM (the front end) shares the guest's memory and its virtqueues over a Unix socket; this
//! back end serves them. A front end may come, go and come back; requests that a back end took and
//! never answered, because it was killed, are taken up by the next one where the front end keeps
//! the record of them (`VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD`).
//!
//! - [`Server`]: the socket, and one front end at a time;
//! - `session`: what a front end says, message by message;
//! - `channel`: what the back end says without being asked;
//! - `dialect`: messages of Linux as a front end that need another reader;
//! - `guest`: the memory that it shares;
//! - `ring`: one virtqueue on its way from settings to a running queue;
//! - `worker`: a thread with a runtime for each queue;
//! - `inflight`: the record of requests under way.
//!
//! # Threads
//! Each queue has a thread with a current-thread runtime, for as long as the server lives. A kick
//! wakes that thread, which takes the requests, starts their system calls, gives back what ended and
//! notifies the guest: no request changes threads, and queues do not wait for each other. The
//! threads outlive front ends, because tasks of a graph's drivers live in the runtime that started
//! them.
#![forbid(unsafe_code)]

mod channel;
mod dialect;
mod guest;
mod inflight;
mod ring;
mod server;
mod session;
mod worker;

pub use server::{Server, Settings};
