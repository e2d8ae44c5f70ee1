//! Opening a backend.

use crate::backend::BlockBackend;
use block_core::graph::{Graph, Inherited};
use block_core::{ChildNeeds, ChildRole, ImageSpec, Node, Registry, Result};
use std::sync::Arc;

/// The drivers that this crate brings: `file`, `host_device`, `zoned_host_device`, `raw`,
/// `zoned-file`, `null`, `fault-inject`.
pub fn standard_drivers() -> Registry {
    Registry::new()
        .with(file_posix::file())
        .with(file_posix::host_device())
        .with(file_posix::zoned_host_device())
        .with(raw_format::raw())
        .with(zoned_file::zoned_file())
        .with(null_driver::null())
        .with(fault_inject::fault_inject())
}

/// Settings for opening a [`BlockBackend`].
#[derive(Clone, Debug, Default)]
pub struct BackendBuilder {
    inherited: Inherited,
    share_write: bool,
    graph: Option<Graph>,
}

impl BackendBuilder {
    /// Open without the right to change anything. Several readers may share an image.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.inherited.read_only = read_only;
        self
    }

    /// Bypass the host's page cache (O_DIRECT).
    #[must_use]
    pub fn cache_direct(mut self, direct: bool) -> Self {
        self.inherited.cache_direct = direct;
        self
    }

    /// Tolerate that others in the same graph write to the root node meanwhile.
    #[must_use]
    pub fn share_write(mut self, share: bool) -> Self {
        self.share_write = share;
        self
    }

    /// Open in this graph, with its drivers and beside its nodes, instead of in a new one with the
    /// [`standard_drivers`].
    #[must_use]
    pub fn graph(mut self, graph: &Graph) -> Self {
        self.graph = Some(graph.clone());
        self
    }

    /// Opens an image: a path (probed), `driver=…,…` or `json:{…}`.
    ///
    /// # Errors
    /// `InvalidOption`, `InvalidImage`, `Busy`, `ReadOnly`, `Io` and whatever else a driver meets
    /// while it opens. Nothing stays open then.
    pub async fn open(self, image: &str) -> Result<BlockBackend> {
        self.open_spec(&ImageSpec::parse(image)?).await
    }

    /// Opens an image given as a value. Errors as for [`open`](Self::open).
    pub async fn open_spec(self, image: &ImageSpec) -> Result<BlockBackend> {
        let graph = self.graph.clone().unwrap_or_else(|| Graph::new(standard_drivers()));
        let node = graph.open(image, self.inherited).await?;
        self.on_graph_node(&graph, &node)
    }

    /// Makes a backend on a node that was built in code.
    ///
    /// # Errors
    /// `Busy` if the node has users who do not share; `ReadOnly` if it is read-only and the
    /// builder is not.
    pub fn on_node(self, node: &Arc<Node>) -> Result<BlockBackend> {
        let graph = self.graph.clone().unwrap_or_else(|| Graph::new(Registry::new()));
        self.on_graph_node(&graph, node)
    }

    fn on_graph_node(self, graph: &Graph, node: &Arc<Node>) -> Result<BlockBackend> {
        let read_only = self.inherited.read_only || node.limits().read_only;
        let needs = ChildNeeds {
            role: ChildRole::Root,
            write: !read_only,
            share_write: self.share_write,
            carries_zones: true,
        };
        let root = node.attach(needs, "backend")?;
        Ok(BlockBackend::on(root, graph.pool().clone()))
    }
}
