//! Where the answer to a request is put, and waited for.

use super::super::offload::not_done;
use block_core::Result;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
struct Slot<T> {
    /// Set once the answer is there, for who looks without waiting.
    answered: AtomicBool,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
enum State<T> {
    Waiting(Option<Waker>),
    Answered(Result<T>),
    /// The answer was fetched.
    Fetched,
}

/// For the one who asked. Dropping it changes nothing for the request.
#[derive(Debug)]
pub(super) struct Ticket<T>(Arc<Slot<T>>);

/// For the one who answers. Dropped without an answer it says so.
#[derive(Debug)]
pub(super) struct Reply<T>(Option<Arc<Slot<T>>>);

/// Both ends of a new request.
pub(super) fn ticket<T>() -> (Ticket<T>, Reply<T>) {
    let state = Mutex::new(State::Waiting(None));
    let slot = Arc::new(Slot { answered: AtomicBool::new(false), state });
    (Ticket(Arc::clone(&slot)), Reply(Some(slot)))
}

impl<T> Slot<T> {
    /// Puts the answer there; returns who is to be woken.
    fn answer(&self, answer: Result<T>) -> Option<Waker> {
        let before = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            mem::replace(&mut *state, State::Answered(answer))
        };
        self.answered.store(true, Ordering::Release);
        match before {
            State::Waiting(waker) => waker,
            State::Answered(_) | State::Fetched => None,
        }
    }
}

impl<T> Ticket<T> {
    /// Whether the answer is there.
    pub(super) fn is_answered(&self) -> bool {
        self.0.answered.load(Ordering::Acquire)
    }
}

impl<T> Future for Ticket<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Waiting(waker) => {
                match waker {
                    Some(known) => known.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Answered(_) => match mem::replace(&mut *state, State::Fetched) {
                State::Answered(answer) => Poll::Ready(answer),
                State::Waiting(_) | State::Fetched => Poll::Pending,
            },
            State::Fetched => Poll::Pending,
        }
    }
}

impl<T> Reply<T> {
    /// Answers; returns who is to be woken.
    pub(super) fn answer(mut self, answer: Result<T>) -> Option<Waker> {
        self.0.take().and_then(|slot| slot.answer(answer))
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let Some(slot) = self.0.take() else { return };
        if let Some(waker) = slot.answer(Err(not_done("the request's thread panicked"))) {
            waker.wake();
        }
    }
}
