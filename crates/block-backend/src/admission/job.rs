//! A request as work that a task does, and that its caller can give up at any moment.
//!
//! It is a task of its own, not the caller's future, so that no caller can keep a place among those
//! in flight by not polling.

use block_core::{Error, Result};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The future that carries a request out.
pub(super) type Call<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// A request and all that it holds, which is dropped in this order.
struct Work<T, H, P> {
    call: Call<T>,
    /// Its place among those in flight, once it has one.
    slot: Option<H>,
    /// Says that it is under way; nobody looks at it.
    _pass: P,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, H, P> Work<T, H, P> {
    fn end(self, result: Option<Result<T>>) {
        let Self { call, slot, _pass, reply } = self;
        drop(call);
        // Before the caller hears of it, who may ask again at once.
        drop(slot);
        drop(_pass);
        if let Some(result) = result {
            let _ = reply.send(result);
        }
    }
}

enum Stage<W> {
    /// Nobody polls it at the moment.
    Idle(Box<W>),
    /// Somebody does.
    Polled,
    /// Somebody does, and nobody wants it any more.
    GivenUp,
    Over,
    /// Over, because its runtime ended in the middle.
    CutOff,
}

/// Shared by the caller, by the line while the request waits, and by the task.
pub(super) struct Job<T, H, P> {
    stage: Mutex<Stage<Work<T, H, P>>>,
    /// The caller's.
    runtime: Handle,
}

/// A request whose turn can come.
pub(super) trait Start<H>: Send + Sync {
    /// Polls the request for the first time, here, so that requests reach the nodes below in the
    /// order in which they are started. The caller's runtime does the rest; false if that runtime
    /// has ended, and the request with it.
    fn start(self: Arc<Self>, slot: H) -> bool;

    /// Fails the request, which was not started.
    fn fail(&self, why: Error);

    /// The runtime of its caller.
    fn runtime(&self) -> &Handle;
}

impl<T: Send + 'static, H: Send + 'static, P: Send + 'static> Start<H> for Job<T, H, P> {
    fn start(self: Arc<Self>, slot: H) -> bool {
        if let Stage::Idle(work) = &mut *self.stage() {
            work.slot = Some(slot);
        }
        let _context = self.runtime.enter();
        // Made before the first poll, so that a panic in it ends the request.
        let task = Task(Arc::clone(&self));
        // Whatever would wake this poll wakes the task instead, which polls once more.
        let mut nobody = Context::from_waker(Waker::noop());
        // A poll of another task must not be cut short because this one's budget is spent.
        let first = pin!(tokio::task::unconstrained(poll_fn(|cx| self.poll(cx))));
        let begun = catch_unwind(AssertUnwindSafe(|| first.poll(&mut nobody)));
        if begun.is_ok_and(|poll| poll.is_pending()) {
            // Tokio drops the task at once if the runtime has ended.
            drop(self.runtime.spawn(task));
            return !matches!(*self.stage(), Stage::CutOff);
        }
        true
    }

    fn fail(&self, why: Error) {
        if let Stage::Idle(work) = self.end(Stage::Over) {
            work.end(Some(Err(why)));
        }
    }

    fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl<T, H, P> Job<T, H, P> {
    pub(super) fn new(
        runtime: Handle,
        call: Call<T>,
        pass: P,
    ) -> (Arc<Self>, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        let work = Work { call, slot: None, _pass: pass, reply };
        (Arc::new(Self { stage: Mutex::new(Stage::Idle(Box::new(work))), runtime }), answer)
    }

    fn stage(&self) -> MutexGuard<'_, Stage<Work<T, H, P>>> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut work = {
            let mut stage = self.stage();
            match std::mem::replace(&mut *stage, Stage::Polled) {
                Stage::Idle(work) => work,
                other => {
                    *stage = other;
                    return Poll::Ready(());
                }
            }
        };
        let polled = work.call.as_mut().poll(cx);
        let mut stage = self.stage();
        match polled {
            Poll::Pending if matches!(*stage, Stage::Polled) => {
                *stage = Stage::Idle(work);
                return Poll::Pending;
            }
            polled => {
                *stage = Stage::Over;
                drop(stage);
                work.end(match polled {
                    Poll::Ready(result) => Some(result),
                    Poll::Pending => None,
                });
            }
        }
        Poll::Ready(())
    }

    /// Nobody waits for the request any more: it is dropped at once, or right after the poll that
    /// is under way.
    pub(super) fn give_up(&self) {
        drop(self.end(Stage::Over));
    }

    /// Ends the request this way, unless it has ended; gives what it was before.
    fn end(&self, end: Stage<Work<T, H, P>>) -> Stage<Work<T, H, P>> {
        let mut stage = self.stage();
        let next = match *stage {
            Stage::Idle(_) => end,
            Stage::Polled | Stage::GivenUp => Stage::GivenUp,
            Stage::Over => Stage::Over,
            Stage::CutOff => Stage::CutOff,
        };
        std::mem::replace(&mut *stage, next)
    }
}

/// What the runtime polls. If it is dropped before the end, with its runtime, so is the request.
struct Task<T, H, P>(Arc<Job<T, H, P>>);

impl<T, H, P> Future for Task<T, H, P> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll(cx)
    }
}

impl<T, H, P> Drop for Task<T, H, P> {
    fn drop(&mut self) {
        drop(self.0.end(Stage::CutOff));
    }
}
