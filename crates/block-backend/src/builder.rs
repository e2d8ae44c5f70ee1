//! Opening a backend.

use crate::admission::Most;
use crate::backend::BlockBackend;
use block_core::graph::{Graph, Inherited};
use block_core::{Aio, ChildNeeds, ChildRole, ImageSpec, Node, Registry, Result};
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
    most: Most,
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

    /// How the calls of protocol drivers leave the async threads, where the image does not say it
    /// (`aio=…`). The default is [`Aio::Auto`].
    #[must_use]
    pub fn aio(mut self, aio: Aio) -> Self {
        self.inherited.aio = aio;
        self
    }

    /// Tolerate that others in the same graph write to the root node meanwhile.
    #[must_use]
    pub fn share_write(mut self, share: bool) -> Self {
        self.share_write = share;
        self
    }

    /// Lets at most so many requests be in flight; 0 = no limit, which is the default. Those beyond
    /// wait in line, each with its buffers and 1 to 2 KiB, and hold nothing in the nodes below.
    ///
    /// Requests to one zone keep the order of their first polls. Zones take turns, so that one with
    /// thousands that wait delays a request to another by one turn; a request to several zones
    /// overtakes nothing and is not overtaken. What is in flight keeps its place until it ends,
    /// whichever zone it is for: a device that does not answer stops all.
    ///
    /// A request whose caller goes away gives its place back at once. If no system call was made for
    /// it yet, its memory is freed with it. Otherwise the memory stays until the call ends, and does
    /// not count here any more. So where a device does not answer, and callers give up and come
    /// again, more than the limit may be held: for each file and runtime at most 64 calls each way by
    /// threads (of one request, or of neighbours of up to 256 KiB together), and 256 requests in each
    /// of at most 8 rings. Flushes and changes of zones, which carry no data, wait for a thread of the
    /// runtime even then, without a bound; let callers wait for theirs.
    ///
    /// Nothing is refused: how many wait, and how many had to, says [`BlockBackend::pressure`].
    ///
    /// With a limit a request is a task of the runtime that first polls it, so that no caller keeps
    /// a place by not polling; a runtime that is not driven does keep the places of its requests.
    /// [`BlockBackend::drain`] and [`BlockBackend::close`] also wait for those in line.
    #[must_use]
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.most.requests = requests;
        self
    }

    /// Lets requests be in flight that read and write at most so many bytes together; 0 = no limit,
    /// which is the default. A request for more than that goes alone. For the rest see
    /// [`max_in_flight`](Self::max_in_flight).
    #[must_use]
    pub fn max_in_flight_bytes(mut self, bytes: u64) -> Self {
        self.most.bytes = bytes;
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
        Ok(BlockBackend::on(root, graph.pool().clone(), self.most))
    }
}
