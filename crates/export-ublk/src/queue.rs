//! The thread of a hardware queue.
//!
//! It serves requests by itself, side by side, and sleeps in its [`Park`]. Its tokio runtime is there
//! for what drivers ask of one (timers, sockets, tasks, threads for blocking calls), and is only
//! driven when there is something of that.

use crate::bell::Bell;
use crate::crew::Crew;
use crate::mailbox::Mailbox;
use crate::park::{self, Park};
use crate::request::{Outcome, Server, Serving};
use block_export::Export;
use libublk::ctrl::UblkCtrl;
use libublk::io::UblkDev;
use nix::libc;
use nix::sys::signal::SigSet;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use tokio::runtime::{Builder, Runtime};

/// What a queue's thread tells of.
#[derive(Debug)]
pub(crate) enum News {
    /// The kernel has all tags; the thread's number.
    Ready(i32),
    /// The thread lets go of the device. Nothing of it is in flight.
    Ended(io::Result<()>),
}

/// Serves a queue until the device is stopped.
pub(crate) fn run(
    number: u16,
    device: Arc<UblkDev>,
    how: Serving,
    export: Export,
    tell: impl Fn(News),
) {
    let thread = prepare_thread();
    let begun = || tell(News::Ready(thread));
    let served = catch_unwind(AssertUnwindSafe(|| {
        let runtime = start_runtime()?;
        let served = serve(number, device, how, export, &runtime, begun);
        // Waits for what other threads still do for dropped requests.
        drop(runtime);
        served
    }));
    let panicked = |_| Err(io::Error::other("the queue's thread panicked"));
    tell(News::Ended(served.unwrap_or_else(panicked)));
}

/// Requests of the kernel for memory must not wait for this thread (`PR_SET_IO_FLUSHER`), nor
/// signals interrupt it. Threads that it starts are the same.
fn prepare_thread() -> i32 {
    // It cannot fail for a set of all signals.
    let _ = SigSet::all().thread_block();
    UblkCtrl::init_queue_thread()
}

fn start_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().on_thread_park(park::before_park).build()
}

fn serve(
    number: u16,
    device: Arc<UblkDev>,
    how: Serving,
    export: Export,
    runtime: &Runtime,
    begun: impl FnOnce(),
) -> io::Result<()> {
    let (mailbox, bell) = (Rc::new(Mailbox::default()), Bell::new()?);
    let park = Park::new(number, Arc::clone(&device), Rc::clone(&mailbox), &bell, runtime)?;
    let _settled = park.settle_in();
    begun();
    let server = Arc::new(Server::new(export, device, number, how));
    let mut crew = Crew::new(Arc::clone(&bell));
    let mut brought = Vec::new();
    // Outside of the runtime's own loop, so that what a request wakes in it, it hears of.
    let _context = runtime.enter();
    let tasks = runtime.metrics();
    loop {
        mailbox.collect(&mut brought);
        for (tag, desc) in brought.drain(..) {
            crew.take(in_any_case(tag, Arc::clone(&server).serve(tag, desc)));
        }
        crew.run(|outcome: Outcome| mailbox.answer(outcome));
        if crew.is_idle() && mailbox.has_ended() {
            return mailbox.take_end().unwrap_or(Ok(()));
        }
        if bell.has_rung() {
            // Outcomes and what was queued go out all the same.
            if park::sleep() {
                runtime.block_on(tokio::task::yield_now());
            }
            continue;
        }
        match tasks.num_alive_tasks() {
            // All that the runtime can do is to wake requests.
            0 if park::sleep() => runtime.block_on(tokio::task::yield_now()),
            0 => {}
            // It may have tasks to run: it calls the hook once there are none.
            _ => {
                let over = || crew.is_idle() && mailbox.has_ended();
                runtime.block_on(news(|| mailbox.has_requests() || bell.has_rung() || over()));
            }
        }
    }
}

/// An outcome even of a request that panics: the kernel waits for each, and with one missing it never
/// removes the device.
async fn in_any_case(tag: u16, request: impl Future<Output = Outcome>) -> Outcome {
    let mut request = pin!(request);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| {
            tracing::error!(target: "block", tag, "a request's handling panicked: it fails with EIO");
            Poll::Ready(Outcome { tag, result: libc::EIO.saturating_neg(), landed: None })
        })
    })
    .await
}

/// Drives the runtime until there is something to do.
async fn news(is_there: impl Fn() -> bool) {
    poll_fn(|cx| {
        if is_there() {
            return Poll::Ready(());
        }
        park::sleep_for(cx.waker());
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_panics_has_an_outcome_and_others_have_theirs() {
        let panics = async {
            tokio::task::yield_now().await;
            panic!("a driver's defect")
        };
        let failed = Outcome { tag: 7, result: -5, landed: None };
        assert_eq!(in_any_case(7, panics).await, failed);
        let outcome = || Outcome { tag: 8, result: 4096, landed: Some(9) };
        assert_eq!(in_any_case(8, async { outcome() }).await, outcome());
    }
}
