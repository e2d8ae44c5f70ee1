//! What is tested: a fresh node, and what can be done around it.

use block_core::{Node, Result, ZoneCondition};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a subject is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// With the right to write.
    Writable,
    /// Without it: the node's limits must then say `read_only`.
    ReadOnly,
}

pub(crate) type Reopen =
    Arc<dyn Fn(OpenMode) -> BoxFuture<'static, Result<Arc<Node>>> + Send + Sync>;
pub(crate) type SetCondition =
    Arc<dyn Fn(Arc<Node>, u64, ZoneCondition) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A node that nobody used yet, for one case.
pub struct Fresh {
    pub(crate) node: Arc<Node>,
    pub(crate) reopen: Option<Reopen>,
    pub(crate) set_condition: Option<SetCondition>,
    pub(crate) keep: Vec<Arc<dyn Any + Send + Sync>>,
}

impl Fresh {
    /// A node, of which nobody else holds a handle.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, reopen: None, set_condition: None, keep: Vec::new() }
    }

    /// Says how the same storage is opened again, after the node was dropped, with or without a
    /// close. With it, cases check what survives.
    #[must_use]
    pub fn with_reopen<F, Fut>(mut self, reopen: F) -> Self
    where
        F: Fn(OpenMode) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Arc<Node>>> + Send + 'static,
    {
        self.reopen = Some(Arc::new(move |mode| Box::pin(reopen(mode))));
        self
    }

    /// Says how a zone, given by its index on the node, is made read-only or offline by force.
    #[must_use]
    pub fn with_set_condition<F, Fut>(mut self, set: F) -> Self
    where
        F: Fn(Arc<Node>, u64, ZoneCondition) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.set_condition =
            Some(Arc::new(move |node, index, condition| Box::pin(set(node, index, condition))));
        self
    }

    /// Keeps something alive for as long as the case runs, a temporary file for example.
    #[must_use]
    pub fn keeping(mut self, value: impl Any + Send + Sync) -> Self {
        self.keep.push(Arc::new(value));
        self
    }
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh")
            .field("node", &self.node)
            .field("reopens", &self.reopen.is_some())
            .field("sets_conditions", &self.set_condition.is_some())
            .finish_non_exhaustive()
    }
}
