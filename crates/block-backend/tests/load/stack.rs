//! An emulated device over storage whose speed the test decides.

use crate::counted::alone;
use block_backend::block_core::graph::{Graph, Inherited};
use block_backend::block_core::{BlockDriver, ChildNeeds, ChildRole, Options};
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use block_backend::{BackendBuilder, BlockBackend, standard_drivers};
use fault_inject::{Action, FaultHandle, FaultInject, Ops, Rule, When};
use std::sync::MutexGuard;
use std::time::Duration;
use tempfile::TempDir;

pub const BLOCK: u64 = 512;
/// Room for ten thousand requests of one block.
pub const ZONE: u64 = 8 << 20;
/// The first is conventional.
pub const ZONES: u64 = 64;

pub struct Stack {
    pub disk: BlockBackend,
    storage: FaultHandle,
    _folder: TempDir,
    /// One test at a time has a device.
    _alone: MutexGuard<'static, ()>,
}

impl Stack {
    pub async fn open(builder: BackendBuilder) -> Self {
        let alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("load.zbd");
        let geometry = GeometryConfig {
            size: ZONES * ZONE,
            zone_size: ZONE,
            conventional: 1,
            block_size: 512,
            ..GeometryConfig::default()
        };
        create_zoned(&path, &CreateOptions::new(geometry), false).await.unwrap();
        let graph = Graph::new(standard_drivers());
        let file = Options::driver("file").set("filename", path.to_str().unwrap());
        let file = graph.open_options(file, Inherited::default()).await.unwrap();
        let needs = ChildNeeds {
            role: ChildRole::Filtered,
            write: true,
            share_write: false,
            carries_zones: true,
        };
        let (driver, storage) = FaultInject::new(file.attach(needs, "storage").unwrap());
        let driver: Box<dyn BlockDriver> = Box::new(driver);
        let _storage_node = graph.add(Some("storage"), driver).unwrap();
        let zoned = Options::driver("zoned-file").set("file", "storage");
        let zoned = graph.open_options(zoned, Inherited::default()).await.unwrap();
        let disk = builder.graph(&graph).on_node(&zoned).unwrap();
        Self { disk, storage, _folder: folder, _alone: alone }
    }

    /// From now on the storage answers no read and no write.
    pub fn stop(&self) {
        let hang = Action::Hang { when: When::Before };
        self.storage.add(Rule::new("stopped", hang).on(Ops::READ | Ops::WRITE)).unwrap();
    }

    /// It takes the next write and does not answer it; all others are answered.
    pub fn stop_one(&self) {
        let hang = Action::Hang { when: When::Before };
        self.storage.add(Rule::new("stopped", hang).on(Ops::WRITE).times(1)).unwrap();
    }

    /// It answers again, those that waited first.
    pub fn go_on(&self) {
        self.storage.remove("stopped").unwrap();
    }

    /// From now on each write takes at least so long.
    pub fn slow(&self, by: Duration) {
        let delay = Action::Delay { by, jitter: Duration::ZERO, when: When::Before };
        self.storage.add(Rule::new("slow", delay).on(Ops::WRITE)).unwrap();
    }

    /// As fast as it can again.
    pub fn go_on_fast(&self) {
        self.storage.remove("slow").unwrap();
    }

    /// The write pointer, in bytes from the zone's start.
    pub async fn pointer(&self, zone: u64) -> u64 {
        let report = self.disk.report_zones(zone * ZONE, 1).await.unwrap();
        report[0].write_pointer.unwrap() - zone * ZONE
    }
}
