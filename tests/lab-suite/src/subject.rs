//! The devices, and nodes on them.

use crate::nullb::{self, NullBlk, Spec};
use crate::witness;
use block_core::{
    Aio, Graph, Inherited, IoBuf, IoVec, IoVecMut, Node, Options, Registry, RequestFlags,
};
use block_core::{Result, Zone, ZoneOp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A kind of zoned device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NullBlk,
    /// With a smaller last zone.
    NullBlkOdd,
    ScsiDebug,
    Zns,
    /// With 512-byte blocks, and no limits.
    ZnsSmallBlocks,
}

impl Kind {
    pub const fn is_nvme(self) -> bool {
        matches!(self, Self::Zns | Self::ZnsSmallBlocks)
    }
}

/// A zoned device of the lab.
#[derive(Clone, Debug)]
pub struct Device {
    pub kind: Kind,
    /// Where the node is, for devices that are there from the start.
    path: Option<PathBuf>,
}

/// A zoned device with all its zones empty, for one case.
#[derive(Clone, Debug)]
pub struct Subject {
    pub path: PathBuf,
    /// The device, if it was made for this case.
    pub null_blk: Option<Arc<NullBlk>>,
}

impl Device {
    /// Those that the lab gave.
    pub fn present() -> Vec<Self> {
        let fixed = |kind, name| {
            std::env::var_os(name).map(|path| Self { kind, path: Some(PathBuf::from(path)) })
        };
        let null_blk = |kind| nullb::is_present().then_some(Self { kind, path: None });
        let made = [null_blk(Kind::NullBlk), null_blk(Kind::NullBlkOdd)];
        let others = [
            fixed(Kind::ScsiDebug, "LAB_SCSI_DEBUG"),
            fixed(Kind::Zns, "LAB_ZNS"),
            fixed(Kind::ZnsSmallBlocks, "LAB_ZNS_2"),
        ];
        made.into_iter().chain(others).flatten().collect()
    }

    pub const fn name(&self) -> &'static str {
        match self.kind {
            Kind::NullBlk => "null_blk",
            Kind::NullBlkOdd => "null_blk-odd",
            Kind::ScsiDebug => "scsi_debug",
            Kind::Zns => "zns",
            Kind::ZnsSmallBlocks => "zns-512",
        }
    }

    /// Whether this device's nodes make their calls on threads.
    pub const fn uses_threads(&self) -> bool {
        matches!(self.kind, Kind::NullBlkOdd | Kind::ZnsSmallBlocks)
    }

    /// Looks where the device is, after it was away.
    pub fn find_again(&mut self) {
        if self.path.is_some() {
            self.path = Some(crate::plug::find(self.kind).expect("the device is there"));
        }
    }

    /// Whether each case has a device of its own.
    pub const fn is_made(&self) -> bool {
        self.path.is_none()
    }

    /// As [`fresh`](Self::fresh), with one of the two limits at most: null_blk makes no room among
    /// its open zones when its limit of active zones is reached.
    pub fn fresh_with_one_limit(&self) -> Subject {
        match self.kind {
            Kind::NullBlk => Subject::null_blk(&Spec { max_active: 0, ..Spec::SMALL }),
            Kind::NullBlkOdd => Subject::null_blk(&Spec { max_open: 0, ..Spec::SMALLER_LAST }),
            _ => self.fresh(),
        }
    }

    /// The device with all zones empty.
    pub fn fresh(&self) -> Subject {
        match &self.path {
            None if self.kind == Kind::NullBlkOdd => Subject::null_blk(&Spec::SMALLER_LAST),
            None => Subject::null_blk(&Spec::SMALL),
            Some(path) => {
                witness::run("blockdev", &["--setrw", path.to_str().unwrap()]);
                witness::reset_all(path.to_str().unwrap());
                Subject { path: path.clone(), null_blk: None }
            }
        }
    }
}

impl Subject {
    pub fn null_blk(spec: &Spec) -> Self {
        let device = NullBlk::new(spec);
        Self { path: device.path().to_owned(), null_blk: Some(Arc::new(device)) }
    }

    pub fn device(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// A node, opened as users do.
    pub async fn open(&self) -> Arc<Node> {
        open_soon(options(&self.path), DIRECT).await.unwrap()
    }

    /// A node that lets others change the device, too.
    pub async fn open_unlocked(&self) -> Arc<Node> {
        let options = options(&self.path).set("locking", "off").set("append", "emulated");
        open_soon(options, DIRECT).await.unwrap()
    }
}

pub const DIRECT: Inherited = Inherited { read_only: false, cache_direct: true, aio: Aio::Auto };
pub const READ_ONLY: Inherited = Inherited { read_only: true, cache_direct: true, aio: Aio::Auto };
pub const BUFFERED: Inherited = Inherited { read_only: false, cache_direct: false, aio: Aio::Auto };

pub fn graph() -> Graph {
    Graph::new(
        Registry::new()
            .with(file_posix::file())
            .with(file_posix::host_device())
            .with(file_posix::zoned_host_device())
            .with(raw_format::raw())
            .with(zoned_file::zoned_file()),
    )
}

/// How calls reach the kernel: threads on the devices of the second sort of each kind, and whatever
/// is best on the others.
static THREADS: AtomicBool = AtomicBool::new(false);

/// Decides how the nodes that are opened from now on make their calls.
pub fn use_threads(yes: bool) {
    THREADS.store(yes, Ordering::Relaxed);
}

pub fn options(path: &Path) -> Options {
    let aio = if THREADS.load(Ordering::Relaxed) { "threads" } else { "auto" };
    Options::driver("host_device").set("filename", path.to_str().unwrap()).set("aio", aio)
}

pub async fn open(options: Options, how: Inherited) -> Result<Arc<Node>> {
    graph().open_options(options, how).await
}

/// Opens once whoever had the device open has let go of it: a node that was dropped with requests
/// under way keeps its device until they have ended. How long that may take is for the case to say.
pub async fn open_soon(options: Options, how: Inherited) -> Result<Arc<Node>> {
    loop {
        match open(options.clone(), how).await {
            Err(e) if e.kind().name() == "busy" => {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            result => return result,
        }
    }
}

/// Data that differs from its neighbours and is never 0.
pub fn pattern(seed: u64, len: u64) -> Vec<u8> {
    (0..len).map(|i| ((i * 7 + i / 251 + seed * 13) % 255) as u8 + 1).collect()
}

pub fn data(seed: u64, len: u64) -> IoVec {
    IoBuf::copy_of(&pattern(seed, len)).into()
}

pub const NO_FLAGS: RequestFlags = RequestFlags::empty();

pub async fn read(node: &Node, offset: u64, len: u64) -> Vec<u8> {
    node.read(offset, IoVecMut::from(vec![0xEE; len as usize])).await.unwrap().to_vec()
}

pub async fn zones(node: &Node) -> Vec<Zone> {
    node.report_zones(0, usize::MAX).await.unwrap()
}

pub async fn zone(node: &Node, start: u64) -> Zone {
    node.report_zones(start, 1).await.unwrap()[0]
}

pub async fn manage(node: &Node, op: ZoneOp, zone: &Zone) -> Result<()> {
    node.manage_zones(op, zone.start, zone.length).await
}

/// The sequential zones of full size.
pub async fn sequential(node: &Node) -> Vec<Zone> {
    let size = node.limits().zoned.unwrap().zone_size;
    let mut zones = zones(node).await;
    zones.retain(|z| z.zone_type.is_sequential() && z.length == size);
    zones
}

/// The unit of writes.
pub fn unit(node: &Node) -> u64 {
    u64::from(node.limits().zoned.map_or(node.limits().block_size, |z| z.write_granularity))
}

/// The name of an error's kind.
pub fn kind<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    match result {
        Ok(value) => panic!("it succeeded with {value:?}"),
        Err(error) => error.kind().name(),
    }
}
