//! `zblk open`, `close`, `finish` and `reset`

use crate::cli::{ImageArgs, bytes};
use crate::error::Result;
use crate::image::Access;
use crate::output::Output;
use block_backend::{BlockBackend, ZoneOp};
use clap::Args;
use serde::Serialize;

const EXAMPLES: &str = "\
Examples (with reset; open, close and finish are used alike):
  zblk reset disk.zbd 0x2000000        the zone that starts there
  zblk reset disk.zbd 32M 64M          four zones of 16 MiB
  zblk reset disk.zbd --all            all that can be reset";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManageArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// Start of the first zone, in bytes, for example 0x2000000 or 32M
    #[arg(value_name = "OFFSET", value_parser = bytes)]
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    offset: Option<u64>,

    /// Length of the zones together, in bytes [default: one zone]
    #[arg(value_name = "LEN", value_parser = bytes)]
    len: Option<u64>,

    /// All zones of the device; conventional, read-only and offline ones are skipped
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct ManageObject {
    op: &'static str,
    offset: u64,
    length: u64,
}

pub(crate) async fn run(op: ZoneOp, args: &ManageArgs, output: &Output) -> Result<()> {
    let work = async |backend: &BlockBackend| {
        let (offset, length) = args.range(backend);
        backend.manage_zones(op, offset, length).await?;
        Ok((offset, length))
    };
    let (offset, length) = args.image.with(Access::Write, work).await?;
    let op = op.name();
    let object = ManageObject { op, offset, length };
    output.result(&object, String::new)
}

impl ManageArgs {
    fn range(&self, backend: &BlockBackend) -> (u64, u64) {
        let Some(offset) = self.offset else {
            return (0, backend.length());
        };
        let one_zone = || {
            let zone_size = backend.zoned().map_or(0, |zoned| zoned.zone_size);
            match backend.length().checked_sub(offset) {
                // The last zone may be smaller.
                Some(rest) if rest > 0 => zone_size.min(rest),
                _ => zone_size,
            }
        };
        (offset, self.len.unwrap_or_else(one_zone))
    }
}
