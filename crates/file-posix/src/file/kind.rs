//! What stands behind a path, and what to say if it is no regular file.

use crate::error::invalid;
use crate::sys::FileKind;
use block_core::{Error, Result};
use std::fs::FileType;
use std::os::unix::fs::FileTypeExt;

/// Whether devices' drivers are to be asked instead.
pub(super) fn is_device(found: FileType) -> bool {
    found.is_block_device() || found.is_char_device()
}

/// What a path's type is, before anything is opened: opening a device can already do something.
pub(crate) fn of_type(found: FileType) -> FileKind {
    if found.is_file() {
        FileKind::Regular
    } else if found.is_dir() {
        FileKind::Directory
    } else if found.is_block_device() {
        FileKind::BlockDevice
    } else if found.is_char_device() {
        FileKind::CharacterDevice
    } else if found.is_fifo() {
        FileKind::Fifo
    } else if found.is_socket() {
        FileKind::Socket
    } else {
        FileKind::Other
    }
}

/// Refuses all but regular files.
pub(super) fn must_be_regular(kind: FileKind, name: &str) -> Result<()> {
    let what = match kind {
        FileKind::Regular => return Ok(()),
        FileKind::BlockDevice => return Err(block_device(name)),
        FileKind::Directory => "a directory",
        FileKind::CharacterDevice => "a character device",
        FileKind::Fifo => "a FIFO",
        FileKind::Socket => "a socket",
        FileKind::Other => "no regular file",
    };
    Err(invalid(format!("'{name}' is {what}; give driver 'file' the path of a regular file")))
}

fn block_device(name: &str) -> Error {
    invalid(format!("'{name}' is a block device; use driver=host_device for it"))
}
