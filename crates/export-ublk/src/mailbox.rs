//! Between the thread's sleep, which brings requests and takes outcomes, and who serves them.

use crate::request::{Descriptor, Outcome};
use std::cell::{Cell, RefCell};
use std::io;

/// Both sides are on one thread.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    requests: RefCell<Vec<(u16, Descriptor)>>,
    outcomes: RefCell<Vec<Outcome>>,
    end: RefCell<Option<io::Result<()>>>,
    ended: Cell<bool>,
}

impl Mailbox {
    /// Requests to serve.
    pub(crate) fn bring(&self, requests: impl Iterator<Item = (u16, Descriptor)>) {
        self.requests.borrow_mut().extend(requests);
    }

    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.borrow().is_empty()
    }

    /// Moves the requests to `into`.
    pub(crate) fn collect(&self, into: &mut Vec<(u16, Descriptor)>) {
        into.append(&mut self.requests.borrow_mut());
    }

    /// An outcome for the kernel.
    pub(crate) fn answer(&self, outcome: Outcome) {
        self.outcomes.borrow_mut().push(outcome);
    }

    pub(crate) fn has_outcomes(&self) -> bool {
        !self.outcomes.borrow().is_empty()
    }

    /// Moves the outcomes to `into`.
    pub(crate) fn outcomes(&self, into: &mut Vec<Outcome>) {
        into.append(&mut self.outcomes.borrow_mut());
    }

    /// No request follows. The first call counts.
    pub(crate) fn end(&self, result: io::Result<()>) {
        if !self.ended.replace(true) {
            self.end.replace(Some(result));
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// How it ended, once.
    pub(crate) fn take_end(&self) -> Option<io::Result<()>> {
        self.end.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desc(start_sector: u64) -> Descriptor {
        Descriptor { op: 0, flags: 0, count: 8, start_sector }
    }

    #[test]
    fn what_is_brought_is_collected_in_its_order() {
        let (mailbox, mut collected) = (Mailbox::default(), Vec::new());
        assert!(!mailbox.has_requests());
        mailbox.bring([(3, desc(8)), (1, desc(16))].into_iter());
        mailbox.bring([(2, desc(24))].into_iter());
        assert!(mailbox.has_requests());
        mailbox.collect(&mut collected);
        assert_eq!(collected, [(3, desc(8)), (1, desc(16)), (2, desc(24))]);
        assert!(!mailbox.has_requests());
        let outcome = |tag| Outcome { tag, result: 4096, landed: None };
        mailbox.answer(outcome(1));
        mailbox.answer(outcome(3));
        let mut outcomes = Vec::new();
        mailbox.outcomes(&mut outcomes);
        mailbox.outcomes(&mut outcomes);
        assert_eq!(outcomes, [outcome(1), outcome(3)]);
    }

    #[test]
    fn the_first_end_counts() {
        let mailbox = Mailbox::default();
        assert!(!mailbox.has_ended() && mailbox.take_end().is_none());
        mailbox.end(Err(io::ErrorKind::BrokenPipe.into()));
        mailbox.end(Ok(()));
        assert_eq!(mailbox.take_end().unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(mailbox.has_ended() && mailbox.take_end().is_none());
    }
}
