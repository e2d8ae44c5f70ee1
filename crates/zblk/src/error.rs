//! Failures, how they are told, and the exit codes.

use crate::output::Output;
use block_backend::{Error, ErrorKind};
use serde::Serialize;
use std::io;
use std::process::ExitCode;

/// The exit code of an operation that failed.
pub(crate) const FAILED: u8 = 1;
/// The exit code of a command line that cannot be meant.
pub(crate) const WRONG_USAGE: u8 = 2;

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever read standard output went away: not a failure that anybody is to be told of.
    ClosedPipe,
    /// The command line is wrong in a way that only shows when it is carried out.
    Usage(String),
    /// The operation failed.
    Operation(Box<Operation>),
}

/// A failed operation, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Operation {
    kind: &'static str,
    message: String,
    errno: i32,
    /// What of a longer operation was done before it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<Extent>,
}

/// A range of an image, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Extent {
    pub(crate) position: u64,
    pub(crate) length: u64,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    error: &'a Operation,
}

impl Failure {
    /// A failure of the operating system, in words that say what was being done.
    pub(crate) fn system(doing: &str, error: &io::Error) -> Self {
        let kind = ErrorKind::from_io(io::Error::from(error.kind()));
        Self::Operation(Box::new(Operation {
            kind: kind.name(),
            message: format!("{doing}: {error}"),
            errno: error.raw_os_error().unwrap_or_else(|| kind.errno()),
            done: None,
        }))
    }

    /// A failure of this kind, in words of our own.
    pub(crate) fn of(kind: &ErrorKind, message: String) -> Self {
        Self::Operation(Box::new(Operation {
            kind: kind.name(),
            message,
            errno: kind.errno(),
            done: None,
        }))
    }

    /// Adds in front what the user needs to understand the message.
    pub(crate) fn because(mut self, context: &str) -> Self {
        if let Self::Operation(operation) = &mut self {
            operation.message = format!("{context}: {}", operation.message);
        }
        self
    }

    /// Adds what was done before the failure; a length of 0 is nothing.
    pub(crate) fn after(mut self, done: Extent) -> Self {
        if let Self::Operation(operation) = &mut self
            && done.length > 0
        {
            operation.message.push_str(&format!(
                "; before that, {} bytes were written, from {:#x} on",
                done.length, done.position
            ));
            operation.done = Some(done);
        }
        self
    }

    /// Tells the user, and gives the exit code.
    pub(crate) fn tell(&self, output: &Output) -> ExitCode {
        match self {
            Self::ClosedPipe => ExitCode::SUCCESS,
            Self::Usage(message) => {
                output.complain(message);
                WRONG_USAGE.into()
            }
            Self::Operation(operation) if output.json => {
                output.complain_json(&ErrorObject { error: operation });
                FAILED.into()
            }
            Self::Operation(operation) => {
                output.complain(&operation.message);
                FAILED.into()
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(error.kind(), error.to_string())
    }
}

/// For output: input errors say what was read, see [`Failure::system`].
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ClosedPipe
        } else {
            Self::system("cannot write to standard output", &error)
        }
    }
}
