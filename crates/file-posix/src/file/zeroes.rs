//! Giving space back and making ranges read as zeroes, by the cheapest way that a file system has.
//!
//! A way that is refused once is not tried again. Zeroes are written, as the last resort, a bounded
//! piece at a time, so that a dropped request ends soon.

use super::driver::Running;
use crate::sys::Allocate;
use block_core::{ErrorKind, IoBuf, IoVec, RequestFlags, Result};

/// The memory of zeroes that is written again and again, in bytes.
const ZEROES: usize = 1 << 20;
/// How much of it one call writes.
const PIECE: u64 = 8 << 20;

/// Punches a hole; an error where that cannot be done.
pub(super) async fn discard(running: &Running<'_>, offset: u64, len: u64) -> Result<()> {
    if len == 0 || allocate(running, Allocate::PunchHole, offset, len).await? {
        return Ok(());
    }
    Err(unsupported("discard"))
}

/// Makes the range read as zeroes; the file grows to the range's end.
pub(super) async fn write_zeroes(
    running: &Running<'_>,
    offset: u64,
    len: u64,
    flags: RequestFlags,
) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    let end = offset.saturating_add(len);
    if flags.contains(RequestFlags::MAY_UNMAP)
        && allocate(running, Allocate::PunchHole, offset, len).await?
    {
        return grow(running, end).await;
    }
    if allocate(running, Allocate::ZeroRange, offset, len).await? {
        return Ok(());
    }
    if flags.contains(RequestFlags::NO_FALLBACK) {
        return Err(unsupported("zeroing without writing"));
    }
    write_them(running, offset, len).await
}

/// Changes the range's space; false if this file cannot do that.
async fn allocate(running: &Running<'_>, what: Allocate, offset: u64, len: u64) -> Result<bool> {
    let missing = match what {
        Allocate::PunchHole => &running.file.no_punch_hole,
        Allocate::ZeroRange => &running.file.no_zero_range,
    };
    if missing.is_known() {
        return Ok(false);
    }
    let done = running.allocate(what, offset, len).await?;
    if !done {
        missing.learn();
    }
    Ok(done)
}

/// Lets the file reach up to `end` if it is shorter, by writing the last zeroes before it: setting
/// the size could take away what another request has just written behind `end`.
async fn grow(running: &Running<'_>, end: u64) -> Result<()> {
    if running.size() >= end {
        return Ok(());
    }
    let unit = running.file.alignment.unit();
    let start = end.saturating_sub(u64::from(running.file.alignment.request));
    running.write(start, IoBuf::zeroed(unit).into()).await
}

async fn write_them(running: &Running<'_>, offset: u64, len: u64) -> Result<()> {
    let end = offset.saturating_add(len);
    let zeroes = IoBuf::zeroed(usize::try_from(len).unwrap_or(ZEROES).min(ZEROES));
    let mut at = offset;
    while at < end {
        let piece = end.saturating_sub(at).min(PIECE);
        let piece = usize::try_from(piece).unwrap_or(ZEROES);
        running.write(at, repeat(&zeroes, piece)).await?;
        at = at.saturating_add(u64::try_from(piece).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// `len` bytes of zeroes, all in the same memory.
fn repeat(zeroes: &IoBuf, len: usize) -> IoVec {
    let mut out = IoVec::new();
    while out.len() < len && !zeroes.is_empty() {
        let mut next = zeroes.clone();
        out.push(next.split_to(len.saturating_sub(out.len())));
    }
    out
}

fn unsupported(what: &str) -> block_core::Error {
    ErrorKind::Unsupported(format!("{what} in this file's file system")).into()
}
