//! Opening files, and asking what was opened.

use super::uninterrupted;
use nix::fcntl::{self, FcntlArg, OFlag};
use nix::sys::stat::{self, Mode, SFlag};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// With which rights and in which way a file is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    /// For reading and writing; otherwise for reading.
    pub write: bool,
    /// Past the page cache.
    pub direct: bool,
}

/// Opens an existing file. Never waits for the other end of a FIFO; see [`clear_nonblock`].
#[doc(alias = "O_NONBLOCK")]
pub(crate) fn open(path: &Path, access: Access) -> io::Result<OwnedFd> {
    let mut flags = OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    flags |= if access.write { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    if access.direct {
        flags |= OFlag::O_DIRECT;
    }
    uninterrupted(|| fcntl::open(path, flags, Mode::empty()))
}

/// Creates a file that must not exist yet, for reading and writing.
#[doc(alias = "O_EXCL")]
pub(crate) fn create_new(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
    uninterrupted(|| fcntl::open(path, flags, Mode::from_bits_truncate(0o666)))
}

/// Makes an opened descriptor wait as usual, so that no transfer ends early.
#[doc(alias = "fcntl")]
#[doc(alias = "F_SETFL")]
pub(crate) fn clear_nonblock(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd();
    let flags = uninterrupted(|| fcntl::fcntl(fd, FcntlArg::F_GETFL))?;
    let mut flags = OFlag::from_bits_retain(flags);
    flags.remove(OFlag::O_NONBLOCK);
    uninterrupted(|| fcntl::fcntl(fd, FcntlArg::F_SETFL(flags))).map(drop)
}

/// What a path or descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    Directory,
    BlockDevice,
    CharacterDevice,
    Fifo,
    Socket,
    Other,
}

/// The facts about a file that this crate asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    pub kind: FileKind,
    /// In bytes.
    pub size: u64,
    /// Device and inode: together they identify the file.
    pub identity: (u64, u64),
}

/// Looks at an open file.
#[doc(alias = "fstat")]
pub(crate) fn stat(fd: impl AsFd) -> io::Result<Stat> {
    let fd = fd.as_fd();
    let found = uninterrupted(|| stat::fstat(fd))?;
    Ok(Stat {
        kind: match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => FileKind::Regular,
            SFlag::S_IFDIR => FileKind::Directory,
            SFlag::S_IFBLK => FileKind::BlockDevice,
            SFlag::S_IFCHR => FileKind::CharacterDevice,
            SFlag::S_IFIFO => FileKind::Fifo,
            SFlag::S_IFSOCK => FileKind::Socket,
            _ => FileKind::Other,
        },
        size: u64::try_from(found.st_size).unwrap_or(0),
        identity: (found.st_dev, found.st_ino),
    })
}
