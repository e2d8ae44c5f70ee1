//! One attribute: a file with one line.

use block_core::{Error, ErrorKind};
use std::fmt;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};

/// An attribute is one line; no more than this is read of it.
const LONGEST: u64 = 4096;

/// Why an attribute has no value.
#[derive(Debug)]
pub(crate) enum Absent {
    /// The kernel does not have it.
    Missing,
    /// There is nothing in it.
    Empty,
    /// It is not what it should be.
    Garbage(String),
    /// It cannot be read.
    Unreadable(io::Error),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the kernel does not have it"),
            Self::Empty => f.write_str("it is empty"),
            Self::Garbage(text) => write!(f, "it says '{}'", text.escape_default()),
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
        }
    }
}

/// An attribute by its path, for its value and for messages.
#[derive(Clone, Debug)]
pub(crate) struct Attribute(PathBuf);

impl Attribute {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        Self(folder.join(name))
    }

    /// The line, without the white space around it.
    pub(super) fn text(&self) -> Result<String, Absent> {
        let mut bytes = Vec::new();
        let read =
            std::fs::File::open(&self.0).and_then(|f| f.take(LONGEST).read_to_end(&mut bytes));
        match read {
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Err(Absent::Missing);
            }
            Err(e) => return Err(Absent::Unreadable(e)),
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        if text.is_empty() { Err(Absent::Empty) } else { Ok(text) }
    }

    /// A number of at least 0.
    pub(super) fn number(&self) -> Result<u64, Absent> {
        let text = self.text()?;
        text.parse().map_err(|_| Absent::Garbage(text))
    }

    /// A number, or `otherwise` where there is none for whatever reason.
    pub(super) fn number_or(&self, otherwise: u64) -> u64 {
        self.number().unwrap_or(otherwise)
    }

    /// A number of at least 1; without it the device cannot be used.
    pub(super) fn required(&self) -> Result<u64, Error> {
        match self.number() {
            Ok(0) => Err(self.bad(&Absent::Garbage("0".to_owned()))),
            Ok(value) => Ok(value),
            Err(absent) => Err(self.bad(&absent)),
        }
    }

    /// The error of a device that cannot be used because of this attribute.
    pub(super) fn bad(&self, why: &Absent) -> Error {
        let message = format!("the attribute {} cannot be used: {why}", self.0.display());
        match why {
            Absent::Unreadable(error) => {
                ErrorKind::Io(io::Error::new(error.kind(), message)).into()
            }
            _ => ErrorKind::InvalidDevice(message).into(),
        }
    }
}
