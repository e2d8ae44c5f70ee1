//! Locks of open file descriptions (`F_OFD_SETLK`, Linux 3.15).
//!
//! Unlike POSIX record locks they belong to the open file, not to the process: a second node of
//! the same process conflicts, and closing some other descriptor of the same file releases nothing.

use nix::fcntl::{self, FcntlArg};
use nix::libc::{self, c_int, c_short, flock};
use std::io;
use std::os::fd::AsFd;

/// How much a lock keeps others out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    /// Others may hold shared locks.
    Shared,
    /// Nobody else holds any lock.
    Exclusive,
}

/// The whole file, however it grows.
fn whole_file(kind: c_int) -> flock {
    flock {
        l_type: c_short::try_from(kind).unwrap_or_default(),
        l_whence: c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn code(mode: LockMode) -> c_int {
    match mode {
        LockMode::Shared => libc::F_RDLCK,
        LockMode::Exclusive => libc::F_WRLCK,
    }
}

/// Takes or changes the lock of this open file; `WouldBlock` if somebody else's is in the way.
#[doc(alias = "F_OFD_SETLK")]
pub(crate) fn try_lock(fd: impl AsFd, mode: LockMode) -> io::Result<()> {
    let wanted = whole_file(code(mode));
    match fcntl::fcntl(fd, FcntlArg::F_OFD_SETLK(&wanted)) {
        Ok(_) => Ok(()),
        // POSIX allows either for a conflict.
        Err(nix::errno::Errno::EACCES) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}

/// Gives the lock up.
#[doc(alias = "F_UNLCK")]
pub(crate) fn unlock(fd: impl AsFd) -> io::Result<()> {
    let none = whole_file(libc::F_UNLCK);
    fcntl::fcntl(fd, FcntlArg::F_OFD_SETLK(&none))?;
    Ok(())
}

/// The mode of a lock that keeps this open file from getting `mode`, if there is one now.
#[doc(alias = "F_OFD_GETLK")]
pub(crate) fn conflicting_lock(fd: impl AsFd, mode: LockMode) -> io::Result<Option<LockMode>> {
    let mut found = whole_file(code(mode));
    fcntl::fcntl(fd, FcntlArg::F_OFD_GETLK(&mut found))?;
    Ok(match c_int::from(found.l_type) {
        libc::F_RDLCK => Some(LockMode::Shared),
        libc::F_WRLCK => Some(LockMode::Exclusive),
        _ => None,
    })
}
