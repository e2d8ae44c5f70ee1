//! The kernel's end of a device, as far as the conversation with it needs it.

use crate::memory::Source;
use crate::sys::{Message, QueueInfo};
use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[cfg(test)]
pub(crate) mod fake;

/// A device's [`Node`](crate::node::Node); in tests, what behaves like one. Clones are the same
/// device.
pub(crate) trait Kernel: Clone + Debug + Send + Sync + 'static {
    /// Waits for messages, in the runtime that polls this.
    fn watch(&self, interest: Interest) -> io::Result<AsyncFd<Arc<File>>>;

    /// Takes the next message, if there is one.
    fn read_message(&self) -> io::Result<Option<Message>>;

    /// Answers a message; see [`respond`](crate::sys::respond).
    fn respond(&self, to: Message, accepted: bool, next: u16) -> io::Result<()>;

    /// The features that the driver took.
    fn features(&self) -> io::Result<u64>;

    /// What the driver has made of a queue.
    fn queue(&self, index: u16) -> io::Result<QueueInfo>;

    /// Names the eventfd by which the driver tells that a queue has work, or none.
    fn set_kick(&self, index: u16, kick: Option<BorrowedFd<'_>>) -> io::Result<()>;

    /// Tells the driver that a queue has answers.
    ///
    /// # Errors
    /// EINVAL for as long as the kernel has not noted the status DRIVER_OK, which it does some time
    /// after the message about it was answered.
    fn interrupt(&self, index: u16) -> io::Result<()>;

    /// Changes the configuration space from its start on; the driver is not told.
    fn set_config(&self, start: [u8; 8]) -> io::Result<()>;

    /// Tells the driver that the configuration space has changed.
    ///
    /// # Errors
    /// As for [`interrupt`](Self::interrupt): also if there is no driver.
    fn config_interrupt(&self) -> io::Result<()>;

    /// Tells which memory there is.
    fn memory(&self) -> Source;
}
