//! Waiting for the driver.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The file by which a driver says that requests are available: an eventfd. It is never read,
/// because each write to it wakes an edge-triggered wait; so nobody can make the queue block on it.
#[derive(Debug)]
pub(crate) struct Kick(AsyncFd<OwnedFd>);

impl Kick {
    /// Fails for a file that cannot be waited for, such as one on a disk.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` is one open file from here to its drop, and nothing takes it out
        // of the `AsyncFd`.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Self(registered.map_err(io::Error::from)?))
    }

    /// Ready once for any number of kicks since the last time; an error if the runtime ends.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_read_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}
