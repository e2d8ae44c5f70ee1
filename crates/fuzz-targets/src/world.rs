//! Images on disks in memory.

use arbitrary::{Arbitrary, Unstructured};
use block_backend::BlockBackend;
use block_core::{Graph, Inherited, Node, Options, Registry, Result};
use power_cut::{Content, PowerCutDisk};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use zoned_file::{CheckReport, CreateOptions, zoned_file, zoned_file_needs};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().unwrap();
}

/// Runs a future to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// A disk that holds this.
pub(crate) fn disk(content: &Content) -> PowerCutDisk {
    PowerCutDisk::new(content.clone(), 1)
}

/// What is certain to be on a disk whose user is gone and whose power failed.
pub(crate) fn after_crash(disk: &PowerCutDisk) -> Content {
    disk.durable_at(disk.points())
}

/// The content of a disk with a new image.
pub(crate) async fn new_image(options: &CreateOptions) -> Content {
    let disk = disk(&Content::new(0));
    let node = Node::new("disk", Box::new(disk.clone()));
    let child = node.attach(zoned_file_needs(true), "create").unwrap();
    zoned_file::create(&child, options).await.unwrap();
    disk.live()
}

/// Opens the image on a disk.
pub(crate) async fn open(disk: &PowerCutDisk, read_only: bool) -> Result<Arc<Node>> {
    let graph = Graph::new(Registry::new().with(zoned_file()));
    let _disk = graph.add(Some("disk"), Box::new(disk.clone()))?;
    let options = Options::driver("zoned-file").set("file", "disk");
    graph.open_options(options, Inherited { read_only, ..Inherited::default() }).await
}

/// Opens the image on a disk, behind the checks of a backend.
pub(crate) async fn open_backend(disk: &PowerCutDisk) -> Result<BlockBackend> {
    let node = open(disk, false).await?;
    BlockBackend::builder().on_node(&node)
}

/// Checks the image on a disk.
pub(crate) async fn check(disk: &PowerCutDisk, repair: bool) -> Result<CheckReport> {
    let node = Node::new("disk", Box::new(disk.clone()));
    let child = node.attach(zoned_file_needs(repair), "check")?;
    zoned_file::check(&child, repair).await
}

/// As many of these as the bytes give, but no more than `most`. (A `Vec` would end at half of all
/// bytes.)
pub(crate) fn list<'a, T: Arbitrary<'a>>(bytes: &mut Unstructured<'a>, most: usize) -> Vec<T> {
    let mut items = Vec::new();
    while items.len() < most && !bytes.is_empty() {
        items.extend(T::arbitrary(bytes));
    }
    items
}
