//! Images on disks in memory, for all tests of this directory.
#![allow(dead_code)] // Not every test uses all of it.

use block_core::{Graph, Inherited, Node, Options, Registry, Result};
use power_cut::{Content, PowerCutDisk};
use std::sync::Arc;
use zoned_file::{CheckReport, CreateOptions, GeometryConfig, zoned_file, zoned_file_needs};

/// Opens the image on a disk.
pub async fn open(disk: &PowerCutDisk, read_only: bool) -> Result<Arc<Node>> {
    let graph = Graph::new(Registry::new().with(zoned_file()));
    let _disk = graph.add(Some("disk"), Box::new(disk.clone()))?;
    let options = Options::driver("zoned-file").set("file", "disk");
    let inherited = Inherited { read_only, ..Inherited::default() };
    graph.open_options(options, inherited).await
}

/// Makes an image on a disk.
pub async fn create(
    disk: &PowerCutDisk,
    geometry: GeometryConfig,
    read_only_zones: Vec<u64>,
) -> Result<()> {
    let node = Node::new("disk", Box::new(disk.clone()));
    let child = node.attach(zoned_file_needs(true), "create")?;
    let options = CreateOptions { geometry, read_only_zones, offline_zones: Vec::new() };
    zoned_file::create(&child, &options).await?;
    Ok(())
}

/// Checks the image on a disk.
pub async fn check(disk: &PowerCutDisk, repair: bool) -> Result<CheckReport> {
    let node = Node::new("disk", Box::new(disk.clone()));
    let child = node.attach(zoned_file_needs(repair), "check")?;
    zoned_file::check(&child, repair).await
}

/// The content of a disk with a new image.
pub async fn new_image(geometry: GeometryConfig) -> Content {
    let disk = PowerCutDisk::new(Content::new(0), 1);
    create(&disk, geometry, Vec::new()).await.unwrap();
    disk.live()
}
