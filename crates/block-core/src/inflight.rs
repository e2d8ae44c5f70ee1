//! Counts operations that run on, whether or not anybody still waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, Notify};

/// Operations under way. Each holds a [`guard`](Self::start) that travels with the work itself,
/// into a blocking thread for example, so that a dropped future does not hide it.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// New operations count in the current phase; a barrier starts the other phase and waits for
    /// the old one to end, so that it never waits for what started after it.
    phase: AtomicUsize,
    counts: [AtomicUsize; 2],
    ended: Notify,
    barrier: Mutex<()>,
}

impl Shared {
    fn count(&self, phase: usize) -> &AtomicUsize {
        let [even, odd] = &self.counts;
        if phase.is_multiple_of(2) { even } else { odd }
    }
}

/// Says that an operation is under way, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct InFlightGuard {
    shared: Arc<Shared>,
    phase: usize,
    /// Whether it counts; if not, its operation pauses.
    counts: bool,
}

impl InFlightGuard {
    /// Says that the operation pauses: nothing of it runs until its owner goes on with it, who
    /// may never do so. Returns what counted so far, to be dropped where waiters may be woken.
    pub fn pause(&mut self) -> Self {
        let paused = Self { shared: Arc::clone(&self.shared), phase: self.phase, counts: false };
        std::mem::replace(self, paused)
    }

    /// Counts the operation again, if it paused: as one that starts now.
    pub fn resume(&mut self) {
        if !self.counts {
            *self = InFlight(Arc::clone(&self.shared)).start();
        }
    }
}

impl InFlight {
    /// Counts one more operation.
    pub fn start(&self) -> InFlightGuard {
        loop {
            let phase = self.0.phase.load(Ordering::SeqCst);
            self.0.count(phase).fetch_add(1, Ordering::SeqCst);
            let guard = InFlightGuard { shared: Arc::clone(&self.0), phase, counts: true };
            // If a barrier changed the phase meanwhile, it may have seen the count before this
            // operation was in it: count it in the new phase instead.
            if self.0.phase.load(Ordering::SeqCst) == phase {
                return guard;
            }
        }
    }

    /// How many operations are under way.
    pub fn count(&self) -> usize {
        let [even, odd] = &self.0.counts;
        even.load(Ordering::SeqCst).saturating_add(odd.load(Ordering::SeqCst))
    }

    /// Waits until every operation that started before this call has ended. Operations that start
    /// later are not waited for. Dropping the future only ends the waiting.
    pub async fn settle(&self) {
        let _one_at_a_time = self.0.barrier.lock().await;
        let phase = self.0.phase.load(Ordering::SeqCst);
        // What an abandoned barrier left unwaited for:
        self.wait_for_end(phase.wrapping_add(1)).await;
        self.0.phase.store(phase.wrapping_add(1), Ordering::SeqCst);
        self.wait_for_end(phase).await;
    }

    async fn wait_for_end(&self, phase: usize) {
        loop {
            let ended = self.0.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.0.count(phase).load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if self.counts && self.shared.count(self.phase).fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn a_barrier_waits_for_the_old_but_not_for_the_new() {
        let ops = InFlight::default();
        let old = ops.start();
        let waiting = tokio::spawn({
            let ops = ops.clone();
            async move { ops.settle().await }
        });
        tokio::time::sleep(SOON).await;
        let new = ops.start();
        assert!(!waiting.is_finished());
        drop(old);
        timeout(Duration::from_secs(120), waiting).await.expect("ends").expect("no panic");
        assert_eq!(ops.count(), 1);
        drop(new);
        ops.settle().await;
    }

    #[tokio::test]
    async fn an_abandoned_barrier_hides_nothing_from_the_next() {
        let ops = InFlight::default();
        let old = ops.start();
        assert!(timeout(SOON, ops.settle()).await.is_err());
        assert!(timeout(SOON, ops.settle()).await.is_err(), "the first operation still runs");
        drop(old);
        ops.settle().await;
    }

    #[tokio::test]
    async fn what_pauses_is_not_waited_for_until_it_goes_on() {
        let ops = InFlight::default();
        let mut op = ops.start();
        let counted = op.pause();
        assert!(timeout(SOON, ops.settle()).await.is_err(), "what counted is not dropped yet");
        drop(counted);
        ops.settle().await;
        drop(op.pause());
        assert_eq!(ops.count(), 0, "a second pause changes nothing");
        op.resume();
        op.resume();
        assert_eq!(ops.count(), 1);
        assert!(timeout(SOON, ops.settle()).await.is_err());
        drop(op);
        ops.settle().await;
        assert_eq!(ops.count(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn barriers_end_under_load() {
        let ops = InFlight::default();
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let ops = ops.clone();
            tasks.push(tokio::spawn(async move {
                for _ in 0..2000 {
                    let _guard = ops.start();
                    tokio::task::yield_now().await;
                }
            }));
        }
        for _ in 0..50 {
            timeout(Duration::from_secs(120), ops.settle()).await.expect("no starvation");
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(ops.count(), 0);
    }
}
