//! From a path to an open, locked file whose alignment and size are known. Blocks.

use super::kind;
use crate::alignment::{self, Alignment};
use crate::error::{described, invalid};
use crate::open_file::OpenFile;
use crate::sys::{self, Access, LockMode};
use block_core::{BufferPool, Error, ErrorKind, Result};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, FsType, TMPFS_MAGIC, XFS_SUPER_MAGIC,
    fstatfs,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The ways to open a file that options decide about.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub read_only: bool,
    pub direct: bool,
    pub locking: bool,
}

pub(super) fn open(path: &Path, how: How, pool: BufferPool) -> Result<OpenFile> {
    let name = &path.display().to_string();
    let fd = open_regular(path, name, how)?;
    if how.locking {
        let mode = match how.read_only {
            true => LockMode::Shared,
            false => LockMode::Exclusive,
        };
        let otherwise = "if nobody else uses the file, open it with locking=off";
        lock(fd.as_fd(), name, mode, otherwise)?;
    }
    let alignment = match how.direct {
        true => alignment::of_direct(fd.as_fd(), name)?,
        false => Alignment::ANY,
    };
    let size = stat(fd.as_fd(), name)?.size;
    let is_local = is_local(fd.as_fd());
    let mut file = OpenFile::new(fd, how.locking, alignment, size, pool);
    file.is_local = is_local;
    Ok(file)
}

/// Whether the file lies on a file system that is known to wait for no other process and no network.
fn is_local(fd: BorrowedFd<'_>) -> bool {
    const LOCAL: [FsType; 5] =
        [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC];
    fstatfs(fd).is_ok_and(|found| LOCAL.contains(&found.filesystem_type()))
}

/// Opens what is a regular file, and nothing else.
fn open_regular(path: &Path, name: &str, how: How) -> Result<OwnedFd> {
    let found =
        std::fs::metadata(path).map_err(|e| described(&format!("cannot open '{name}'"), e))?;
    kind::must_be_regular(kind::of_type(found.file_type()), name)?;
    let access = Access { write: !how.read_only, direct: how.direct };
    let fd = sys::open(path, access).map_err(|e| explain_open(name, how, e))?;
    // It may be another file by now.
    kind::must_be_regular(stat(fd.as_fd(), name)?.kind, name)?;
    sys::clear_nonblock(&fd).map_err(|e| described(&format!("cannot set up '{name}'"), e))?;
    Ok(fd)
}

pub(crate) fn stat(fd: BorrowedFd<'_>, name: &str) -> Result<sys::Stat> {
    sys::stat(fd).map_err(|e| described(&format!("cannot look at '{name}'"), e))
}

fn explain_open(name: &str, how: How, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidInput if how.direct => alignment::refused(name),
        io::ErrorKind::WouldBlock => busy(name, "another process holds a lease on it"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !how.read_only => {
            let what =
                format!("cannot open '{name}' for writing (read-only=on opens it for reading)");
            described(&what, error)
        }
        _ => described(&format!("cannot open '{name}'"), error),
    }
}

/// Locks the whole file against other processes and nodes. `otherwise` is what to do where files
/// cannot be locked.
pub(crate) fn lock(fd: BorrowedFd<'_>, name: &str, mode: LockMode, otherwise: &str) -> Result<()> {
    let Err(error) = sys::try_lock(fd, mode) else {
        return Ok(());
    };
    if error.kind() != io::ErrorKind::WouldBlock {
        return Err(invalid(format!(
            "the file system of '{name}' cannot lock it ({error}); {otherwise}"
        )));
    }
    Err(match sys::conflicting_lock(fd, mode) {
        Ok(Some(LockMode::Exclusive)) => busy(name, "another process or node writes to it"),
        Ok(Some(LockMode::Shared)) => busy(name, "another process or node reads it"),
        _ => busy(name, "another process or node uses it"),
    })
}

pub(crate) fn busy(name: &str, why: &str) -> Error {
    ErrorKind::Busy(format!("'{name}' is in use: {why}")).into()
}
