//! The driver's factory and options.

use super::driver::FileDriver;
use super::kind;
use super::open::{self, How};
use crate::engine::{Engine, blocking};
use crate::error::invalid;
use async_trait::async_trait;
use block_core::{
    Aio, BlockDriver, ContentClaim, DriverFactory, OnOff, OpenContext, PathClaim, Result,
};
use std::path::{Path, PathBuf};

/// The `file` driver: regular files as nodes.
///
/// Register it in one line:
///
/// ```
/// let registry = block_core::Registry::new().with(file_posix::file());
/// ```
///
/// # Options
/// | option | values | meaning |
/// |---|---|---|
/// | `filename` | a path | required: an existing regular file |
/// | `aio` | `threads`, `io_uring`, `auto` | how calls leave the async threads; `auto`, the default, is `io_uring` where the kernel allows it, else `threads` |
/// | `locking` | `on` (default), `off` | whether the file is locked against other users |
///
/// `read-only` and `cache.direct` are taken from the node or its parents.
///
/// # Requests
/// - Lengths and offsets are bytes. A buffered node takes any; with `cache.direct=on` the limits
///   say what the file system demands, memory included: memory that does not fit is copied.
/// - A node's length is the file's size, rounded up to the request alignment where there is one.
///   What lies past the end of the file reads as zeroes.
/// - Flush is `fdatasync`. **A flush that fails is final**: the kernel may have dropped what it
///   could not write and would not say so twice, so every later flush, every write with FUA and
///   the close fail with the same error until the file is opened again. Plain writes go on.
/// - A write with FUA is `pwritev2` with `RWF_DSYNC` where the page cache is bypassed, otherwise a
///   write and a flush, which waiting requests share.
/// - Discard punches a hole and is [`Unsupported`](block_core::ErrorKind::Unsupported) where the
///   file system cannot. Write-zeroes punches a hole with `MAY_UNMAP`, else zeroes the range in
///   the file system, else writes zeroes.
/// - Direct writes through `io_uring` that fill a hole of the file one after another are given space
///   ahead of them, about as much as was written so: from 64 KiB to 16 MiB (`fallocate`, which
///   leaves the file's size and what can be read as they are), where the file system has plenty. It
///   stays until it is discarded. One that would have to wait because the page cache holds what it
///   changes has the cache forget the 2 MiB around it, but for what is not written back yet.
/// - A dropped future does not stop a system call: it runs on, with its buffers, its lock and its
///   place among the operations that `settle` waits for. What a request had not begun by then is
///   not done. A node that is dropped with requests under way thus keeps its file locked until they
///   have ended: settle and close it before the file is opened again.
///
/// # The runtime
/// With `io_uring` a request belongs to the runtime in which it is first polled, as tokio's own I/O
/// does: that runtime must be driven, or dropped, for the request to end. It needs its I/O driver
/// (`enable_io`); without it threads do the work, after tokio's message of a panic that is caught
/// here, or aborts the program with `panic = "abort"`: choose `aio=threads` there.
///
/// # Errors
/// Opening fails with [`InvalidOption`](block_core::ErrorKind::InvalidOption) for what is no
/// regular file, and for `cache.direct=on` where the file system refuses it;
/// [`Busy`](block_core::ErrorKind::Busy) if the file is locked: by another process or by another
/// node of this one, where at most one of them writes; [`Io`](block_core::ErrorKind::Io), naming
/// the path, for whatever the system answers. Requests fail with
/// [`NoSpace`](block_core::ErrorKind::NoSpace) when the disk, a quota or the largest size of a
/// file is exhausted; note that a process which exceeds its own `RLIMIT_FSIZE` is killed by
/// `SIGXFSZ` unless it ignores that signal.
pub fn file() -> impl DriverFactory {
    FileFactory
}

#[derive(Debug)]
struct FileFactory;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FileOptions {
    filename: PathBuf,
    #[serde(default)]
    aio: Option<Aio>,
    #[serde(default)]
    locking: Option<OnOff>,
}

/// The engine for one open file. Makes system calls that do not wait.
pub(crate) fn engine(aio: Aio) -> Result<Engine> {
    match aio {
        Aio::Threads => Ok(Engine::threads()),
        Aio::Auto => Ok(Engine::uring().unwrap_or_default()),
        Aio::IoUring => Engine::uring().map_err(|error| {
            let why = match error.raw_os_error() {
                Some(nix::libc::ENOSYS) => "this kernel has no io_uring that is new enough",
                Some(nix::libc::EPERM | nix::libc::EACCES) => {
                    "io_uring is forbidden here, by kernel.io_uring_disabled or a container"
                }
                _ => "io_uring cannot be set up",
            };
            invalid(format!(
                "aio=io_uring: {why} ({error}); use aio=threads, or aio=auto for the best there is"
            ))
        }),
    }
}

#[async_trait]
impl DriverFactory for FileFactory {
    fn name(&self) -> &'static str {
        "file"
    }

    fn claims_path(&self, path: &Path) -> PathClaim {
        // A path that cannot be looked at is still for this driver: opening it says why.
        match std::fs::metadata(path) {
            Ok(found) if kind::is_device(found.file_type()) => PathClaim::No,
            _ => PathClaim::File,
        }
    }

    fn claims_content(&self, _: &[u8]) -> ContentClaim {
        ContentClaim::No
    }

    async fn open(&self, context: &mut OpenContext<'_>) -> Result<Box<dyn BlockDriver>> {
        let options: FileOptions = context.options()?;
        let engine = engine(options.aio.unwrap_or(context.aio()))?;
        if options.filename.as_os_str().is_empty() {
            return Err(invalid("option 'filename' is empty".to_owned()));
        }
        let how = How {
            read_only: context.read_only(),
            direct: context.cache_direct(),
            locking: options.locking.is_none_or(|o| o.0),
        };
        let pool = context.pool().clone();
        let file = blocking(move || open::open(&options.filename, how, pool)).await??;
        Ok(Box::new(FileDriver::new(file, engine, how.read_only)))
    }
}
