//! The contract that every driver keeps.

// Helpers panic like tests do: it is the failure report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use block_conformance::{Fresh, OpenMode, Profile, check};
use block_core::{Inherited, Node, Result};
use common::*;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Builder;

/// A node that was dropped with requests under way keeps the file locked until they have ended. How
/// long that may take is for the case to say.
async fn open_soon(path: &Path, aio: &str, how: Inherited) -> Result<Arc<Node>> {
    loop {
        match open_with(path, aio, how).await {
            Err(e) if e.kind().name() == "busy" => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            result => return result,
        }
    }
}

/// The engines that this system offers; one that it lacks is said on the screen.
fn engines(root: &str) -> Vec<&'static str> {
    let runtime = Builder::new_current_thread().build().unwrap();
    let folder = TempDir::new_in(root).unwrap();
    let path = sparse(&folder, 4096);
    match runtime.block_on(open_with(&path, "io_uring", PLAIN)) {
        Ok(_) => vec!["threads", "io_uring"],
        Err(e) => {
            assert!(e.to_string().contains("aio=io_uring"), "{e}");
            drop(writeln!(std::io::stderr(), "NOT TESTED with aio=io_uring: {e}"));
            vec!["threads"]
        }
    }
}

fn battery(subject: &str, root: &'static str, cache_direct: bool) {
    let how = move |read_only| Inherited { read_only, cache_direct, ..Inherited::default() };
    for aio in engines(root) {
        check(&format!("{subject}, {aio}"), Profile::regular(), move || async move {
            let folder = TempDir::new_in(root).unwrap();
            let path = sparse(&folder, 8 << 20);
            let node = open_with(&path, aio, how(false)).await.unwrap();
            let reopen = move |mode| {
                let path = path.clone();
                async move { open_soon(&path, aio, how(mode == OpenMode::ReadOnly)).await }
            };
            Fresh::new(node).with_reopen(reopen).keeping(Arc::new(folder))
        });
    }
}

/// Whether `cache.direct=on` is possible here; if not, that is said on the screen.
fn direct_is_possible(root: &str) -> bool {
    let runtime = Builder::new_current_thread().build().unwrap();
    let folder = TempDir::new_in(root).unwrap();
    let path = sparse(&folder, 4096);
    runtime.block_on(open_direct(&path)).is_some()
}

const DISK: &str = env!("CARGO_TARGET_TMPDIR");
const MEMORY: &str = "/dev/shm";

#[test]
fn buffered_on_disk() {
    battery("file, buffered, on disk", DISK, false);
}

#[test]
fn buffered_on_tmpfs() {
    battery("file, buffered, on tmpfs", MEMORY, false);
}

#[test]
fn direct_on_disk() {
    if direct_is_possible(DISK) {
        battery("file, direct, on disk", DISK, true);
    }
}

#[test]
fn direct_on_tmpfs() {
    if direct_is_possible(MEMORY) {
        battery("file, direct, on tmpfs", MEMORY, true);
    }
}
