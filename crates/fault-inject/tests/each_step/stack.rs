//! What is tried: a stack of nodes with the filter in it.

use crate::ops::{GEOMETRY, ZONE};
use block_core::{
    ChildNeeds, ChildRole, Graph, Inherited, Node, Options, Registry, RequestFlags, Result,
};
use fault_inject::{FaultHandle, FaultInject, Rule};
use file_posix::file;
use power_cut::{Content, PowerCutDisk};
use raw_format::raw;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use zoned_file::{CheckReport, CreateOptions, check, create, zoned_file, zoned_file_needs};

/// Which nodes stand on which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// `zoned-file` on the filter, on a disk whose power can be cut.
    ImageOnDisk,
    /// `zoned-file` on the filter, on a file.
    ImageOnFile,
    /// A window of `raw` on the filter, on an image.
    RawOnImage,
}

/// Where the data is.
#[derive(Clone, Debug)]
pub enum Storage {
    Disk(PowerCutDisk),
    File(PathBuf, #[allow(dead_code)] Arc<TempDir>),
}

pub struct Opened {
    pub node: Arc<Node>,
    pub faults: FaultHandle,
}

fn needs() -> ChildNeeds {
    ChildNeeds { role: ChildRole::Filtered, write: true, share_write: false, carries_zones: true }
}

impl Stack {
    /// Whether the filter is below the driver that is tried, which then promises more than its
    /// child does.
    pub fn is_image(self) -> bool {
        self != Self::RawOnImage
    }

    /// A new storage with an image that has no data.
    pub async fn storage(self, seed: u64) -> Result<Storage> {
        let storage = match self {
            Self::ImageOnFile => {
                let folder = TempDir::new_in(folder()).unwrap();
                let path = folder.path().join("image");
                file_posix::create(&path, 0, false).await?;
                Storage::File(path, Arc::new(folder))
            }
            _ => Storage::Disk(PowerCutDisk::new(Content::new(0), seed)),
        };
        let node = storage.node(&Graph::new(drivers())).await?;
        let child = node.attach(zoned_file_needs(true), "create")?;
        create(&child, &CreateOptions::new(GEOMETRY)).await?;
        child.close().await?;
        Ok(storage)
    }

    /// Opens the stack on a storage, with this rule in force from the beginning.
    pub async fn open(
        self,
        storage: &Storage,
        rule: Option<Rule>,
    ) -> (FaultHandle, Result<Arc<Node>>) {
        let graph = Graph::new(drivers());
        let below = storage.node(&graph).await.expect("the storage opens");
        let image = Options::driver("zoned-file");
        let below = match self {
            Self::RawOnImage => {
                let image = image.clone().set("file", below.name());
                graph.open_options(image, Inherited::default()).await.expect("the image opens")
            }
            _ => below,
        };
        let (driver, faults) = FaultInject::new(below.attach(needs(), "faults").unwrap());
        let _filter = graph.add(Some("faults"), Box::new(driver)).unwrap();
        if let Some(rule) = rule {
            faults.add(rule).unwrap();
        }
        let top = match self {
            // All zones but the last, so that management of all is management of a part below.
            Self::RawOnImage => Options::driver("raw").set("size", 255 * ZONE),
            _ => image,
        };
        let opened = graph.open_options(top.set("file", "faults"), Inherited::default()).await;
        (faults, opened)
    }
}

/// On the disk, or in memory where there is such a place: these tests flush often.
fn folder() -> &'static str {
    if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm" } else { env!("CARGO_TARGET_TMPDIR") }
}

fn drivers() -> Registry {
    Registry::new().with(file()).with(zoned_file()).with(raw())
}

impl Storage {
    async fn node(&self, graph: &Graph) -> Result<Arc<Node>> {
        match self {
            Self::Disk(disk) => graph.add(Some("storage"), Box::new(disk.clone())),
            Self::File(path, _) => {
                let options = Options::driver("file").set("filename", path.to_str().unwrap());
                graph.open_options(options.set("node-name", "storage"), Inherited::default()).await
            }
        }
    }

    /// Verifies the image.
    pub async fn check(&self, repair: bool) -> Result<CheckReport> {
        let node = self.node(&Graph::new(drivers())).await?;
        let child = node.attach(zoned_file_needs(repair), "check")?;
        let report = check(&child, repair).await;
        child.close().await?;
        report
    }

    /// Damages a page of the metadata.
    pub async fn damage(&self, offset: u64) -> Result<()> {
        let node = self.node(&Graph::new(drivers())).await?;
        let flags = RequestFlags::empty();
        node.write(offset, vec![0xDD; 4096].into(), flags).await?;
        node.flush().await?;
        node.close().await
    }

    /// A node of the filter on the storage, for what works on an image without opening it.
    pub async fn filtered(&self, rule: Rule) -> Result<Opened> {
        let graph = Graph::new(drivers());
        let below = self.node(&graph).await?;
        let (driver, faults) = FaultInject::new(below.attach(needs(), "faults")?);
        faults.add(rule)?;
        let node = graph.add(Some("faults"), Box::new(driver))?;
        Ok(Opened { node, faults })
    }
}
