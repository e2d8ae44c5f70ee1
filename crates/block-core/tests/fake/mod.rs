//! Drivers that hold nothing, and a graph that opens them.

use async_trait::async_trait;
use block_core::graph::{Graph, OpenContext};
use block_core::registry::{ContentClaim, DriverFactory, PathClaim};
use block_core::{
    BlockDriver, Child, ChildRole, ChildSpec, ErrorKind, IoVec, IoVecMut, Limits, Registry,
    RequestFlags, Result, Zone, ZoneOp, ZonedDriver, ZonedLimits, ZonedModel,
};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What the drivers of one graph did, in order.
pub type Log = Arc<Mutex<Vec<String>>>;

/// With a child it is a filter, without one a protocol.
#[derive(Debug)]
struct Fake {
    kind: &'static str,
    name: String,
    child: Option<Child>,
    limits: Limits,
    log: Log,
}

impl Fake {
    fn say(&self, what: &str) -> Result<()> {
        self.log.lock().unwrap().push(format!("{what} {}", self.name));
        Ok(())
    }
}

#[async_trait]
impl BlockDriver for Fake {
    fn driver_name(&self) -> &'static str {
        self.kind
    }
    fn limits(&self) -> Limits {
        self.limits
    }
    fn length(&self) -> u64 {
        1 << 20
    }
    fn children(&self) -> Vec<&Child> {
        self.child.iter().collect()
    }

    fn counters(&self) -> Vec<block_core::Counter> {
        Vec::new()
    }
    fn zoned(&self) -> Option<&dyn ZonedDriver> {
        self.limits.zoned.is_some().then_some(self)
    }
    async fn read(&self, offset: u64, mut bufs: IoVecMut) -> Result<IoVecMut> {
        if offset == 666 {
            return Err(ErrorKind::Unsupported("the number of the beast".to_owned()).into());
        }
        if let Some(child) = &self.child {
            return child.read(offset, bufs).await;
        }
        bufs.fill(0);
        Ok(bufs)
    }
    async fn write(&self, _: u64, _: IoVec, _: RequestFlags) -> Result<()> {
        Ok(())
    }
    async fn flush(&self) -> Result<()> {
        Ok(())
    }
    async fn discard(&self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }
    async fn write_zeroes(&self, _: u64, _: u64, _: RequestFlags) -> Result<()> {
        Ok(())
    }
    async fn resize(&self, _: u64) -> Result<()> {
        Ok(())
    }
    async fn refresh(&self) -> Result<()> {
        Ok(())
    }
    async fn settle(&self) -> Result<()> {
        self.say("settle")
    }
    async fn close(&self) -> Result<()> {
        self.say("close")?;
        if &*self.name == "slow" {
            tokio::task::yield_now().await;
            self.say("end")?;
        }
        Ok(())
    }
}

#[async_trait]
impl ZonedDriver for Fake {
    async fn report_zones(&self, _: u64, _: usize) -> Result<Vec<Zone>> {
        Ok(Vec::new())
    }
    async fn manage_zones(&self, _: ZoneOp, _: u64, _: u64) -> Result<()> {
        Ok(())
    }
    async fn append(&self, zone_start: u64, _: IoVec, _: RequestFlags) -> Result<u64> {
        Ok(zone_start)
    }
}

struct FakeFactory {
    name: &'static str,
    zoned: bool,
    carries_zones: bool,
    log: Log,
}

#[derive(serde::Deserialize)]
struct FakeOptions {
    #[serde(default)]
    file: Option<ChildSpec>,
    #[serde(default)]
    filename: Option<String>,
}

#[async_trait]
impl DriverFactory for FakeFactory {
    fn name(&self) -> &'static str {
        self.name
    }
    fn claims_path(&self, path: &Path) -> PathClaim {
        match (self.name, path.starts_with("/dev")) {
            ("store", false) => PathClaim::File,
            ("smr", true) => PathClaim::Device,
            _ => PathClaim::No,
        }
    }
    fn claims_content(&self, head: &[u8]) -> ContentClaim {
        assert!(!head.is_empty());
        if self.name == "filter" { ContentClaim::Fallback } else { ContentClaim::No }
    }
    async fn open(&self, context: &mut OpenContext<'_>) -> Result<Box<dyn BlockDriver>> {
        let options: FakeOptions = context.options()?;
        if options.filename.as_deref() == Some("broken") {
            return Err(ErrorKind::InvalidImage("it is broken".to_owned()).into());
        }
        let child = match options.file {
            Some(spec) => {
                let needs = context.needs(ChildRole::Filtered, self.carries_zones);
                Some(context.child(spec, needs).await?)
            }
            None => None,
        };
        let zoned = self.zoned.then_some(ZonedLimits {
            model: ZonedModel::HostManaged,
            zone_size: 1 << 16,
            nr_zones: 16,
            max_open_zones: 0,
            max_active_zones: 0,
            max_append_bytes: 0,
            write_granularity: 512,
        });
        let zoned = child.as_ref().map_or(zoned, |c| c.limits().zoned);
        let limits = Limits { read_only: context.read_only(), zoned, ..Limits::unaligned() };
        let name = context.name().to_owned();
        Ok(Box::new(Fake { kind: self.name, name, child, limits, log: Arc::clone(&self.log) }))
    }
}

/// A graph with the drivers `store`, `smr` (zoned), `filter`, and `blind`, which carries no zones.
pub fn graph() -> (Graph, Log) {
    let log = Log::default();
    let make = |name, zoned, carries_zones| FakeFactory {
        name,
        zoned,
        carries_zones,
        log: Arc::clone(&log),
    };
    let registry = Registry::new()
        .with(make("store", false, false))
        .with(make("smr", true, false))
        .with(make("filter", false, true))
        .with(make("blind", false, false));
    (Graph::new(registry), log)
}
