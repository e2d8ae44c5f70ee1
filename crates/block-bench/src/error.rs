//! How a bench fails.

use std::fmt;

/// A request failed, and the bench ended with it.
#[derive(Clone, Debug)]
pub struct BenchError {
    /// What failed first.
    pub error: block_core::Error,
    /// How many requests had succeeded.
    pub done: u64,
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.done == 0 {
            self.error.fmt(f)
        } else {
            write!(f, "after {} requests: {}", self.done, self.error)
        }
    }
}

impl std::error::Error for BenchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<block_core::Error> for BenchError {
    /// An error before the first request.
    fn from(error: block_core::Error) -> Self {
        Self { error, done: 0 }
    }
}

impl From<BenchError> for block_core::Error {
    fn from(error: BenchError) -> Self {
        error.error
    }
}
