//! A latency that behaves like a slow device's.

use block_core::{Error, ErrorKind, InFlight, Result};
use std::time::Duration;

/// Makes requests take their time.
///
/// The wait is a blocking sleep on the runtime's blocking threads, as a slow system call would be:
/// it needs no timer in the runtime, is exact to some tens of microseconds, and goes on when its
/// future is dropped. As many requests wait at once as the runtime has blocking threads.
#[derive(Debug)]
pub(crate) struct Delay {
    latency: Duration,
    in_flight: InFlight,
}

impl Delay {
    pub(crate) fn new(latency: Duration) -> Self {
        Self { latency, in_flight: InFlight::default() }
    }

    pub(crate) async fn wait(&self) -> Result<()> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
            Error::from(ErrorKind::Unsupported(
                "a latency needs a tokio runtime to wait in".to_owned(),
            ))
        })?;
        let (latency, guard) = (self.latency, self.in_flight.start());
        let sleep = runtime.spawn_blocking(move || {
            std::thread::sleep(latency);
            drop(guard);
        });
        // It cannot panic, so this is a runtime that shuts down.
        sleep.await.map_err(|e| std::io::Error::other(e).into())
    }

    pub(crate) async fn settle(&self) {
        self.in_flight.settle().await;
    }
}
