//! The operations that are tried, over zones that were prepared for them.

use block_core::{IoBufMut, Node, RequestFlags, Result, ZoneOp};
use zoned_file::GeometryConfig;

pub const S: u64 = 512;
pub const ZONE: u64 = 16 * S;
const NONE: RequestFlags = RequestFlags::empty();
const FUA: RequestFlags = RequestFlags::FUA;

/// Small zones, and more of them than one page of the zone table describes.
pub const GEOMETRY: GeometryConfig = GeometryConfig {
    size: 256 * ZONE,
    zone_size: ZONE,
    zone_capacity: Some(12 * S),
    conventional: 2,
    block_size: 512,
    max_open: 3,
    max_active: 6,
};

/// What may be seen of an operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nothing happened.
    Nothing,
    /// In each zone nothing, or all of it.
    Either,
    /// In each zone anything between nothing and all.
    Between,
    /// The same, in any order: a request that the filter holds back is overtaken by others.
    InAnyOrder,
}

#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub name: &'static str,
    /// What an error leaves on a device that promises to change wholly or not at all.
    pub failed: Failed,
    /// Whether all that it did, and all before it, is durable when it succeeds.
    pub durable: bool,
    /// Whether what it did is durable when it succeeds, whatever becomes of other zones.
    pub own_durable: bool,
}

/// An operation that is durable together with everything before it, one that is durable alone, and
/// one that is not.
const fn all(name: &'static str, failed: Failed) -> Op {
    Op { name, failed, durable: true, own_durable: true }
}

const fn own(name: &'static str, failed: Failed) -> Op {
    Op { name, failed, durable: false, own_durable: true }
}

const fn not(name: &'static str, failed: Failed) -> Op {
    Op { name, failed, durable: false, own_durable: false }
}

pub const OPS: [Op; 31] = [
    not("read", Failed::Nothing),
    not("report", Failed::Nothing),
    not("append", Failed::Nothing),
    not("append, to the capacity", Failed::Nothing),
    not("append, to an empty zone", Failed::Nothing),
    not("appends, at once", Failed::Between),
    all("append, FUA", Failed::Either),
    not("write", Failed::Nothing),
    all("write, FUA", Failed::Either),
    not("write-zeroes", Failed::Nothing),
    all("write-zeroes, FUA", Failed::Either),
    not("conventional write", Failed::Between),
    own("conventional write, FUA", Failed::Between),
    not("conventional write-zeroes", Failed::Between),
    all("flush", Failed::Nothing),
    all("flushes, at once", Failed::Nothing),
    all("append and flush, at once", Failed::Either),
    not("open", Failed::Nothing),
    not("close", Failed::Nothing),
    all("finish", Failed::Nothing),
    all("finish, empty zone", Failed::Nothing),
    all("finish, several", Failed::Nothing),
    own("reset", Failed::Nothing),
    own("reset, full zone", Failed::Nothing),
    own("reset, empty zone", Failed::Nothing),
    own("reset, unflushed zone", Failed::Nothing),
    own("reset, several", Failed::Nothing),
    own("reset, over two pages", Failed::Nothing),
    own("reset, all", Failed::Nothing),
    own("resets, at once", Failed::Either),
    own("reset and flush, at once", Failed::Either),
];

fn data(byte: u8, sectors: u64) -> Vec<u8> {
    vec![byte; (sectors * S) as usize]
}

async fn append(node: &Node, zone: u64, byte: u8, sectors: u64, flags: RequestFlags) -> Result<()> {
    node.append(zone * ZONE, data(byte, sectors).into(), flags).await.map(drop)
}

async fn manage(node: &Node, op: ZoneOp, zone: u64, count: u64) -> Result<()> {
    node.manage_zones(op, zone * ZONE, count * ZONE).await
}

/// Before a reopening, if there is one: data that is durable, in all kinds of zone.
pub async fn prepare(node: &Node) -> Result<()> {
    node.write(0, data(0xC0, 4).into(), NONE).await?;
    append(node, 8, 0x88, 3, NONE).await?;
    append(node, 3, 0x33, 3, NONE).await?;
    manage(node, ZoneOp::Finish, 3, 1).await?;
    append(node, 5, 0x55, 12, NONE).await?;
    append(node, 2, 0x22, 4, NONE).await?;
    append(node, 4, 0x44, 2, NONE).await?;
    append(node, 254, 0xFE, 2, NONE).await?;
    node.flush().await?;
    manage(node, ZoneOp::Reset, 8, 1).await
}

/// After it: data that is not durable, and a zone that is open explicitly.
pub async fn make_dirty(node: &Node) -> Result<()> {
    append(node, 4, 0x45, 3, NONE).await?;
    append(node, 254, 0xFD, 1, NONE).await?;
    append(node, 9, 0x99, 1, NONE).await?;
    manage(node, ZoneOp::Open, 6, 1).await
}

impl Op {
    pub async fn run(&self, node: &Node) -> Result<()> {
        let end = 2 * ZONE + 4 * S;
        match self.name {
            "read" => {
                let bufs = IoBufMut::zeroed((7 * ZONE) as usize).into();
                node.read(0, bufs).await.map(drop)
            }
            "report" => node.report_zones(0, usize::MAX).await.map(drop),
            "append" => append(node, 2, 0x12, 2, NONE).await,
            "append, to the capacity" => append(node, 2, 0x12, 8, NONE).await,
            "append, to an empty zone" => append(node, 7, 0x17, 2, NONE).await,
            "appends, at once" => {
                let (a, b, c, d) = tokio::join!(
                    append(node, 2, 0x12, 2, NONE),
                    append(node, 2, 0x13, 1, NONE),
                    append(node, 4, 0x14, 2, NONE),
                    append(node, 2, 0x15, 1, NONE),
                );
                a.and(b).and(c).and(d)
            }
            "append, FUA" => append(node, 2, 0x12, 2, FUA).await,
            "write" => node.write(end, data(0x12, 2).into(), NONE).await,
            "write, FUA" => node.write(end, data(0x12, 2).into(), FUA).await,
            "write-zeroes" => node.write_zeroes(end, 2 * S, NONE).await,
            "write-zeroes, FUA" => node.write_zeroes(end, 2 * S, FUA).await,
            "conventional write" => node.write(2 * S, data(0xC1, 4).into(), NONE).await,
            "conventional write, FUA" => node.write(2 * S, data(0xC1, 4).into(), FUA).await,
            "conventional write-zeroes" => node.write_zeroes(2 * S, 4 * S, NONE).await,
            "flush" => node.flush().await,
            "flushes, at once" => {
                let (a, b) = tokio::join!(node.flush(), node.flush());
                a.and(b)
            }
            "append and flush, at once" => {
                let (a, b) = tokio::join!(append(node, 2, 0x12, 2, FUA), node.flush());
                a.and(b)
            }
            "open" => manage(node, ZoneOp::Open, 7, 1).await,
            "close" => manage(node, ZoneOp::Close, 6, 1).await,
            "finish" => manage(node, ZoneOp::Finish, 4, 1).await,
            "finish, empty zone" => manage(node, ZoneOp::Finish, 7, 1).await,
            "finish, several" => manage(node, ZoneOp::Finish, 2, 4).await,
            "reset" => manage(node, ZoneOp::Reset, 2, 1).await,
            "reset, full zone" => manage(node, ZoneOp::Reset, 5, 1).await,
            "reset, empty zone" => manage(node, ZoneOp::Reset, 7, 1).await,
            "reset, unflushed zone" => manage(node, ZoneOp::Reset, 9, 1).await,
            "reset, several" => manage(node, ZoneOp::Reset, 2, 4).await,
            "reset, over two pages" => manage(node, ZoneOp::Reset, 2, 253).await,
            "reset, all" => node.manage_zones(ZoneOp::Reset, 0, node.length()).await,
            "resets, at once" => {
                let (a, b) = tokio::join!(
                    manage(node, ZoneOp::Reset, 2, 2),
                    manage(node, ZoneOp::Reset, 254, 1)
                );
                a.and(b)
            }
            "reset and flush, at once" => {
                let (a, b) = tokio::join!(manage(node, ZoneOp::Reset, 2, 1), node.flush());
                a.and(b)
            }
            other => panic!("no operation is called {other}"),
        }
    }
}
