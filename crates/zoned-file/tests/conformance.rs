//! The battery for all drivers, on images in files and on disks in memory.
#![allow(clippy::unwrap_used)]

mod common;

use block_conformance::{Fresh, OpenMode, Profile, check};
use block_core::{ErrorKind, Graph, Inherited, Node, Options, Registry};
use file_posix::file;
use power_cut::{Content, PowerCutDisk};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zoned_file::{CreateOptions, GeometryConfig, create, zoned_file, zoned_file_needs};

const KIB: u64 = 1024;

/// What shows the most: everything that zones can differ in.
const RICH: GeometryConfig = GeometryConfig {
    size: 11 * 256 * KIB + 100 * KIB,
    zone_size: 256 * KIB,
    zone_capacity: Some(192 * KIB),
    conventional: 2,
    block_size: 4096,
    max_open: 4,
    max_active: 6,
};

const PLAIN: GeometryConfig = GeometryConfig {
    size: 10 * 256 * KIB,
    zone_size: 256 * KIB,
    zone_capacity: None,
    conventional: 0,
    block_size: 512,
    max_open: 0,
    max_active: 0,
};

/// A zone size that is no power of two, and more zones than one page of the table describes.
const MANY: GeometryConfig = GeometryConfig {
    size: 300 * 24 * KIB,
    zone_size: 24 * KIB,
    zone_capacity: Some(20 * KIB),
    conventional: 3,
    max_open: 3,
    max_active: 8,
    ..PLAIN
};

fn inherited(mode: OpenMode) -> Inherited {
    Inherited { read_only: mode == OpenMode::ReadOnly, ..Inherited::default() }
}

fn in_memory(name: &str, geometry: GeometryConfig, at_least: usize) {
    let report = check(name, Profile::zoned(), move || async move {
        let disk = PowerCutDisk::new(Content::new(0), 5);
        common::create(&disk, geometry, Vec::new()).await.unwrap();
        let node = common::open(&disk, false).await.unwrap();
        Fresh::new(node).with_reopen(move |mode| {
            let disk = disk.clone();
            async move { common::open(&disk, mode == OpenMode::ReadOnly).await }
        })
    });
    assert!(report.passed() >= at_least, "{report:#}");
}

#[test]
fn in_memory_with_everything() {
    in_memory("zoned-file in memory, with everything", RICH, 60);
}

#[test]
fn in_memory_and_plain() {
    in_memory("zoned-file in memory, plain", PLAIN, 50);
}

#[test]
fn in_memory_with_many_zones() {
    in_memory("zoned-file in memory, 300 zones", MANY, 60);
}

async fn open_file(path: &Path, mode: OpenMode) -> block_core::Result<Arc<Node>> {
    let graph = Graph::new(Registry::new().with(file()).with(zoned_file()));
    let file = Options::driver("file").set("filename", path.to_str().unwrap());
    let options = Options::driver("zoned-file").child("file", file);
    graph.open_options(options, inherited(mode)).await
}

/// Requests that were dropped hold the file, and its lock, until they have ended.
async fn open_when_free(path: &Path, mode: OpenMode) -> block_core::Result<Arc<Node>> {
    loop {
        match open_file(path, mode).await {
            Err(error) if matches!(error.kind(), ErrorKind::Busy(_)) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            opened => return opened,
        }
    }
}

async fn make_file(path: &Path, geometry: GeometryConfig) -> block_core::Result<()> {
    file_posix::create(path, 0, false).await?;
    let graph = Graph::new(Registry::new().with(file()));
    let options = Options::driver("file").set("filename", path.to_str().unwrap());
    let node = graph.open_options(options, Inherited::default()).await?;
    let child = node.attach(zoned_file_needs(true), "create")?;
    let options =
        CreateOptions { geometry, read_only_zones: Vec::new(), offline_zones: Vec::new() };
    create(&child, &options).await.map(drop)
}

fn in_a_file(name: &str, geometry: GeometryConfig, at_least: usize) {
    let report = check(name, Profile::zoned(), move || async move {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        make_file(&path, geometry).await.unwrap();
        let node = open_file(&path, OpenMode::Writable).await.unwrap();
        let reopened = path.clone();
        Fresh::new(node).keeping(directory).with_reopen(move |mode| {
            let path = reopened.clone();
            async move { open_when_free(&path, mode).await }
        })
    });
    assert!(report.passed() >= at_least, "{report:#}");
}

#[test]
fn in_a_file_with_everything() {
    in_a_file("zoned-file in a file, with everything", RICH, 60);
}

#[test]
fn in_a_file_and_plain() {
    in_a_file("zoned-file in a file, plain", PLAIN, 50);
}

#[test]
fn in_a_file_with_many_zones() {
    in_a_file("zoned-file in a file, 300 zones", MANY, 60);
}
