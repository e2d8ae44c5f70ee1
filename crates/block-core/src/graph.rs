//! The graph: opens trees of nodes from options, and keeps their names apart.

use crate::aio::Aio;
use crate::buffer::{BufferPool, IoVecMut};
use crate::driver::BlockDriver;
use crate::edge::{Child, ChildNeeds, ChildRole};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Node;
use crate::options::{ChildSpec, ImageSpec, OnOff, Options};
use crate::registry::{DriverFactory, PROBE_LEN, PathClaim, Registry};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A set of named nodes, and the drivers to open more.
///
/// Cheap to clone; clones are the same graph. A node lives as long as a parent or a backend holds
/// it; the graph itself keeps nothing alive.
#[derive(Clone, Debug)]
pub struct Graph(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    pool: BufferPool,
    nodes: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    /// `None` while the node is being opened.
    by_name: BTreeMap<Arc<str>, Option<Weak<Node>>>,
    next: u64,
}

/// What a node passes on to the children that it opens, unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// Open without the right to change anything (`read-only`).
    pub read_only: bool,
    /// Bypass the host's page cache (`cache.direct`).
    pub cache_direct: bool,
    /// How calls leave the async threads, for protocol drivers that are not told (`aio`).
    pub aio: Aio,
}

/// The options that every node takes.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CommonOptions {
    #[serde(default)]
    driver: Option<String>,
    #[serde(default)]
    node_name: Option<String>,
    #[serde(default)]
    read_only: Option<OnOff>,
    #[serde(default)]
    cache: Option<Options>,
}

#[derive(Default, serde::Deserialize)]
struct CacheOptions {
    #[serde(default)]
    direct: Option<OnOff>,
}

/// What a factory is given to open a node.
#[derive(Debug)]
pub struct OpenContext<'a> {
    graph: &'a Graph,
    name: &'a str,
    driver: &'static str,
    options: Options,
    inherited: Inherited,
}

impl Graph {
    /// An empty graph.
    pub fn new(registry: Registry) -> Self {
        let pool = BufferPool::default();
        Self(Arc::new(Inner { registry, pool, nodes: Mutex::default() }))
    }

    /// The drivers that this graph opens.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The pool from which nodes and users of this graph take their buffers.
    pub fn pool(&self) -> &BufferPool {
        &self.0.pool
    }

    /// Opens what a user gave as an image: options, or a path that is probed.
    ///
    /// # Errors
    /// Whatever opening can meet; nothing stays open then.
    pub async fn open(&self, image: &ImageSpec, inherited: Inherited) -> Result<Arc<Node>> {
        match image {
            ImageSpec::Options(options) => self.open_options(options.clone(), inherited).await,
            ImageSpec::Path(path) => self.open_path(path, inherited).await,
        }
    }

    /// Opens a node, and the nodes below it, from options.
    ///
    /// # Errors
    /// [`InvalidOption`](ErrorKind::InvalidOption) and whatever opening can meet.
    pub fn open_options<'a>(
        &'a self,
        options: Options,
        inherited: Inherited,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<Node>>> + Send + 'a>> {
        Box::pin(async move {
            let (common, rest) = split_common(options)?;
            let Some(driver) = common.driver else {
                return Err(invalid(format!(
                    "the options {rest} name no driver; add driver=…, one of {}",
                    self.0.registry.names().join(", ")
                )));
            };
            let factory = self.0.registry.find(&driver)?;
            let cache: CacheOptions =
                common.cache.unwrap_or_default().typed_within(&driver, "cache")?;
            let inherited = Inherited {
                read_only: common.read_only.map_or(inherited.read_only, |o| o.0),
                cache_direct: cache.direct.map_or(inherited.cache_direct, |o| o.0),
                aio: inherited.aio,
            };
            self.open_node(&*factory, common.node_name, rest, inherited).await
        })
    }

    /// Opens a path: the protocol by its file type, the format by its content.
    async fn open_path(&self, path: &Path, inherited: Inherited) -> Result<Arc<Node>> {
        let Some(text) = path.to_str() else {
            return Err(invalid(format!("the path {} is not UTF-8", path.display())));
        };
        let Some((protocol, claim)) = self.0.registry.for_path(path) else {
            return Err(invalid(format!("no driver opens the path '{text}'")));
        };
        let options = Options::default().set("filename", text);
        let node = self.open_node(&*protocol, None, options, inherited).await?;
        if claim == PathClaim::Device {
            return Ok(node);
        }
        let head = probe(&node, &self.0.pool).await?;
        let Some(format) = self.0.registry.for_content(&head) else {
            return Err(invalid(format!("no driver recognizes the content of '{text}'")));
        };
        let options = Options::default().set("file", node.name());
        self.open_node(&*format, None, options, inherited).await
    }

    async fn open_node(
        &self,
        factory: &dyn DriverFactory,
        name: Option<String>,
        options: Options,
        inherited: Inherited,
    ) -> Result<Arc<Node>> {
        let place = self.reserve(name, factory.name())?;
        let driver = factory.name();
        let mut context =
            OpenContext { graph: self, name: &place.name, driver, options, inherited };
        let opened = factory.open(&mut context).await;
        let opened = opened.map_err(|e| e.with_request("open", None).with_node(&place.name))?;
        Ok(place.fill(opened))
    }

    /// Adds a node that was built in code.
    ///
    /// # Errors
    /// [`InvalidOption`](ErrorKind::InvalidOption) if the name is taken.
    pub fn add(&self, name: Option<&str>, driver: Box<dyn BlockDriver>) -> Result<Arc<Node>> {
        let place = self.reserve(name.map(str::to_owned), driver.driver_name())?;
        Ok(place.fill(driver))
    }

    /// The node of this name, if it is open.
    pub fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.names().by_name.get(name)?.as_ref()?.upgrade().filter(|node| !node.is_closed())
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Names> {
        self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, name: Option<String>, driver: &str) -> Result<Place<'_>> {
        let mut names = self.names();
        names.by_name.retain(|_, node| node.as_ref().is_none_or(|n| n.strong_count() > 0));
        let name: Arc<str> = match name {
            Some(name) if name.is_empty() => return Err(invalid("a node's name is empty".into())),
            Some(name) if names.by_name.contains_key(name.as_str()) => {
                return Err(invalid(format!("there is a node named '{name}' already")));
            }
            Some(name) => name.into(),
            None => loop {
                let candidate = format!("{driver}{}", names.next);
                names.next = names.next.wrapping_add(1);
                if !names.by_name.contains_key(candidate.as_str()) {
                    break candidate.into();
                }
            },
        };
        names.by_name.insert(Arc::clone(&name), None);
        Ok(Place { graph: self, name })
    }
}

/// A name that is taken while its node is being opened.
struct Place<'a> {
    graph: &'a Graph,
    name: Arc<str>,
}

impl Place<'_> {
    fn fill(self, driver: Box<dyn BlockDriver>) -> Arc<Node> {
        let node = Node::new(Arc::clone(&self.name), driver);
        self.graph.names().by_name.insert(Arc::clone(&self.name), Some(Arc::downgrade(&node)));
        node
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut names = self.graph.names();
        if let Some(None) = names.by_name.get(&self.name) {
            names.by_name.remove(&self.name);
        }
    }
}

impl OpenContext<'_> {
    /// The name that the new node will have.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Whether the node must be opened without the right to change anything.
    pub fn read_only(&self) -> bool {
        self.inherited.read_only
    }

    /// Whether the host's page cache is to be bypassed.
    pub fn cache_direct(&self) -> bool {
        self.inherited.cache_direct
    }

    /// How calls leave the async threads, unless the node's own options say it.
    pub fn aio(&self) -> Aio {
        self.inherited.aio
    }

    /// The pool for the node's own buffers.
    pub fn pool(&self) -> &BufferPool {
        self.graph.pool()
    }

    /// The driver's options. Those that every node takes (`driver`, `node-name`, `read-only`,
    /// `cache`) are not among them.
    ///
    /// # Errors
    /// [`InvalidOption`](ErrorKind::InvalidOption) for an unknown, missing or wrong option.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T> {
        self.options.typed(self.driver)
    }

    /// Opens or finds a child and attaches it.
    ///
    /// # Errors
    /// Whatever opening it can meet, and what [`Node::attach`] refuses.
    pub async fn child(&self, spec: ChildSpec, needs: ChildNeeds) -> Result<Child> {
        let node = match spec {
            ChildSpec::Node(name) => self.graph.node(&name).ok_or_else(|| {
                invalid(format!(
                    "no node is named '{name}'; to open a file, give {role}.driver=… and its options",
                    role = needs.role.name()
                ))
            })?,
            ChildSpec::Options(options) => {
                self.graph.open_options(options, self.inherited).await?
            }
        };
        node.attach(needs, self.name)
    }

    /// What a child that holds data needs, for a driver that opened as this context says: write
    /// unless read-only, shared with nobody who writes.
    pub fn needs(&self, role: ChildRole, carries_zones: bool) -> ChildNeeds {
        ChildNeeds { role, write: !self.read_only(), share_write: false, carries_zones }
    }
}

fn split_common(mut options: Options) -> Result<(CommonOptions, Options)> {
    let mut common = Options::default();
    for key in ["driver", "node-name", "read-only", "cache"] {
        if let Some(value) = options.take(key) {
            common = common.set(key, value);
        }
    }
    let driver = common.get("driver").and_then(|d| d.as_str()).unwrap_or("(none)").to_owned();
    Ok((common.typed(&driver)?, options))
}

/// Reads the first bytes of an image, as many as there are, for the format drivers to look at.
async fn probe(node: &Node, pool: &BufferPool) -> Result<Vec<u8>> {
    let alignment = u64::from(node.limits().request_alignment.max(1));
    let whole = node.length().checked_div(alignment).unwrap_or(0).saturating_mul(alignment);
    let len = usize::try_from(whole).unwrap_or(PROBE_LEN).min(PROBE_LEN);
    Ok(node.read(0, IoVecMut::from(pool.get(len))).await?.to_vec())
}

fn invalid(message: String) -> Error {
    ErrorKind::InvalidOption(message).into()
}
