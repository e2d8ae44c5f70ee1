//! One transfer as a future.

use super::super::Held;
use super::Lane;
use super::state::{After, Keep, Waiter, release};
use crate::sys::{Ended, Queues, Transfer};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What became of a transfer.
pub(in super::super) enum Answer {
    /// It has ended; what the request holds, unless the request is done.
    Ended(Ended, Option<Held>),
    /// The lane takes no more, or none from this thread.
    Refused(Transfer, Held),
}

/// A transfer, as a future. Once polled, it runs to its end even if the future is dropped, unless
/// it was not submitted yet.
pub(in super::super) struct Request<'a, Q: Queues> {
    lane: &'a Lane<Q>,
    stage: Stage,
}

enum Stage {
    New(Option<(Transfer, Held)>),
    Started(usize),
    Over,
}

impl<'a, Q: Queues> Request<'a, Q> {
    pub(super) fn new(lane: &'a Lane<Q>, transfer: Transfer, held: Held) -> Self {
        Self { lane, stage: Stage::New(Some((transfer, held))) }
    }
}

impl<Q: Queues> Future for Request<'_, Q> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let lane = self.lane;
        let mut after = After::default();
        let mut before = None;
        let mut state = lane.state();
        let key = match &mut self.stage {
            Stage::Started(key) => *key,
            Stage::New(request) => {
                let Some((transfer, held)) = request.take() else { return Poll::Pending };
                if state.retired || !lane.is_driven_for_here() {
                    return Poll::Ready(Answer::Refused(transfer, held));
                }
                let alone = state.is_due(&transfer);
                let keep = Keep { held: Some(held), waiter: Waiter::Task(None) };
                let key = state.ring.start(transfer, keep);
                self.stage = Stage::Started(key);
                if alone {
                    state.submit(&mut after);
                    state.reap(&mut after);
                }
                if state.can_submit() && !state.awake {
                    state.awake = true;
                    after.wakers.extend(state.driver.take());
                }
                key
            }
            Stage::Over => return Poll::Pending,
        };
        let result = match state.ring.take(key) {
            Some((ended, keep)) => {
                self.stage = Stage::Over;
                Poll::Ready(Answer::Ended(ended, keep.held))
            }
            None => {
                before = state.ring.keep_mut(key).map(|keep| {
                    let waiter = Waiter::Task(Some(cx.waker().clone()));
                    mem::replace(&mut keep.waiter, waiter)
                });
                Poll::Pending
            }
        };
        drop(state);
        drop(before);
        after.finish();
        result
    }
}

impl<Q: Queues> Drop for Request<'_, Q> {
    fn drop(&mut self) {
        let Stage::Started(key) = self.stage else { return };
        let mut state = self.lane.state();
        let withdrawn = state.ring.withdraw(key);
        let ended = || state.ring.take(key).map(|((memory, _), keep)| (memory, keep));
        let taken = withdrawn.or_else(ended);
        let waiter = match &taken {
            Some(_) => None,
            None => {
                let keep = state.ring.keep_mut(key);
                keep.map(|keep| mem::replace(&mut keep.waiter, Waiter::Gone))
            }
        };
        // Owners of memory, and wakers, may come back to the lane when they are dropped.
        drop(state);
        drop(waiter);
        if let Some((memory, keep)) = taken {
            drop(memory);
            keep.held.into_iter().for_each(release);
        }
    }
}
