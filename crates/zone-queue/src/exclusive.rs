//! Holding a zone for management.

use crate::queue::Place;
use crate::runner;
use crate::sequencer::{Line, Sequencer, ZoneTarget};
use block_core::Result;

/// A zone that its holder has to itself: what was asked before has ended, what is asked later
/// waits until this is dropped.
///
/// Call [`finished`](Self::finished) when the work is done. If the value is dropped without it, in
/// the middle of the work, the zone is recovered before its next use.
#[must_use]
pub struct ExclusiveZone<T: ZoneTarget> {
    sequencer: Sequencer<T>,
    zone: u64,
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
        if let Ok(line) = self.sequencer.line(self.zone) {
            let then = line.queue().end_exclusive(self.finished);
            runner::carry_out(&self.sequencer.shared, self.zone, then);
        }
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
        let line = self.line(zone)?;
        let turn = line.queue().request_exclusive();
        if let Some((place, woken)) = turn {
            let wait = Wait { sequencer: self, line, zone, place };
            // Sent before it is dropped, unless the place is given up.
            let _ = woken.await;
            std::mem::forget(wait);
        }
        let hold = ExclusiveZone { sequencer: self.clone(), zone, finished: false };
        let uncertain = line.queue().take_uncertain();
        if uncertain {
            // If this fails or is dropped, so is the unfinished hold: the zone stays uncertain.
            self.shared.target.recover(zone).await?;
        }
        Ok(hold)
    }
}

/// A place in line. If it is dropped when its turn has just come, the turn passes on.
struct Wait<'a, T: ZoneTarget> {
    sequencer: &'a Sequencer<T>,
    line: &'a Line,
    zone: u64,
    place: Place,
}

impl<T: ZoneTarget> Drop for Wait<'_, T> {
    fn drop(&mut self) {
        let withdrawn = self.line.queue().withdraw(self.place);
        if withdrawn.is_none() {
            let then = self.line.queue().end_exclusive(true);
            runner::carry_out(&self.sequencer.shared, self.zone, then);
        }
    }
}
