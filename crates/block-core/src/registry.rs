//! The drivers that a graph can open, by name.

use crate::driver::BlockDriver;
use crate::error::{ErrorKind, Result};
use crate::graph::OpenContext;
use crate::options::nearest;
use async_trait::async_trait;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Opens nodes of one driver.
#[async_trait]
pub trait DriverFactory: Send + Sync {
    /// The driver's name in options.
    fn name(&self) -> &'static str;

    /// Whether a bare path is for this (protocol) driver. May look at the file's type, nothing more.
    fn claims_path(&self, path: &Path) -> PathClaim;

    /// Whether the first bytes of an image (up to [`PROBE_LEN`]) are of this (format) driver.
    fn claims_content(&self, head: &[u8]) -> ContentClaim;

    /// Opens a node.
    ///
    /// # Errors
    /// [`InvalidOption`](ErrorKind::InvalidOption) and whatever opening can meet.
    async fn open(&self, context: &mut OpenContext<'_>) -> Result<Box<dyn BlockDriver>>;
}

/// How much of an image a format driver is shown to recognize it, in bytes.
pub const PROBE_LEN: usize = 128 << 10;

/// A protocol driver's answer to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathClaim {
    /// Not for this driver.
    No,
    /// A file: a format on it is to be probed.
    File,
    /// A device, used as it is.
    Device,
}

/// A format driver's answer to an image's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContentClaim {
    /// Not this format.
    No,
    /// Anything will do: the driver of last resort.
    Fallback,
    /// The format's magic is there.
    Magic,
}

/// A set of drivers. There is no global one: each graph is given its own.
#[derive(Clone, Default)]
pub struct Registry(Vec<Arc<dyn DriverFactory>>);

impl Registry {
    /// No drivers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a driver. A later one of the same name replaces the earlier.
    #[must_use]
    pub fn with(mut self, factory: impl DriverFactory + 'static) -> Self {
        self.0.retain(|f| f.name() != factory.name());
        self.0.push(Arc::new(factory));
        self
    }

    /// The names of all drivers, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.0.iter().map(|f| f.name()).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<dyn DriverFactory>> {
        self.0.iter().find(|f| f.name() == name).cloned().ok_or_else(|| {
            let names = self.names();
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("there are {}", names.join(", ")),
            };
            ErrorKind::InvalidOption(format!("no driver is called '{name}'; {hint}")).into()
        })
    }

    pub(crate) fn for_path(&self, path: &Path) -> Option<(Arc<dyn DriverFactory>, PathClaim)> {
        let claims = self.0.iter().map(|f| (f, f.claims_path(path)));
        let (factory, claim) = claims.max_by_key(|(_, claim)| *claim)?;
        (claim != PathClaim::No).then(|| (Arc::clone(factory), claim))
    }

    pub(crate) fn for_content(&self, head: &[u8]) -> Option<Arc<dyn DriverFactory>> {
        let claims = self.0.iter().map(|f| (f, f.claims_content(head)));
        let (factory, claim) = claims.max_by_key(|(_, claim)| *claim)?;
        (claim != ContentClaim::No).then(|| Arc::clone(factory))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
