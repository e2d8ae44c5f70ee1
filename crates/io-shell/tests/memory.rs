//! Memory that long requests take. Alone in its process, because it looks at all of it.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::open;

#[tokio::test]
async fn the_longest_requests_take_little_memory() {
    let before = peak_memory();
    let mut s = open("driver=null,size=4T,read-zeroes=off").await;
    s.ok("write 1T 2147483136").await;
    s.ok("write -z -n 0 3T").await;
    s.ok("read 1T 2147483136").await;
    s.ok("readv 1T 1G 1000M").await;
    assert!(peak_memory() - before < 64 << 10, "{} KiB", peak_memory() - before);
}

/// Most memory that this process had, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
