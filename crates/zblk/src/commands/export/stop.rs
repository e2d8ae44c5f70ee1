//! The signals that end an export.

use crate::error::{Failure, Result};
use block_backend::ErrorKind;
use std::future::Future;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Told to stop by SIGTERM or SIGINT: once to end in order, twice to end at once.
#[derive(Debug)]
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    again: bool,
}

impl Stop {
    /// From now on these signals end the export and not the process.
    pub(crate) fn new() -> Result<Self> {
        let on = |kind| signal(kind).map_err(|e| Failure::system("cannot watch for signals", &e));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            again: false,
        })
    }

    /// Waits until the next signal.
    pub(crate) async fn told(&mut self) {
        // Either stream ends only with the runtime.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Whether it was told twice: then nothing is waited for any more.
    pub(crate) fn was_told_again(&self) -> bool {
        self.again
    }

    /// Does the work that ends an export, unless one more signal says not to wait for it.
    pub(crate) async fn unless_told_again<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::select! {
            done = work => return Ok(done),
            () = self.told() => {}
        }
        self.again = true;
        Err(Failure::of(
            &ErrorKind::Closed,
            "told twice to stop: ended before everything was durable; what was flushed is"
                .to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, raise};

    #[tokio::test]
    async fn the_second_signal_is_enough() {
        let mut stop = Stop::new().unwrap();
        raise(Signal::SIGTERM).unwrap();
        stop.told().await;
        assert_eq!(stop.unless_told_again(async { 7 }).await.ok(), Some(7));
        assert!(!stop.was_told_again());
        raise(Signal::SIGINT).unwrap();
        let waited = stop.unless_told_again(std::future::pending::<()>()).await;
        assert!(waited.is_err());
        assert!(stop.was_told_again(), "nothing else is waited for then");
    }
}
