//! Reads that need no waiting, made at once.

use super::transfer::Reading;
use crate::error::is_unsupported;
use crate::open_file::OpenFile;
use crate::sys;
use block_core::Result;
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
            Ok(n) if n > 0 => reading.completed(Ok(n))?,
            Err(e) if is_unsupported(&e) => {
                file.no_nowait.learn();
                return Ok(false);
            }
            // Whether this is the end of the file, an error or only a page that is not there, an
            // ordinary call says better: Linux 5.9 and 5.10 give 0 for the latter (preadv2(2)).
            Ok(_) | Err(_) => return Ok(false),
        }
    }
    Ok(true)
}
