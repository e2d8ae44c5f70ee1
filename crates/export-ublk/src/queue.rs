//! The thread of a hardware queue.

use crate::mailbox::Mailbox;
use crate::park::{self, Park};
use crate::request::{Server, Serving};
use block_export::Export;
use futures_util::stream::{FuturesUnordered, Stream};
use libublk::ctrl::UblkCtrl;
use libublk::io::UblkDev;
use nix::sys::signal::SigSet;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
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
    let mailbox = Arc::new(Mailbox::default());
    let served = start_runtime().and_then(|runtime| {
        Park::settle_in(number, Arc::clone(&device), Arc::clone(&mailbox), &runtime)?;
        tell(News::Ready(thread));
        let server = Server::new(export, device, number, how);
        let task = runtime.spawn(serve(Arc::clone(&mailbox), server));
        let task_ended = runtime.block_on(task).map_err(io::Error::other);
        park::leave();
        // Waits for what other threads still do for dropped requests.
        drop(runtime);
        task_ended?;
        mailbox.take_end().unwrap_or(Ok(()))
    });
    tell(News::Ended(served));
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

/// Serves what comes, side by side, until it has ended.
async fn serve(mailbox: Arc<Mailbox>, server: Server) {
    let mut brought = Vec::new();
    let mut under_way = FuturesUnordered::new();
    poll_fn(|cx| {
        mailbox.collect(&mut brought, cx);
        let new = brought.drain(..).map(|(tag, desc)| server.clone().serve(tag, desc));
        under_way.extend(new);
        while let Poll::Ready(Some(outcome)) = Pin::new(&mut under_way).poll_next(cx) {
            mailbox.answer(outcome);
        }
        match under_way.is_empty() && mailbox.has_ended() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}
