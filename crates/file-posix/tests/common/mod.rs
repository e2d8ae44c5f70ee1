//! What the tests share: places to put files, and nodes opened the way users open them.
#![allow(dead_code)] // Each test program uses its part.

use block_core::{Aio, Error, Graph, Inherited, Node, Options, Registry, Result};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// A folder on the disk of the build, and one in memory: file systems of two kinds.
pub fn folders() -> Vec<TempDir> {
    let mut folders = vec![TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()];
    match TempDir::new_in("/dev/shm") {
        Ok(folder) => folders.push(folder),
        Err(e) => {
            drop(writeln!(std::io::stderr(), "NOT TESTED on tmpfs: /dev/shm cannot be used: {e}"))
        }
    }
    folders
}

/// One folder on disk.
pub fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A new file with this content.
pub fn file_with(folder: &TempDir, content: &[u8]) -> PathBuf {
    let path = folder.path().join("image");
    std::fs::write(&path, content).unwrap();
    path
}

/// A new sparse file.
pub fn sparse(folder: &TempDir, len: u64) -> PathBuf {
    let path = folder.path().join("image");
    std::fs::File::create(&path).unwrap().set_len(len).unwrap();
    path
}

pub fn options(path: &Path) -> Options {
    Options::driver("file").set("filename", path.to_str().unwrap())
}

pub const PLAIN: Inherited = Inherited { read_only: false, cache_direct: false, aio: Aio::Auto };
pub const DIRECT: Inherited = Inherited { read_only: false, cache_direct: true, aio: Aio::Auto };
pub const READ_ONLY: Inherited = Inherited { read_only: true, cache_direct: false, aio: Aio::Auto };

pub async fn open_options(options: Options, how: Inherited) -> Result<Arc<Node>> {
    let graph = Graph::new(Registry::new().with(file_posix::file()));
    graph.open_options(options, how).await
}

pub async fn open(path: &Path, how: Inherited) -> Result<Arc<Node>> {
    open_options(options(path), how).await
}

/// Opens with this engine.
pub async fn open_with(path: &Path, aio: &str, how: Inherited) -> Result<Arc<Node>> {
    open_options(options(path).set("aio", aio), how).await
}

/// Opens past the page cache, or checks that the refusal is clear and says so on the screen.
pub async fn open_direct(path: &Path) -> Option<Arc<Node>> {
    match open(path, DIRECT).await {
        Ok(node) => Some(node),
        Err(e) => {
            assert_eq!(e.kind().name(), "invalid-option", "{e}");
            assert!(e.to_string().contains("does not support direct access"), "{e}");
            drop(writeln!(std::io::stderr(), "NOT TESTED with cache.direct=on: {e}"));
            None
        }
    }
}

/// The kind's name and the message.
pub fn told<T>(result: Result<T>) -> (&'static str, String) {
    let error: Error = result.err().expect("this must fail");
    (error.kind().name(), error.to_string())
}

/// Bytes that differ from their neighbours and are never 0.
pub fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 7 + i / 251 + seed) % 255).unwrap() + 1).collect()
}

/// This test program again, to run one of its ignored tests as another process.
pub fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// Where the process that ran [`again`] finds its file.
pub const PATH: &str = "FILE_POSIX_TEST_PATH";

pub fn given_path() -> PathBuf {
    std::env::var_os(PATH).expect("run by another test").into()
}
