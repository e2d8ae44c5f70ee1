//! What the kernel says about `O_DIRECT` (`STATX_DIOALIGN`, Linux 6.1).

use nix::libc::{self, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// The alignments of memory and of offsets that `O_DIRECT` demands, in bytes, in this order; both
/// are 0 if the file cannot be read and written directly. `None` if the kernel or the file system
/// does not say.
#[doc(alias = "statx")]
#[doc(alias = "STATX_DIOALIGN")]
pub(crate) fn dio_alignment(fd: impl AsFd) -> io::Result<Option<(u32, u32)>> {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is an empty C string, which with AT_EMPTY_PATH means the descriptor itself;
    // the kernel fills at most one `statx`, which `found` has room for.
    let result: c_int = unsafe {
        libc::statx(
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            found.as_mut_ptr(),
        )
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EINVAL) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: all fields are integers, so the zeroes that it started with are a valid value too.
    let found = unsafe { found.assume_init() };
    Ok((found.stx_mask & libc::STATX_DIOALIGN != 0)
        .then_some((found.stx_dio_mem_align, found.stx_dio_offset_align)))
}
