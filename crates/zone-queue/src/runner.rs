//! The task that works on one zone while requests wait.
//!
//! It is a task of its own, not the first caller's future, so that no caller can hold the others
//! up by not polling, or by going away.

use crate::entry::{Entry, Payload, never_begun};
use crate::queue::{Batch, Next, Then};
use crate::sequencer::{Line, Shared, ZoneTarget};
use crate::stats::add;
use block_core::{Error, IoVec, Result};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Waker};
use tokio::runtime::{Handle, Id};

/// How often one request is tried again because the pointer had moved.
const MAX_MOVES: u32 = 8;

/// Does what a change of a queue's state asks for.
pub(crate) fn carry_out<T: ZoneTarget>(shared: &Arc<Shared<T>>, zone: u64, then: Then) {
    match then {
        Then::StartRunner(runtime) => {
            let guard = RunnerGuard::new(shared, zone, &runtime);
            drop(runtime.spawn(run(guard, First::Wait)));
        }
        Then::BeginHere(runtime) => {
            let guard = RunnerGuard::new(shared, zone, &runtime);
            let mut task = Box::pin(run(guard, First::Begin));
            // Whatever would wake this poll wakes the task instead, which polls once more. A panic
            // ends the task, as it does in a runtime, and its callers hear of it.
            let mut nobody = Context::from_waker(Waker::noop());
            let begun = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut nobody)));
            if begun.is_ok_and(|poll| poll.is_pending()) {
                drop(runtime.spawn(task));
            }
        }
        // One who went away meanwhile passes the zone on himself.
        Then::Wake(holder) => drop(holder.send(())),
        Then::Nothing => {}
    }
}

/// How a zone's task begins.
#[derive(PartialEq, Eq)]
enum First {
    /// With a pause, in which others can join the first batch.
    Wait,
    Begin,
}

async fn run<T: ZoneTarget>(mut guard: RunnerGuard<T>, first: First) {
    let shared = Arc::clone(&guard.shared);
    let zone = guard.zone;
    let Some(line) = shared.line(zone) else {
        return;
    };
    let mut pause = first == First::Wait;
    loop {
        // Callers that were just woken get the chance to ask again before the next write goes out.
        if std::mem::replace(&mut pause, true) {
            tokio::task::yield_now().await;
        }
        let next = line.queue().next_batch(shared.limits.max_batch_bytes);
        match next {
            Next::Batch(batch) => {
                let turn = Turn { shared: &shared, line, zone };
                turn.take(batch).await;
                // Nobody may drive this runtime once its callers have their answers, so without
                // further work from here the zone is given up before the next pause.
                let left = line.queue().hand_over(guard.runtime);
                if let Some(then) = left {
                    guard.armed = false;
                    return carry_out(&shared, zone, then);
                }
            }
            Next::Stop(then) => {
                guard.armed = false;
                return carry_out(&shared, zone, then);
            }
        }
    }
}

/// Notices that the task was dropped before its end: with its runtime, or by a panic.
struct RunnerGuard<T: ZoneTarget> {
    shared: Arc<Shared<T>>,
    zone: u64,
    runtime: Id,
    armed: bool,
}

impl<T: ZoneTarget> RunnerGuard<T> {
    /// Made before the task, so that it also notices a task that is never polled.
    fn new(shared: &Arc<Shared<T>>, zone: u64, runtime: &Handle) -> Self {
        Self { shared: Arc::clone(shared), zone, runtime: runtime.id(), armed: true }
    }
}

impl<T: ZoneTarget> Drop for RunnerGuard<T> {
    fn drop(&mut self) {
        if self.armed
            && let Some(line) = self.shared.line(self.zone)
        {
            let (lost, then) = line.queue().abandon_runner(self.runtime);
            carry_out(&self.shared, self.zone, then);
            lost.into_iter().for_each(|entry| entry.finish(Err(never_begun())));
        }
    }
}

/// A request that was admitted, and where it goes.
struct Placed {
    entry: Box<Entry>,
    position: u64,
}

impl Placed {
    fn end(&self) -> u64 {
        self.position.saturating_add(self.entry.payload.len())
    }
}

struct Turn<'a, T> {
    shared: &'a Shared<T>,
    line: &'a Line,
    zone: u64,
}

impl<T: ZoneTarget> Turn<'_, T> {
    async fn take(&self, batch: Batch) {
        add(&self.shared.stats.requests, u64::try_from(batch.len()).unwrap_or(0));
        if let Err(error) = self.recover_if_uncertain().await {
            batch.into_iter().for_each(|entry| entry.finish(Err(error.clone())));
            return;
        }
        let placed = self.admit(batch);
        let (Some(first), Some(last)) = (placed.first(), placed.last()) else {
            return;
        };
        let (start, len) = (first.position, last.end().saturating_sub(first.position));
        let payload = merge(&placed);
        match self.write(start, len, payload).await {
            Ok(()) => placed.into_iter().for_each(|p| p.entry.finish(Ok(p.position))),
            Err(failure) => self.sort_out(placed, start, failure).await,
        }
    }

    async fn recover_if_uncertain(&self) -> Result<()> {
        let uncertain = self.line.queue().take_uncertain();
        if uncertain {
            let recovered = self.shared.target.recover(self.zone).await;
            return recovered.inspect_err(|_| self.line.queue().set_uncertain());
        }
        Ok(())
    }

    /// Gives each request its place behind the one before; those that the zone refuses end here.
    fn admit(&self, batch: Batch) -> Vec<Placed> {
        let mut placed = Vec::with_capacity(batch.len());
        let mut ahead = 0_u64;
        for entry in batch {
            let len = entry.payload.len();
            match self.shared.target.admit(self.zone, entry.at, len, ahead) {
                Ok(position) => {
                    ahead = ahead.saturating_add(len);
                    placed.push(Placed { entry, position });
                }
                Err(error) => entry.finish(Err(error)),
            }
        }
        placed
    }

    async fn write(&self, start: u64, len: u64, payload: Payload) -> Result<(), Failure> {
        add(&self.shared.stats.batches, 1);
        match self.shared.target.write(self.zone, start, payload).await {
            Ok(()) => {
                self.shared.target.landed(self.zone, start, len);
                add(&self.shared.stats.bytes, len);
                Ok(())
            }
            Err(error) => {
                let target = &self.shared.target;
                match target.after_error(self.zone, start, len, &error).await {
                    Ok(after) => {
                        add(&self.shared.stats.bytes, after.landed);
                        Err(Failure {
                            error,
                            landed: after.landed,
                            moved: after.moved,
                            lost: false,
                        })
                    }
                    Err(unknown) => {
                        self.line.queue().set_uncertain();
                        Err(Failure { error: unknown, landed: 0, moved: false, lost: true })
                    }
                }
            }
        }
    }

    /// A write failed: those whose data landed all the same succeed, the others are tried again
    /// one by one, so that each hears what became of its own data.
    async fn sort_out(&self, placed: Vec<Placed>, start: u64, failure: Failure) {
        let merged = placed.len() > 1;
        let landed_end = start.saturating_add(failure.landed);
        for Placed { entry, position } in placed {
            let end = position.saturating_add(entry.payload.len());
            if end <= landed_end {
                entry.finish(Ok(position));
            } else if position < landed_end || failure.lost || !(merged || failure.moved) {
                entry.finish(Err(failure.error.clone()));
            } else {
                add(&self.shared.stats.singly, 1);
                let result = self.write_singly(&entry).await;
                entry.finish(result);
            }
        }
    }

    async fn write_singly(&self, entry: &Entry) -> Result<u64> {
        let len = entry.payload.len();
        let mut moves = 0_u32;
        loop {
            self.recover_if_uncertain().await?;
            let position = self.shared.target.admit(self.zone, entry.at, len, 0)?;
            match self.write(position, len, entry.payload.clone()).await {
                Ok(()) => return Ok(position),
                Err(failure) if failure.landed >= len => return Ok(position),
                Err(failure) if failure.moved && failure.landed == 0 && moves < MAX_MOVES => {
                    moves = moves.saturating_add(1);
                }
                Err(failure) => return Err(failure.error),
            }
        }
    }
}

/// A write that failed, and what is known of the zone since.
struct Failure {
    error: Error,
    landed: u64,
    moved: bool,
    /// Nobody knows where the pointer stands.
    lost: bool,
}

/// One payload of all the requests': their buffers in a row, shared and not copied.
fn merge(placed: &[Placed]) -> Payload {
    let mut all = IoVec::with_capacity(placed.len());
    for Placed { entry, .. } in placed {
        match &entry.payload {
            Payload::Data(bufs) => bufs.segments().iter().for_each(|b| all.push(b.clone())),
            // Zeroes are never merged: they are a batch of one.
            zeroes @ Payload::Zeroes(..) => return zeroes.clone(),
        }
    }
    Payload::Data(all)
}
