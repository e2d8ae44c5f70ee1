//! Why a command ended early, and what the user reads then.

use crate::command::Command;
use crate::text::strerror;
use block_core::Error;
use std::io::{self, Write};

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The output cannot be written.
    Output(io::Error),
    /// It failed, and said so already.
    Said,
    /// It failed, and this line says why.
    Text(String),
    /// It was called wrongly: this line, if there is one, then how to call it.
    Usage(Option<String>),
    /// A request of this name failed.
    Block(&'static str, Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<String> for Stop {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Stop {
    /// Tells the user. With `explain`, a failed request gets a second line with all that the error
    /// knows.
    ///
    /// # Errors
    /// Those of `out`, be it now or what stopped the command.
    pub(crate) fn say(
        self,
        command: &Command,
        explain: bool,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        match self {
            Self::Output(error) => Err(error),
            Self::Said => Ok(()),
            Self::Text(text) => writeln!(out, "{text}"),
            Self::Usage(complaint) => {
                if let Some(complaint) = complaint {
                    writeln!(out, "{complaint}")?;
                }
                writeln!(out, "{}", command.synopsis())
            }
            Self::Block(what, error) => {
                writeln!(out, "{what} failed: {}", strerror(error.errno()))?;
                if explain {
                    writeln!(out, "  {error}")?;
                }
                Ok(())
            }
        }
    }
}
