//! No space left: on a full disk, and at the largest size of a file.
// Helpers panic like tests do: it is the failure report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use block_core::{IoBuf, IoVecMut, Node, RequestFlags};
use common::*;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::io::Write as _;
use std::process::{Command, Stdio};

const NONE: RequestFlags = RequestFlags::empty();

async fn write(
    node: &Node,
    offset: u64,
    len: usize,
    flags: RequestFlags,
) -> block_core::Result<()> {
    let data = IoBuf::copy_of(&pattern(len, 1));
    node.write(offset, data.into(), flags).await
}

async fn read(node: &Node, offset: u64, len: usize) -> Vec<u8> {
    let bufs = IoVecMut::from(vec![0; len]);
    node.read(offset, bufs).await.unwrap().to_vec()
}

#[test]
fn the_largest_size_of_a_file_is_a_lack_of_space() {
    let folder = folder();
    let mut command = again("write_beyond_a_limit");
    let output = command.env(PATH, folder.path().join("image")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
#[ignore = "run by another test as another process, whose limits it changes"]
async fn write_beyond_a_limit() {
    const LIMIT: u64 = 1 << 20;
    // SAFETY: ignoring a signal installs no handler.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, LIMIT, LIMIT).unwrap();
    let path = given_path();

    let created = file_posix::create(&path, LIMIT + 1, false).await;
    assert_eq!(told(created).0, "no-space");
    assert!(!path.exists(), "what was created is gone again");
    file_posix::create(&path, LIMIT, false).await.unwrap();
    let forced = file_posix::create(&path, LIMIT + 1, true).await;
    assert_eq!(told(forced).0, "no-space");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), LIMIT);

    let node = open(&path, PLAIN).await.unwrap();
    for flags in [NONE, RequestFlags::FUA] {
        // The first half fits: the kernel takes it and refuses the rest.
        let (kind, message) = told(write(&node, LIMIT - 4096, 8192, flags).await);
        assert_eq!(kind, "no-space", "{message}");
        assert!(read(&node, LIMIT - 4096, 4096).await == pattern(8192, 1)[..4096]);
    }
    assert_eq!(told(node.resize(LIMIT + 1).await).0, "no-space");
    assert_eq!(node.length(), LIMIT);
    let zeroes = node.write_zeroes(LIMIT - 4096, 8192, NONE).await;
    assert_eq!(told(zeroes).0, "no-space");
    node.flush().await.expect("no durability was lost");
    node.close().await.unwrap();
}

/// Runs a test of this program as root of a namespace of its own, with a file system of 1 MiB.
fn on_a_tiny_disk(test: &str) {
    let folder = folder();
    let inner = again(test);
    let script = r#"mount -t tmpfs -o size=1m tiny "$0" && echo MOUNTED && exec "$@""#;
    let result = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .arg(folder.path())
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(PATH, folder.path().join("image"))
        .stdin(Stdio::null())
        .output();
    match result {
        Ok(output) if output.stdout.starts_with(b"MOUNTED") => {
            assert!(output.status.success(), "{output:?}");
        }
        other => drop(writeln!(
            std::io::stderr(),
            "NOT TESTED: a full disk, because none can be mounted: {other:?}"
        )),
    }
}

#[test]
fn a_full_disk_in_the_middle_of_a_write() {
    on_a_tiny_disk("fill_the_disk");
}

#[tokio::test]
#[ignore = "run by another test in a namespace of its own"]
async fn fill_the_disk() {
    let path = given_path();
    file_posix::create(&path, 8 << 20, false).await.unwrap();
    for how in [PLAIN, DIRECT] {
        let Ok(node) = open(&path, how).await else {
            drop(writeln!(std::io::stderr(), "NOT TESTED with cache.direct=on"));
            continue;
        };
        for flags in [NONE, RequestFlags::FUA] {
            let (kind, message) = told(write(&node, 0, 4 << 20, flags).await);
            assert_eq!(kind, "no-space", "{message}");
            assert!(message.contains("free space"), "{message}");
            assert!(read(&node, 0, 65536).await == pattern(4 << 20, 1)[..65536]);
            let (kind, _) = told(node.write_zeroes(0, 4 << 20, flags).await);
            assert_eq!(kind, "no-space");
            node.flush().await.expect("no durability was lost");
            // Space that comes back is used.
            node.discard(0, 8 << 20).await.unwrap();
            write(&node, 4096, 65536, flags).await.unwrap();
            assert!(read(&node, 4096, 65536).await == pattern(65536, 1));
        }
        node.close().await.unwrap();
    }
}
