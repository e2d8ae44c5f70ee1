//! Holding zones for management.

use crate::queue::Place;
use crate::runner;
use crate::sequencer::{Sequencer, ZoneTarget};
use block_core::Result;
use std::ops::Range;
use std::sync::PoisonError;
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
        end_hold(&self.sequencer, self.zone, self.finished);
    }
}

impl<T: ZoneTarget> Sequencer<T> {
    /// Takes a place in the line of each zone of a range, at once and all together, so that two
    /// parties whose ranges overlap never wait for each other.
    ///
    /// # Errors
    /// `InvalidDevice` if there is no such zone.
    pub fn line_up(&self, zones: Range<u64>) -> Result<Vec<Ticket<T>>> {
        let together = &self.shared.lining_up;
        let _together = together.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = |zone| {
            let turn = self.line(zone)?.queue().request_exclusive();
            Ok(Ticket { sequencer: self.clone(), zone, turn: Some(turn) })
        };
        zones.map(ticket).collect()
    }

    /// Waits until everything asked of this zone before has ended, and holds back what comes
    /// after. To hold several zones, take their places with [`line_up`](Self::line_up).
    ///
    /// # Errors
    /// What [`ZoneTarget::recover`] meets after work on the zone was dropped in the middle.
    ///
    /// # Cancellation
    /// Safe: a dropped wait gives up its place in line.
    pub async fn exclusive(&self, zone: u64) -> Result<ExclusiveZone<T>> {
        let turn = self.line(zone)?.queue().request_exclusive();
        Ticket { sequencer: self.clone(), zone, turn: Some(turn) }.wait().await
    }
}

/// A place in the line of one zone. If it is dropped when its turn has come, the turn passes on.
#[must_use]
pub struct Ticket<T: ZoneTarget> {
    sequencer: Sequencer<T>,
    zone: u64,
    /// `None` when the ticket was used. Within it `None` if its turn came at once.
    turn: Option<Option<(Place, oneshot::Receiver<()>)>>,
}

impl<T: ZoneTarget> Ticket<T> {
    /// Waits for the ticket's turn. Errors and cancellation as for [`Sequencer::exclusive`].
    pub async fn wait(mut self) -> Result<ExclusiveZone<T>> {
        if let Some(Some((_, woken))) = &mut self.turn {
            // Sent before it is dropped, unless the place is given up.
            let _ = woken.await;
        }
        self.turn = None;
        let (sequencer, zone) = (self.sequencer.clone(), self.zone);
        let hold = ExclusiveZone { sequencer, zone, finished: false };
        let uncertain = self.sequencer.line(zone)?.queue().take_uncertain();
        if uncertain {
            // If this fails or is dropped, so is the unfinished hold: the zone stays uncertain.
            self.sequencer.target().recover(zone).await?;
        }
        Ok(hold)
    }
}

impl<T: ZoneTarget> Drop for Ticket<T> {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let still_waiting = turn.is_some_and(|(place, _)| {
            self.sequencer.line(self.zone).is_ok_and(|l| l.queue().withdraw(place).is_some())
        });
        if !still_waiting {
            end_hold(&self.sequencer, self.zone, true);
        }
    }
}

fn end_hold<T: ZoneTarget>(sequencer: &Sequencer<T>, zone: u64, finished: bool) {
    if let Ok(line) = sequencer.line(zone) {
        let then = line.queue().end_exclusive(finished);
        runner::carry_out(&sequencer.shared, zone, then);
    }
}
