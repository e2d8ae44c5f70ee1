//! Holding a request back.

use block_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A reason to wait.
#[derive(Clone, Debug)]
pub(crate) enum Hold {
    For(Duration),
    /// Until the rule is removed, which closes the semaphore. It never has a permit.
    UntilRemoved(Arc<Semaphore>),
}

impl Hold {
    pub(crate) async fn wait(self) -> Result<()> {
        match self {
            Self::For(time) => sleep(time)?.await,
            Self::UntilRemoved(gate) => drop(gate.acquire().await),
        }
        Ok(())
    }
}

/// tokio panics where there is no timer; a request must not.
fn sleep(time: Duration) -> Result<tokio::time::Sleep> {
    std::panic::catch_unwind(|| tokio::time::sleep(time)).map_err(|_| {
        Error::from(ErrorKind::Unsupported(
            "a delay needs a tokio runtime with its timer enabled".to_owned(),
        ))
    })
}
