//! Holding a zone for management.

use crate::sequencer::{Sequencer, ZoneTarget, runtime};
use block_core::Result;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A zone that its holder has to itself: what was asked before has ended, what is asked later
/// waits until this is dropped.
///
/// Call [`finished`](Self::finished) when the work is done. If the value is dropped without it, in
/// the middle of the work, the zone is recovered before its next use.
#[must_use]
pub struct ExclusiveZone<T: ZoneTarget> {
    sequencer: Sequencer<T>,
    zone: u64,
    runtime: Handle,
    finished: bool,
}

impl<T: ZoneTarget> ExclusiveZone<T> {
    /// The zone's number.
    pub fn zone(&self) -> u64 {
        self.zone
    }

    /// Gives the zone back after all work on it was done.
    pub fn finished(mut self) {
        self.finished = true;
    }
}

impl<T: ZoneTarget> Drop for ExclusiveZone<T> {
    fn drop(&mut self) {
        let Ok(line) = self.sequencer.line(self.zone) else {
            return;
        };
        let then = line.queue().end_exclusive(self.finished);
        self.sequencer.carry_out(self.zone, &self.runtime, then);
    }
}

impl<T: ZoneTarget> Sequencer<T> {
    /// Waits until everything asked of this zone before has ended, and holds back what comes
    /// after. To hold several zones, take them in ascending order.
    ///
    /// # Errors
    /// What [`ZoneTarget::recover`] meets after work on the zone was dropped in the middle.
    ///
    /// # Cancellation
    /// Safe: a dropped wait gives up its place in line.
    pub async fn exclusive(&self, zone: u64) -> Result<ExclusiveZone<T>> {
        let runtime = runtime()?;
        let line = self.line(zone)?;
        let woken = line.queue().request_exclusive();
        let hold = match woken {
            None => self.hold(zone, runtime),
            Some(woken) => {
                let mut wait = Wait {
                    sequencer: self,
                    zone,
                    runtime,
                    woken,
                };
                // The sender is only dropped unsent with the whole queue.
                let _ = (&mut wait.woken).await;
                let hold = self.hold(zone, wait.runtime.clone());
                wait.woken.close();
                hold
            }
        };
        let uncertain = line.queue().take_uncertain();
        if uncertain {
            // If this fails or is dropped, so is the unfinished hold: the zone stays uncertain.
            self.shared.target.recover(zone).await?;
        }
        Ok(hold)
    }

    fn hold(&self, zone: u64, runtime: Handle) -> ExclusiveZone<T> {
        ExclusiveZone {
            sequencer: self.clone(),
            zone,
            runtime,
            finished: false,
        }
    }
}

/// A place in line. If it is dropped just when its turn came, the turn passes on.
struct Wait<'a, T: ZoneTarget> {
    sequencer: &'a Sequencer<T>,
    zone: u64,
    runtime: Handle,
    woken: oneshot::Receiver<()>,
}

impl<T: ZoneTarget> Drop for Wait<'_, T> {
    fn drop(&mut self) {
        self.woken.close();
        if self.woken.try_recv().is_ok()
            && let Ok(line) = self.sequencer.line(self.zone)
        {
            let then = line.queue().end_exclusive(true);
            self.sequencer.carry_out(self.zone, &self.runtime, then);
        }
    }
}
