//! Between the thread's sleep, which brings requests and takes outcomes, and the task that serves.

use crate::request::{Descriptor, Outcome};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Both sides are on one thread: the lock is only there because tasks may move between threads, and
/// is never waited for.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requests: Vec<(u16, Descriptor)>,
    outcomes: Vec<Outcome>,
    end: Option<io::Result<()>>,
    ended: bool,
    waker: Option<Waker>,
}

impl Mailbox {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests for the task, which is woken in any case.
    pub(crate) fn bring(&self, requests: impl Iterator<Item = (u16, Descriptor)>) {
        let waker = {
            let mut inner = self.inner();
            inner.requests.extend(requests);
            inner.waker.clone()
        };
        waker.iter().for_each(Waker::wake_by_ref);
    }

    /// Moves the requests to `into`, and remembers whom to wake for the next ones.
    pub(crate) fn collect(&self, into: &mut Vec<(u16, Descriptor)>, cx: &Context<'_>) {
        let mut inner = self.inner();
        into.append(&mut inner.requests);
        if inner.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
    }

    /// An outcome for the kernel.
    pub(crate) fn answer(&self, outcome: Outcome) {
        self.inner().outcomes.push(outcome);
    }

    /// Moves the outcomes to `into`.
    pub(crate) fn outcomes(&self, into: &mut Vec<Outcome>) {
        into.append(&mut self.inner().outcomes);
    }

    /// No request follows. The first call counts.
    pub(crate) fn end(&self, result: io::Result<()>) {
        {
            let mut inner = self.inner();
            if !inner.ended {
                inner.ended = true;
                inner.end = Some(result);
            }
        }
        self.bring(std::iter::empty());
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.inner().ended
    }

    /// How it ended, once.
    pub(crate) fn take_end(&self) -> Option<io::Result<()>> {
        self.inner().end.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn desc(start_sector: u64) -> Descriptor {
        Descriptor { op: 0, flags: 0, count: 8, start_sector }
    }

    #[test]
    fn the_task_is_woken_whatever_is_brought() {
        let (mailbox, woken) = (Mailbox::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let mut collected = Vec::new();
        mailbox.collect(&mut collected, &Context::from_waker(&waker));
        mailbox.bring([(3, desc(8)), (1, desc(16))].into_iter());
        mailbox.bring(std::iter::empty());
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        mailbox.collect(&mut collected, &Context::from_waker(&waker));
        assert_eq!(collected, [(3, desc(8)), (1, desc(16))]);
        mailbox.end(Ok(()));
        assert_eq!(woken.0.load(Ordering::Relaxed), 3);
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
