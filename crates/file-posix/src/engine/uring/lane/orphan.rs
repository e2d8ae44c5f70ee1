//! A lane whose runtime has ended while the kernel had requests.
//!
//! A thread waits for them. If none can be had, the thread does that drops the runtime.

use super::state::{After, Next};
use super::{By, Lane};
use crate::sys::Queues;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::Arc;

/// Notices that the driver was dropped before its end, with its runtime or thread.
pub(super) struct Driver<Q: Queues + Send + 'static>(Arc<Lane<Q>>);

impl<Q: Queues + Send + 'static> Driver<Q> {
    pub(super) fn new(lane: &Arc<Lane<Q>>) -> Self {
        Self(Arc::clone(lane))
    }

    pub(super) fn lane(&self) -> &Lane<Q> {
        &self.0
    }
}

impl<Q: Queues + Send + 'static> Drop for Driver<Q> {
    fn drop(&mut self) {
        let idle = {
            let mut state = self.0.state();
            state.retired = true;
            state.ring.is_idle()
        };
        if !idle {
            let mut after = After::default();
            self.0.state().cancel_unsubmitted(&mut after);
            after.finish();
            let lane = Arc::clone(&self.0);
            if let Err(error) = start_thread(move || lane.drain()) {
                // Late is better than never: others may wait for these requests.
                tracing::warn!(%error, "the end of a runtime waits for requests in flight");
                self.0.drain();
            }
        }
    }
}

/// Has a thread of its own do this.
fn start_thread(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    #[cfg(test)]
    if super::tests::NO_THREADS.get() {
        return Err(std::io::Error::from_raw_os_error(nix::libc::EAGAIN));
    }
    let thread = std::thread::Builder::new().name("zblk-io-uring".to_owned());
    thread.spawn(work).map(drop)
}

impl<Q: Queues> Lane<Q> {
    /// Waits for what is in flight, for want of a driver.
    fn drain(&self) {
        loop {
            let next = self.turn(By::Helper);
            if matches!(next, Next::End) || self.state().ring.is_idle() {
                return;
            }
            let mut count = [0; 8];
            if nix::unistd::read(&self.events, &mut count).is_err() {
                let mut fds = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut fds, PollTimeout::NONE);
            }
        }
    }
}
