//! Making files of a given length.

use super::kind::must_be_regular;
use super::open::{busy, lock, stat};
use crate::engine::blocking;
use crate::error::{described, invalid, is_unsupported};
use crate::sys::{self, Access, LockMode};
use block_core::Result;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file that appears and disappears this often while it is being made is not worth more tries.
const TRIES: usize = 8;

/// Makes a sparse file of `length` bytes, all of which read as zeroes. Its name is durable on
/// return.
///
/// An existing file is refused unless `overwrite` says that its content may go; it then keeps its
/// owner and its permissions. Nothing of it is lost before it is locked against all other users
/// and the new length has proved to be possible.
///
/// Dropping the future does not stop what has begun.
///
/// # Errors
/// - [`InvalidOption`](block_core::ErrorKind::InvalidOption) if the file exists and `overwrite` is
///   false, or if something else than a regular file has this path;
/// - [`Busy`](block_core::ErrorKind::Busy) if another process or node uses the file;
/// - [`NoSpace`](block_core::ErrorKind::NoSpace) if the file system has no room, or has no files
///   of that length;
/// - [`Io`](block_core::ErrorKind::Io), naming the path, for whatever else the system answers;
/// - [`Unsupported`](block_core::ErrorKind::Unsupported) outside a tokio runtime.
///
/// A file that this call created is gone again after an error.
pub async fn create(path: &Path, length: u64, overwrite: bool) -> Result<()> {
    let path = path.to_owned();
    blocking(move || create_now(&path, length, overwrite)).await?
}

fn create_now(path: &Path, length: u64, overwrite: bool) -> Result<()> {
    let name = &path.display().to_string();
    for _ in 0..TRIES {
        match sys::create_new(path) {
            Ok(fd) => return fill_new(&fd, path, name, length),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(described(&format!("cannot create '{name}'"), e)),
        }
        if !overwrite {
            return Err(invalid(format!(
                "'{name}' exists already; give another path, or --force to lose its content"
            )));
        }
        if let Some(fd) = open_existing(path, name)? {
            return overwrite_now(fd.as_fd(), name, length);
        }
    }
    Err(invalid(format!(
        "'{name}' can be neither created nor opened; is it a link to a file that does not exist?"
    )))
}

/// `None` if there is no such file.
fn open_existing(path: &Path, name: &str) -> Result<Option<OwnedFd>> {
    let access = Access { write: true, direct: false };
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(described(&format!("cannot look at '{name}'"), e)),
    };
    must_be_regular(super::kind::of_type(found.file_type()), name)?;
    match sys::open(path, access) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(described(&format!("cannot overwrite '{name}'"), e)),
    }
}

fn overwrite_now(fd: BorrowedFd<'_>, name: &str, length: u64) -> Result<()> {
    must_be_regular(stat(fd, name)?.kind, name)?;
    let otherwise = "if nobody else uses the file, remove it first";
    lock(fd, name, LockMode::Exclusive, otherwise)?;
    // The new length is tried first: it may be impossible, and then the content must stay.
    let sizes = [length, 0, length];
    let result = sizes.into_iter().try_for_each(|size| sys::ftruncate(fd, size));
    let unlocked = sys::unlock(fd);
    result
        .and(unlocked)
        .map_err(|e| described(&format!("cannot set the size of '{name}' to {length} bytes"), e))
}

fn fill_new(fd: &OwnedFd, path: &Path, name: &str, length: u64) -> Result<()> {
    // A file system without locks is no reason to give up: nobody else has a new file open. Who
    // does nevertheless is left alone with it.
    if let Err(error) = sys::try_lock(fd, LockMode::Exclusive)
        && error.kind() == io::ErrorKind::WouldBlock
    {
        return Err(busy(name, "somebody opened it while it was being created"));
    }
    let result = sys::ftruncate(fd, length)
        .map_err(|e| described(&format!("cannot give '{name}' {length} bytes"), e))
        .and_then(|()| sync_name(path));
    if result.is_err() {
        remove_if_ours(fd.as_fd(), path);
    }
    let _ = sys::unlock(fd);
    result
}

/// Makes the file's name durable, where directories can be synced.
fn sync_name(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let access = Access { write: false, direct: false };
    // A directory may be writable but not readable.
    let Ok(directory) = sys::open(parent, access) else {
        return Ok(());
    };
    match sys::fsync(&directory) {
        Err(e) if !is_unsupported(&e) && e.kind() != io::ErrorKind::InvalidInput => {
            Err(described(&format!("cannot sync '{}'", parent.display()), e))
        }
        _ => Ok(()),
    }
}

/// Removes the path, unless somebody put another file there.
fn remove_if_ours(fd: BorrowedFd<'_>, path: &Path) {
    let ours = sys::stat(fd).map(|s| s.identity);
    let there = std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()));
    if let (Ok(ours), Ok(there)) = (ours, there)
        && ours == there
    {
        let _ = std::fs::remove_file(path);
    }
}
