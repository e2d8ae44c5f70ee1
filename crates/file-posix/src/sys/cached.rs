//! What the page cache holds, for tests: a read that must not wait has the kernel read ahead, and may
//! find by that what was not there.

use super::off_t;
use nix::errno::Errno;
use nix::libc;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Whether the page cache holds the first page of a range of a file. `offset` must be a multiple of
/// the page size.
#[doc(alias = "mincore")]
pub(crate) fn is_cached(fd: impl AsFd, offset: u64) -> io::Result<bool> {
    let (offset, len) = (off_t(offset)?, 1);
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: a new mapping at a place of the kernel's choice, which nobody looks into.
    let place = unsafe {
        libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, fd, offset)
    };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut page = 0;
    // SAFETY: `len` bytes from there lie in one mapped page, and there is a byte for one page.
    let found = Errno::result(unsafe { libc::mincore(place, len, &raw mut page) });
    // SAFETY: the mapping was made above, and nothing refers to it.
    Errno::result(unsafe { libc::munmap(place, len) })?;
    found?;
    Ok(page & 1 == 1)
}
