//! Options: how a graph is described as data.
//!
//! Three spellings give the same tree:
//! - dotted keys, `driver=raw,file.driver=file,file.filename=disk.img` (a comma in a value is
//!   written twice);
//! - JSON, `json:{"driver":"raw","file":{"driver":"file","filename":"disk.img"}}`;
//! - a bare path, whose drivers are then probed. `./` in front of a path that contains `=` keeps
//!   it from being read as dotted keys.
//!
//! Each driver declares its options as a serde type, so that an unknown key, a missing one and a
//! wrong value are refused by name before anything is opened.

mod parse;
mod typed;
mod values;

pub use typed::ChildSpec;
pub(crate) use typed::nearest;
pub use values::{ByteSize, OnOff, ParseSizeError, parse_size};

use crate::error::Result;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::fmt;
use std::path::PathBuf;

/// What a user gave in place of an image.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageSpec {
    /// A path, to be probed.
    Path(PathBuf),
    /// A tree of options.
    Options(Options),
}

impl ImageSpec {
    /// Reads one of the three spellings.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) for malformed JSON or dotted keys.
    pub fn parse(text: &str) -> Result<Self> {
        parse::image_spec(text)
    }
}

/// The options of one node, those of its children nested within.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
pub struct Options(Map<String, Value>);

impl Options {
    /// Options that choose a driver and say nothing else.
    pub fn driver(name: &str) -> Self {
        Self::default().set("driver", name)
    }

    /// Adds or replaces an option.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// Adds or replaces a child.
    #[must_use]
    pub fn child(self, key: &str, child: Self) -> Self {
        self.set(key, Value::Object(child.0))
    }

    /// The options as a typed value; keys that the type does not know are refused, with the
    /// nearest one that it does.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption), naming the key and `driver`.
    pub fn typed<T: DeserializeOwned>(&self, driver: &str) -> Result<T> {
        typed::from_map(&self.0, driver, "")
    }

    /// As [`typed`](Self::typed), for options nested under a key, which messages then name.
    ///
    /// # Errors
    /// As for [`typed`](Self::typed).
    pub fn typed_within<T: DeserializeOwned>(&self, driver: &str, key: &str) -> Result<T> {
        typed::from_map(&self.0, driver, &format!("{key}."))
    }

    /// The value of an option, as it was given.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Takes an option out.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }
}

impl From<Map<String, Value>> for Options {
    fn from(map: Map<String, Value>) -> Self {
        Self(map)
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "json:{}", Value::Object(self.0.clone()))
    }
}
