//! A lane that its thread drives by itself, between its tasks and its sleep.
//!
//! Requests queue: the thread's next turn, which comes before it sleeps, submits them all. Only a write
//! that finds the ring idle submits itself. From another thread it takes none, since nothing would
//! wake its own. No runtime is told of completions; the thread watches the ring while something is in
//! flight.

use super::orphan::Driver;
use super::state::{Keep, Next, State};
use super::{By, Lane};
use crate::sys::{Queues, Ring};
use block_core::turns::{self, Turn, Turned};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

impl<Q: Queues + Send + 'static> Lane<Q> {
    /// Has this thread drive a ring, which takes turns.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in super::super) fn open_own(mut ring: Ring<Keep, Q>) -> io::Result<Arc<Self>> {
        let events = ring.readable()?;
        let (mut state, owner) = (State::new(ring), turns::taken_here());
        state.own = true;
        let lane = Arc::new(Self { state: Mutex::new(state), events, owner });
        // Where no turns are taken, the driver is dropped: the lane takes nothing then.
        drop(turns::hand_over(Box::new(Driver::new(&lane))));
        Ok(lane)
    }
}

impl<Q: Queues + Send + 'static> Turn for Driver<Q> {
    fn turn(&mut self) -> Turned {
        match self.lane().turn(By::Owner) {
            Next::Again => Turned::Again,
            Next::End => Turned::Over,
            Next::Sleep if self.lane().state().ring.is_idle() => Turned::Idle,
            Next::Sleep => Turned::Busy,
        }
    }

    fn events(&self) -> BorrowedFd<'_> {
        self.lane().events.as_fd()
    }
}
