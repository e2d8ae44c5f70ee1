//! `zblk write`

use crate::cli::{ImageArgs, bytes};
use crate::error::{Extent, Failure, Result};
use crate::image::{Access, Whole};
use crate::input::{self, Input};
use crate::output::{Output, progress};
use block_backend::{BlockBackend, ErrorKind, Zone};
use clap::Args;
use serde::Serialize;

/// Bytes written in one piece, if the input is long.
const PIECE: u64 = 1 << 20;

const EXAMPLES: &str = "\
In a sequential zone OFFSET must be the zone's write pointer, and the data must fit what is left of
the zone; `zblk append` needs to know neither. If the length of the input is known beforehand (a
file, or at most 8 MiB), it is checked before anything is written. After an error on the way, what
was written before it stays and is told.

Examples:
  zblk write disk.zbd 0 < boot.img
  head -c 64k /dev/urandom | zblk write disk.zbd 0x2000000";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WriteArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// Where to begin, in bytes
    #[arg(value_name = "OFFSET", value_parser = bytes)]
    offset: u64,
}

#[derive(Serialize)]
struct WriteObject {
    offset: u64,
    length: u64,
}

pub(crate) async fn run(args: &WriteArgs, output: &Output) -> Result<()> {
    let work = async |backend: &BlockBackend| write(backend, args.offset, output).await;
    let length = args.image.with(Access::Write, work).await?;
    let offset = args.offset;
    output.result(&WriteObject { offset, length }, String::new)
}

async fn write(backend: &BlockBackend, offset: u64, output: &Output) -> Result<u64> {
    let mut whole = Whole { backend, op: "write", offset, len: 0 };
    whole.check_writable()?;
    whole.check_offset()?;
    let input = Input::open(backend, PIECE).await?;
    if let Some(len) = input.length() {
        whole.len = len;
        whole.check_range()?;
    }
    let mut input = match input.into_whole() {
        Ok(bufs) => {
            backend.write(offset, bufs).await?;
            return Ok(whole.len);
        }
        Err(input) => input,
    };
    check_boundary(&whole).await?;
    let bar = progress::of_bytes(output, "writing", input.length());
    let mut done = Extent { position: offset, length: 0 };
    while let Some(piece) = input.next().await.map_err(|f| f.after(done))? {
        let len = input::len(&piece);
        let position = offset.saturating_add(done.length);
        let written = backend.write(position, piece).await;
        written.map_err(|error| Failure::from(error).after(done))?;
        done.length = done.length.saturating_add(len);
        bar.inc(len);
    }
    Ok(done.length)
}

/// Refuses a write that would begin well and then reach the end of what can be written. What keeps
/// it from beginning is for the write itself to say.
async fn check_boundary(whole: &Whole<'_>) -> Result<()> {
    if whole.backend.zoned().is_none() {
        return Ok(());
    }
    let zones = whole.backend.report_zones(whole.offset, usize::MAX).await?;
    let Some(first) = zones.first() else {
        return Ok(());
    };
    let boundary = if first.zone_type.is_sequential() {
        if first.write_pointer != Some(whole.offset) {
            return Ok(());
        }
        first.writable_end()
    } else {
        let sequential = zones.iter().find(|zone| zone.zone_type.is_sequential());
        sequential.map_or_else(|| whole.backend.length(), |zone: &Zone| zone.start)
    };
    if whole.offset.saturating_add(whole.len) > boundary {
        let zone = whole.id_of(first);
        return Err(whole.refuse(ErrorKind::ZoneBoundary { zone, boundary }).into());
    }
    Ok(())
}
