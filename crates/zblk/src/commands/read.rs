//! `zblk read`

use crate::cli::{ImageArgs, bytes};
use crate::error::{Extent, Failure, Result};
use crate::image::{Access, Whole};
use crate::output::{Output, progress};
use block_backend::{BlockBackend, IoBufMut};
use clap::Args;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Bytes read in one piece.
const PIECE: u64 = 1 << 20;

const EXAMPLES: &str = "\
Standard output carries the data, so the object of --json goes to standard error. The exit code is
0 if the reader of a pipe stops early, as in the last example.

Examples:
  zblk read disk.zbd 0x2000000 1M > piece
  zblk read disk.zbd 32M 64M | sha256sum
  zblk read disk.zbd 0 1G | head -c 512 | xxd";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// Where to begin, in bytes
    #[arg(value_name = "OFFSET", value_parser = bytes)]
    offset: u64,

    /// How much to read, in bytes
    #[arg(value_name = "LEN", value_parser = bytes)]
    len: u64,
}

#[derive(Serialize)]
struct ReadObject {
    offset: u64,
    length: u64,
}

pub(crate) async fn run(args: &ReadArgs, output: &Output) -> Result<()> {
    if io::stdout().is_terminal() {
        let message = "the data would garble the terminal; write it to a file (… > piece) or to \
                       another program (… | xxd)";
        return Err(Failure::Usage(message.to_owned()));
    }
    let range = Extent { position: args.offset, length: args.len };
    args.image
        .with(Access::Read, async |backend| {
            let whole = Whole { backend, op: "read", offset: args.offset, len: args.len };
            whole.check_range()?;
            copy_out(backend, range, output).await
        })
        .await?;
    if output.json {
        output.complain_json(&ReadObject { offset: args.offset, length: args.len });
    }
    Ok(())
}

/// Reads the next piece while the last one is being written.
async fn copy_out(backend: &BlockBackend, range: Extent, output: &Output) -> Result<()> {
    let bar = progress::of_bytes(output, "reading", Some(range.length));
    let end = range.position.saturating_add(range.length);
    let mut position = range.position;
    let mut ready = None;
    while position < end || ready.is_some() {
        let len = PIECE.min(end.saturating_sub(position));
        let next = async {
            match len {
                0 => Ok(None),
                _ => read_piece(backend, position, len).await.map(Some),
            }
        };
        let (next, written) = tokio::join!(next, put(ready.take()));
        bar.inc(written?);
        ready = next?;
        position = position.saturating_add(len);
    }
    Ok(())
}

async fn read_piece(backend: &BlockBackend, position: u64, len: u64) -> Result<IoBufMut> {
    let buffer = backend.buffer(usize::try_from(len).unwrap_or(usize::MAX));
    Ok(backend.read_buf(position, buffer).await?)
}

/// Writes a piece to standard output, off the async thread; gives the number of bytes.
async fn put(piece: Option<IoBufMut>) -> Result<u64> {
    let Some(piece) = piece else {
        return Ok(0);
    };
    let written = tokio::task::spawn_blocking(move || {
        let bytes = piece.as_slice().unwrap_or_default();
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok::<_, io::Error>(bytes.len())
    });
    let len = written.await.map_err(io::Error::other)??;
    Ok(u64::try_from(len).unwrap_or(u64::MAX))
}
