//! What can be opened and created, and what is said about the rest.
// Helpers panic like tests do: it is the failure report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use block_core::{DriverFactory, ErrorKind, IoVecMut, PathClaim};
use common::*;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn what_is_no_regular_file_is_refused_by_its_name() {
    let folder = folder();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, what) in [
        (folder.path(), "a directory"),
        (&*fifo, "a FIFO"),
        (&*socket, "a socket"),
        (Path::new("/dev/null"), "a character device"),
    ] {
        for how in [PLAIN, READ_ONLY, DIRECT] {
            let opened = timeout(Duration::from_secs(120), open(path, how));
            let (kind, message) = told(opened.await.expect("opening must not wait"));
            assert_eq!(kind, "invalid-option", "{message}");
            assert!(message.contains(what), "{message}");
            assert!(message.contains("regular file"), "{message}");
        }
        let (kind, message) = told(file_posix::create(path, 4096, true).await);
        assert_eq!(kind, "invalid-option", "{message}");
    }
}

/// The first block device of this machine, if it has any.
fn block_device() -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir("/dev").ok()?;
    let mut paths = entries.filter_map(|e| Some(e.ok()?.path()));
    paths.find(|path| file_posix::file().claims_path(path) == PathClaim::No && is_block(path))
}

fn is_block(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}

#[tokio::test]
async fn devices_are_left_to_their_drivers() {
    let factory = file_posix::file();
    let folder = folder();
    assert_eq!(factory.name(), "file");
    assert_eq!(factory.claims_path(Path::new("/dev/null")), PathClaim::No);
    assert_eq!(factory.claims_path(folder.path()), PathClaim::File);
    let nothing = folder.path().join("nothing");
    assert_eq!(factory.claims_path(&nothing), PathClaim::File);
    let Some(device) = block_device() else {
        drop(writeln!(
            std::io::stderr(),
            "NOT TESTED: block devices, because this machine shows none"
        ));
        return;
    };
    let (kind, message) = told(open(&device, READ_ONLY).await);
    assert_eq!(kind, "invalid-option");
    assert!(message.contains("driver=host_device"), "{message}");
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let folder = folder();
    let path = folder.path().join("no").join("such.img");
    for how in [PLAIN, READ_ONLY, DIRECT] {
        let error = open(&path, how).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io(e) if e.kind() == io::ErrorKind::NotFound));
        assert!(error.to_string().contains("no/such.img'"), "{error}");
        assert!(error.to_string().contains("os error 2"), "{error}");
    }
}

#[tokio::test]
async fn odd_names_are_refused() {
    let empty = block_core::Options::driver("file").set("filename", "");
    assert_eq!(told(open_options(empty, PLAIN).await).0, "invalid-option");
    let none = block_core::Options::driver("file");
    let (kind, message) = told(open_options(none, PLAIN).await);
    assert_eq!(kind, "invalid-option");
    assert!(message.contains("missing option 'filename'"), "{message}");
    let nul = block_core::Options::driver("file").set("filename", "a\0b");
    assert_eq!(told(open_options(nul, DIRECT).await).0, "io");
    let long = block_core::Options::driver("file").set("filename", "x".repeat(10_000));
    assert_eq!(told(open_options(long, PLAIN).await).0, "io");
}

#[tokio::test]
async fn engines_are_chosen_by_name() {
    let folder = folder();
    let path = sparse(&folder, 4096);
    for aio in ["threads", "auto"] {
        open_options(options(&path).set("aio", aio), PLAIN).await.unwrap();
    }
    match open_with(&path, "io_uring", PLAIN).await {
        Ok(_) => {}
        // Where the kernel or a container has none, the message says so, and what to do.
        Err(e) => {
            assert_eq!(e.kind().name(), "invalid-option");
            assert!(e.to_string().contains("use aio=threads"), "{e}");
        }
    }
    for (key, value) in [("aio", "magic"), ("locking", "perhaps"), ("lock", "on")] {
        let refused = open_options(options(&path).set(key, value), PLAIN).await;
        assert_eq!(told(refused).0, "invalid-option", "{key}");
    }
}

#[test]
fn a_file_that_may_not_be_written_is_told_with_advice() {
    let folder = folder();
    let path = file_with(&folder, &[1; 4096]);
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&path, 0o444);
    mode(folder.path(), 0o755);
    let mut command = again("open_without_permission");
    command.env(PATH, &path);
    if nix::unistd::geteuid().is_root() {
        // For root there are no permissions: become nobody, who must be able to run this program.
        let program = std::env::current_exe().unwrap();
        let reachable = |p: &Path| std::fs::metadata(p).is_ok_and(|m| m.mode() & 0o001 != 0);
        if !path.ancestors().skip(1).chain(program.ancestors()).all(reachable) {
            drop(writeln!(
                std::io::stderr(),
                "NOT TESTED: permissions, because only root can reach the test program"
            ));
            return;
        }
        command.uid(65534);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
#[ignore = "run by another test as another user"]
async fn open_without_permission() {
    let path = given_path();
    let error = open(&path, PLAIN).await.unwrap_err();
    let denied = |k: &ErrorKind| matches!(k, ErrorKind::Io(e) if e.kind() == io::ErrorKind::PermissionDenied);
    assert!(denied(error.kind()), "{error}");
    assert!(error.to_string().contains("read-only=on"), "{error}");
    assert!(error.to_string().contains("image'"), "{error}");
    open(&path, READ_ONLY).await.unwrap();
    let error = file_posix::create(&path, 1, true).await.unwrap_err();
    assert!(denied(error.kind()), "{error}");
    let inside = path.with_file_name("new");
    let error = file_posix::create(&inside, 1, true).await.unwrap_err();
    assert!(denied(error.kind()), "{error}");
}

#[tokio::test]
async fn a_created_file_is_sparse_and_zero() {
    for folder in folders() {
        let path = folder.path().join("new");
        file_posix::create(&path, 1 << 30, false).await.unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.len(), found.blocks()), (1 << 30, 0));
        let node = open(&path, PLAIN).await.unwrap();
        assert_eq!(node.length(), 1 << 30);
        let end = node.read((1 << 30) - 4096, IoVecMut::from(vec![1; 4096]));
        assert_eq!(end.await.unwrap().to_vec(), [0; 4096]);
    }
}

#[tokio::test]
async fn an_existing_file_is_overwritten_on_demand_only() {
    let folder = folder();
    let path = file_with(&folder, &[1; 8192]);
    let (kind, message) = told(file_posix::create(&path, 4096, false).await);
    assert_eq!(kind, "invalid-option");
    assert!(message.contains("--force"), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), [1; 8192]);

    let user = open(&path, READ_ONLY).await.unwrap();
    assert_eq!(told(file_posix::create(&path, 4096, true).await).0, "busy");
    drop(user);
    assert_eq!(std::fs::read(&path).unwrap(), [1; 8192]);

    for length in [4096, 12288] {
        std::fs::write(&path, [1; 8192]).unwrap();
        file_posix::create(&path, length, true).await.unwrap();
        let content = std::fs::read(&path).unwrap();
        assert_eq!(content.len() as u64, length);
        assert!(content.iter().all(|b| *b == 0));
    }
}

#[tokio::test]
async fn an_impossible_length_leaves_no_file_and_no_damage() {
    for folder in folders() {
        for length in [u64::MAX, i64::MAX as u64 + 1] {
            let path = folder.path().join("new");
            let (kind, message) = told(file_posix::create(&path, length, false).await);
            assert_eq!(kind, "no-space", "{message}");
            assert!(message.contains("new'"), "{message}");
            assert!(!path.exists());

            let path = file_with(&folder, &[1; 8192]);
            let (kind, _) = told(file_posix::create(&path, length, true).await);
            assert_eq!(kind, "no-space");
            assert_eq!(std::fs::read(&path).unwrap(), [1; 8192]);
        }
    }
}

#[tokio::test]
async fn a_link_to_nothing_is_refused() {
    let folder = folder();
    let path = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("nothing"), &path).unwrap();
    let (kind, message) = told(file_posix::create(&path, 1, true).await);
    assert_eq!(kind, "invalid-option");
    assert!(message.contains("link"), "{message}");
}
