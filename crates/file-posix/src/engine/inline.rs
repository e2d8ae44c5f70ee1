//! Reads that need no waiting, made at once.

use super::transfer::Reading;
use crate::error::is_unsupported;
use crate::open_file::OpenFile;
use crate::sys;
use block_core::Result;
use std::io;
use tokio::runtime::Handle;

/// Longer reads would keep the async thread busy with copying, for about 10 µs or more.
const MAX_LEN: usize = 64 << 10;

/// Reads what the page cache holds; true if that was all, otherwise the rest is left to do.
pub(super) async fn read(file: &OpenFile, reading: &mut Reading) -> Result<bool> {
    if file.is_direct() || file.no_nowait.is_known() || reading.len() > MAX_LEN {
        return Ok(false);
    }
    // Outside a runtime a request fails whether or not its data is in the cache.
    if Handle::try_current().is_err() {
        return Ok(false);
    }
    // A task whose reads all end at once still lets others run from time to time.
    tokio::task::coop::consume_budget().await;
    while let Some(call) = reading.next_call() {
        match sys::preadv_nowait(file.fd(), call.target, call.at, call.offset) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if is_unsupported(&e) => {
                file.no_nowait.learn();
                return Ok(false);
            }
            result => reading.completed(file.transferred(result))?,
        }
    }
    Ok(true)
}
