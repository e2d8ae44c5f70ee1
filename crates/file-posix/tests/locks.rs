//! Two users of one file, in one process and in two.
// Helpers panic like tests do: it is the failure report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use block_core::{IoBuf, IoVecMut, RequestFlags};
use common::*;
use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Stdio};

#[tokio::test]
async fn a_writer_shares_with_nobody_in_the_same_process() {
    for folder in folders() {
        let path = sparse(&folder, 8192);
        let writer = open(&path, PLAIN).await.unwrap();
        let (kind, message) = told(open(&path, PLAIN).await);
        assert_eq!(kind, "busy");
        assert!(message.contains("another process or node writes to it"), "{message}");
        assert!(message.contains("image'"), "{message}");
        assert_eq!(told(open(&path, READ_ONLY).await).0, "busy");
        writer.close().await.unwrap();
        open(&path, PLAIN).await.unwrap();
    }
}

#[tokio::test]
async fn readers_share_with_each_other() {
    let folder = folder();
    let path = sparse(&folder, 8192);
    let one = open(&path, READ_ONLY).await.unwrap();
    let two = open(&path, READ_ONLY).await.unwrap();
    let (kind, message) = told(open(&path, PLAIN).await);
    assert_eq!(kind, "busy");
    assert!(message.contains("reads it"), "{message}");
    drop(one);
    assert_eq!(told(open(&path, PLAIN).await).0, "busy");
    drop(two);
    open(&path, PLAIN).await.unwrap();
}

#[tokio::test]
async fn locking_off_shares_with_everybody() {
    let folder = folder();
    let path = sparse(&folder, 8192);
    let unlocked = || options(&path).set("locking", "off");
    let writer = open(&path, PLAIN).await.unwrap();
    open_options(unlocked(), PLAIN).await.unwrap();
    drop(writer);
    let _unlocked = open_options(unlocked(), PLAIN).await.unwrap();
    open(&path, PLAIN).await.unwrap();
}

#[tokio::test]
async fn a_closed_node_refuses_and_a_new_one_may_follow() {
    let folder = folder();
    let path = sparse(&folder, 8192);
    let node = open(&path, PLAIN).await.unwrap();
    let data = || IoBuf::copy_of(&[5; 512]).into();
    let none = RequestFlags::empty();
    node.write(0, data(), none).await.unwrap();
    node.settle().await.unwrap();
    node.close().await.unwrap();
    for result in [
        node.write(0, data(), none).await,
        node.read(0, IoVecMut::from(vec![0; 512])).await.map(drop),
        node.flush().await,
        node.discard(0, 512).await,
        node.write_zeroes(0, 512, none).await,
        node.resize(4096).await,
    ] {
        assert_eq!(told(result).0, "closed");
    }
    node.close().await.unwrap();
    assert_eq!(node.length(), 8192);
    node.settle().await.unwrap();
    let next = open(&path, PLAIN).await.unwrap();
    let back = next.read(0, IoVecMut::from(vec![0; 512])).await.unwrap();
    assert_eq!(back.to_vec(), [5; 512]);
}

/// Another process that holds the file open until its standard input ends.
struct Other {
    child: Child,
    /// Kept open, so that the process can say its last words.
    stdout: ChildStdout,
}

impl Other {
    fn start(path: &std::path::Path, how: &str) -> Self {
        let mut child = again("hold")
            .env(PATH, path)
            .env("FILE_POSIX_TEST_HOW", how)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut other = Self { child, stdout };
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(b"HELD") {
            if other.stdout.read(&mut byte).unwrap() == 0 {
                other.kill();
                panic!("the other process did not open the file");
            }
            said.push(byte[0]);
        }
        other
    }

    fn stop(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
#[ignore = "run by the other tests as another process"]
async fn hold() {
    let how = match std::env::var("FILE_POSIX_TEST_HOW").as_deref() {
        Ok("write") => PLAIN,
        _ => READ_ONLY,
    };
    let node = open(&given_path(), how).await.unwrap();
    println!("HELD");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
    drop(node);
}

#[tokio::test]
async fn another_process_that_writes_keeps_all_out() {
    for folder in folders() {
        let path = sparse(&folder, 8192);
        let other = Other::start(&path, "write");
        let (kind, message) = told(open(&path, PLAIN).await);
        assert_eq!(kind, "busy");
        assert!(message.contains("in use"), "{message}");
        assert_eq!(told(open(&path, READ_ONLY).await).0, "busy");
        assert_eq!(told(file_posix::create(&path, 1 << 20, true).await).0, "busy");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 8192);
        other.stop();
        open(&path, PLAIN).await.unwrap();
    }
}

#[tokio::test]
async fn another_process_that_reads_lets_others_read() {
    let folder = folder();
    let path = sparse(&folder, 8192);
    let other = Other::start(&path, "read");
    open(&path, READ_ONLY).await.unwrap();
    assert_eq!(told(open(&path, PLAIN).await).0, "busy");
    other.kill();
    // Even a killed process leaves no lock behind.
    open(&path, PLAIN).await.unwrap();
}
