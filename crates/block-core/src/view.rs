//! Looking at a graph without the right to touch it.

use crate::limits::Limits;
use crate::node::Node;
use crate::stats::{Counter, NodeStats};
use std::sync::Arc;

/// What a node is and counts, for users of a backend: its requests go through the backend, which
/// checks them, so a view takes none.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a>(&'a Node);

impl<'a> NodeView<'a> {
    /// A view of this node.
    pub const fn new(node: &'a Node) -> Self {
        Self(node)
    }

    /// The node's name, unique in its graph.
    pub fn name(&self) -> &'a str {
        self.0.name()
    }

    /// The node's name, shared, for an error message.
    pub fn name_arc(&self) -> &'a Arc<str> {
        self.0.name_arc()
    }

    /// The name of the node's driver.
    pub fn driver_name(&self) -> &'static str {
        self.0.driver_name()
    }

    /// The facts that never change while the node is open.
    pub fn limits(&self) -> &'a Limits {
        self.0.limits()
    }

    /// The node's length at this moment, in bytes.
    pub fn length(&self) -> u64 {
        self.0.length()
    }

    /// What the node counted since it was opened.
    pub fn stats(&self) -> &'a NodeStats {
        self.0.stats()
    }

    /// What its driver counts beyond that. See [`BlockDriver::counters`].
    ///
    /// [`BlockDriver::counters`]: crate::BlockDriver::counters
    pub fn counters(&self) -> Vec<Counter> {
        self.0.driver().counters()
    }

    /// The nodes below.
    pub fn children(&self) -> Vec<Self> {
        self.0.children().into_iter().map(|child| Self(child)).collect()
    }
}
