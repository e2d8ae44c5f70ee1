//! Reads and writes that need no waiting, made at once.

use super::offload::current_runtime;
use super::transfer::{Reading, Writing};
use crate::error::is_unsupported;
use crate::open_file::{Missing, OpenFile};
use crate::sys;
use block_core::Result;
use std::io;

/// Longer requests would keep the async thread busy with copying, for about 10 µs or more.
const MAX_LEN: usize = 64 << 10;

/// Whether to try it. A task whose requests all end at once still lets others run from time to time.
async fn is_due(file: &OpenFile, refused: &Missing, len: usize) -> bool {
    // Outside a runtime a request fails whether or not its data is in the cache.
    let due =
        !file.is_direct() && !refused.is_known() && len <= MAX_LEN && current_runtime().is_ok();
    if due {
        tokio::task::coop::consume_budget().await;
    }
    due
}

/// What was transferred at once, if anything. Otherwise an ordinary call says better why not: Linux
/// 5.9 and 5.10 give 0 for a page that is not there (preadv2(2)).
fn at_once(result: io::Result<usize>, refused: &Missing) -> Option<usize> {
    if result.as_ref().is_err_and(is_unsupported) {
        refused.learn();
    }
    result.ok().filter(|n| *n > 0)
}

/// Reads what the page cache holds; true if that was all, otherwise the rest is left to do.
pub(super) async fn read(file: &OpenFile, reading: &mut Reading) -> Result<bool> {
    if !is_due(file, &file.no_nowait_reads, reading.len()).await {
        return Ok(false);
    }
    while let Some(call) = reading.next_call() {
        let result = sys::preadv_nowait(file.fd(), call.target, call.at, call.offset);
        let Some(n) = at_once(result, &file.no_nowait_reads) else { return Ok(false) };
        reading.completed(Ok(n))?;
    }
    Ok(true)
}

/// Writes what the page cache takes without waiting (for memory, for the disk, for a lock); true if
/// that was all, otherwise the rest is left to do.
pub(super) async fn write(file: &OpenFile, writing: &mut Writing) -> Result<bool> {
    if !is_due(file, &file.no_nowait_writes, writing.len()).await {
        return Ok(false);
    }
    let start = writing.position();
    let mut all = true;
    while let Some(call) = writing.next_call() {
        let result = sys::pwritev_nowait(file.fd(), call.source, call.at, call.offset);
        let Some(n) = at_once(result, &file.no_nowait_writes) else {
            all = false;
            break;
        };
        writing.completed(Ok(n))?;
    }
    if writing.position() > start {
        file.changed_up_to(writing.position());
    }
    Ok(all)
}
