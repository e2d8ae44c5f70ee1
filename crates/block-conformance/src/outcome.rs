//! How a case ends before its end.

use block_core::Error;

/// Why a case stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The driver broke the contract.
    Failed(String),
    /// The subject does not have what the case needs.
    Skipped(String),
}

pub(crate) type Outcome<T = ()> = Result<T, Stop>;

impl From<Error> for Stop {
    /// A request that had to succeed did not.
    fn from(error: Error) -> Self {
        Self::Failed(format!("refused: {error}"))
    }
}

pub(crate) fn failed<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Stop::Failed(message.into()))
}

pub(crate) fn skip<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Stop::Skipped(message.into()))
}

/// Ends the case as failed unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::outcome::Stop::Failed(format!($($message)+)));
        }
    };
}

/// Ends the case as failed unless both are equal.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($message:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => ensure!(
                found == expected,
                "{}: found {found:?}, expected {expected:?}",
                format_args!($($message)+)
            ),
        }
    };
}
