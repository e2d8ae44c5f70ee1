//! The rings of a file, on the kernel that runs.

use super::*;
use crate::alignment::Alignment;
use crate::engine::transfer::Reading;
use block_core::{BufferPool, IoBufMut};
use std::io::Write as _;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_ready())).await
}

#[test]
fn a_ring_that_came_after_a_settle_began_is_driven_by_it_too() {
    if let Err(error) = probe() {
        // Past the capture of output, so that the gap is seen and counted.
        drop(writeln!(io::stderr(), "NOT TESTED with io_uring: {error}"));
        return;
    }
    let (read_end, write_end) = nix::unistd::pipe().unwrap();
    let file = OpenFile::new(read_end, false, Alignment::ANY, 0, BufferPool::default());
    let file = Arc::new(file);
    let (uring, in_flight) = (Uring::default(), InFlight::default());
    let (first, second) = (runtime(), runtime());
    // A request that has begun and has no ring yet.
    let bufs = IoBufMut::zeroed(16).into();
    let reading = Reading::new(&file.pool, file.alignment, 0, bufs);
    let held = Held { file: Arc::clone(&file), guard: in_flight.start() };
    let mut request = Box::pin(uring.carry(reading, held));
    first.block_on(async {
        let mut settle = Box::pin(uring.settle(&in_flight));
        assert!(!poll_once(&mut settle).await);
        // Its runtime is driven for this moment and never again.
        std::thread::scope(|scope| {
            let submit = || assert!(!second.block_on(poll_once(&mut request)));
            scope.spawn(submit).join().unwrap();
        });
        nix::unistd::write(&write_end, &[7; 16]).unwrap();
        let settled = tokio::time::timeout(Duration::from_secs(10), settle).await;
        settled.expect("it drives the ring of a runtime that nobody drives");
    });
    assert!(matches!(second.block_on(request), Carried::Done(Ok(()), _)));
}
