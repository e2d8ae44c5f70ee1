//! Reads and writes, in the foreground and in the background.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use block_backend::image::CreateOptions;
use common::{M, Session, file, geometry, open, zoned};
use io_shell::{Flow, Shell, ShellOptions};

#[tokio::test]
async fn what_is_written_is_read_verified_and_shown() {
    let mut s = file().await;
    s.expect(
        &["write -P 0x41 3 20", "read -v 0 32", "read -P 0x41 3 20", "read -P 0x42 3 20"],
        &[
            "wrote 20/20 bytes at offset 3",
            "20 bytes, 1 ops; X",
            "00000000:  00 00 00 41 41 41 41 41 41 41 41 41 41 41 41 41  ...AAAAAAAAAAAAA",
            "00000010:  41 41 41 41 41 41 41 00 00 00 00 00 00 00 00 00  AAAAAAA.........",
            "read 32/32 bytes at offset 0",
            "32 bytes, 1 ops; X",
            "read 20/20 bytes at offset 3",
            "20 bytes, 1 ops; X",
            "Pattern verification failed at offset 3, 20 bytes",
            "read 20/20 bytes at offset 3",
            "20 bytes, 1 ops; X",
        ],
    )
    .await;
    s.expect(
        &["write 512 3584", "r -P 0xcd -s 12 -l 100 500 612", "read -P 1 -s 2 0 9", "w -q 0 16"],
        &[
            "wrote 3584/3584 bytes at offset 512",
            "3.500 KiB, 1 ops; X",
            "read 612/612 bytes at offset 500",
            "612 bytes, 1 ops; X",
            "Pattern verification failed at offset 2, 7 bytes",
            "read 9/9 bytes at offset 0",
            "9 bytes, 1 ops; X",
        ],
    )
    .await;
    assert!(s.fails("read -q -P 9 0 16").await.starts_with("Pattern verification failed"));
}

#[tokio::test]
async fn the_mismatch_stands_before_the_bytes() {
    let mut s = file().await;
    s.expect(
        &["read -P 4 -v 1000 17"],
        &[
            "Pattern verification failed at offset 1000, 17 bytes",
            "000003e8:  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................",
            "000003f8:  00  .",
            "read 17/17 bytes at offset 1000",
            "17 bytes, 1 ops; X",
        ],
    )
    .await;
}

#[tokio::test]
async fn long_reads_are_verified_to_the_last_byte() {
    let mut s = file().await;
    s.ok("write -q -P 5 0 16M").await;
    s.ok("read -q -P 5 0 16M").await;
    s.ok("write -q 16777215 1").await;
    s.fails("read -q -P 5 0 16M").await;
    s.ok("read -q -P 5 -l 16777215 0 16M").await;
    s.ok("read -q -P 5 -s 5M -l 3M 0 16M").await;
    s.ok("write -q 5M 1").await;
    s.fails("read -q -P 5 -s 5M -l 3M 0 16M").await;
    s.ok("read -q -P 5 -s 5242881 -l 3M 0 16M").await;
}

#[tokio::test]
async fn vectors_zeroes_files_and_flags() {
    let mut s = file().await;
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("a file");
    std::fs::write(&source, b"ab1").unwrap();
    let source = source.to_str().unwrap();
    s.expect(
        &[
            "writev -P 1 0 512 1k 2k",
            "readv -P 1 -v 3568 8 8",
            "write -f 0 4k",
            "write -z -u -f 0 1M",
            "readv -q -P 0 0 1k 1k",
            &format!("write -s '{source}' 0 8"),
            "read -v 0 9",
            "discard 0 64k",
            "d -q 0 64k",
        ],
        &[
            "wrote 3584/3584 bytes at offset 0",
            "3.500 KiB, 1 ops; X",
            "00000df0:  01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01  ................",
            "read 16/16 bytes at offset 3568",
            "16 bytes, 1 ops; X",
            "wrote 4096/4096 bytes at offset 0",
            "4 KiB, 1 ops; X",
            "wrote 1048576/1048576 bytes at offset 0",
            "1 MiB, 1 ops; X",
            "wrote 8/8 bytes at offset 0",
            "8 bytes, 1 ops; X",
            "00000000:  61 62 31 61 62 31 61 62 00  ab1ab1ab.",
            "read 9/9 bytes at offset 0",
            "9 bytes, 1 ops; X",
            "discard 65536/65536 bytes at offset 0",
            "64 KiB, 1 ops; X",
        ],
    )
    .await;
}

#[tokio::test]
async fn nothing_is_a_transfer_too() {
    let mut s = file().await;
    s.expect(
        &["read 0 0", "write 0 0", "readv 16M 0", "write -z 0 0"],
        &[
            "read 0/0 bytes at offset 0",
            "0 bytes, 1 ops; X",
            "wrote 0/0 bytes at offset 0",
            "0 bytes, 1 ops; X",
            "read 0/0 bytes at offset 16777216",
            "0 bytes, 1 ops; X",
            "wrote 0/0 bytes at offset 0",
            "0 bytes, 1 ops; X",
        ],
    )
    .await;
    assert_eq!(s.fails("read 20M 0").await, "read failed: Invalid argument");
}

#[tokio::test]
async fn compact_results_are_five_values() {
    let mut s = file().await;
    for line in ["write -C 0 4k", "read -C 0 4k", "readv -C 0 2k 2k", "discard -C 0 4k"] {
        let text = s.ok(line).await;
        let fields: Vec<_> = text.split(',').collect();
        assert_eq!((fields.len(), fields[0], fields[1]), (5, "4096", "1"), "{text}");
        assert!(fields[2].starts_with("0:00:0"), "{text}");
    }
    assert_eq!(s.ok("write -Cq 0 4k").await, "");
    assert_eq!(s.ok("read -qv 0 16").await, "");
}

#[tokio::test]
async fn ranges_past_the_end_print_nothing_of_what_exists() {
    let mut s = file().await;
    for (line, said) in [
        ("read -v 15M 2M", "read failed: Invalid argument"),
        ("read 16M 512", "read failed: Invalid argument"),
        ("read 7E 512", "read failed: Invalid argument"),
        ("readv -v 15M 1M 1M", "readv failed: Invalid argument"),
        ("write 15M 2M", "write failed: Invalid argument"),
        ("writev 16M 1", "writev failed: Invalid argument"),
        ("write -z 9223372036854775807 1", "write failed: Invalid argument"),
        ("write -zn 0 3G", "write failed: Invalid argument"),
        ("discard 15M 2M", "discard failed: Invalid argument"),
        ("read 0 2147483136", "read failed: Invalid argument"),
    ] {
        assert_eq!(s.fails(line).await, said, "{line}");
    }
    assert_eq!(s.ok("length").await, "16 MiB");
}

#[tokio::test]
async fn background_requests_are_told_in_order_at_the_flush() {
    let mut s = file().await;
    s.expect(
        &["aio_write -P 7 0 4k", "aio_write -z 1M 64k", "aio_write 20M 512", "aio_read -q 0 1"],
        &[],
    )
    .await;
    let expected = [
        "wrote 4096/4096 bytes at offset 0",
        "4 KiB, 1 ops; X",
        "wrote 65536/65536 bytes at offset 1048576",
        "64 KiB, 1 ops; X",
        "aio_write failed: Invalid argument",
    ];
    assert_eq!(s.fails("aio_flush").await, expected.join("\n"));
    assert_eq!(s.ok("aio_flush").await, "");
    s.ok("aio_read -v -P 7 0 2 1").await;
    s.ok("aio_read -P 8 0 2").await;
    let mut out = Vec::new();
    assert!(s.shell.finish(&mut out).await.unwrap());
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("00000000:  07 07 07  ...\nread 3/3 bytes at offset 0\n"), "{out}");
    assert!(out.contains("Pattern verification failed at offset 0, 2 bytes\n"), "{out}");
    assert!(!s.shell.finish(&mut Vec::new()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn background_writes_reach_a_zone_in_order_and_in_any_number() {
    let options = CreateOptions::new(geometry(4 * M, M));
    let mut s: Session = zoned(options).await;
    for n in 0..256_u64 {
        s.run(&format!("aio_write -q -P {} {} 4k", n % 251, n * 4096)).await;
    }
    assert_eq!(s.ok("aio_flush").await, "");
    for n in [0_u64, 100, 255] {
        s.ok(&format!("read -q -P {} {} 4k", n % 251, n * 4096)).await;
    }
}

#[tokio::test]
async fn read_only_backends_say_so() {
    let disk = block_backend::BlockBackend::builder()
        .read_only(true)
        .open("driver=null,size=1M")
        .await
        .unwrap();
    let mut shell = Shell::new(disk, ShellOptions::default().explain(true));
    let mut out = Vec::new();
    for line in ["write 0 512", "write -z 0 512", "discard 0 512", "truncate 1k", "aio_write 0 1"] {
        shell.run_line(line, &mut out).await.unwrap();
    }
    assert!(shell.finish(&mut out).await.unwrap());
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "write failed: Read-only file system");
    assert!(lines[1].starts_with("  write of 0x200 bytes at 0x0 on node "), "{out}");
    assert!(lines[1].contains("open read-only"), "{out}");
    assert_eq!(lines[2], lines[0]);
    assert_eq!(lines[4], "discard failed: Read-only file system");
    assert_eq!(lines[6], "truncate failed: Read-only file system");
    assert_eq!(lines[8], "aio_write failed: Read-only file system");
    assert_eq!(lines.len(), 10);
}

#[tokio::test]
async fn a_broken_output_is_the_callers_error() {
    struct Broken;
    impl std::io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut s = open("driver=null,size=1M").await;
    for line in ["read 0 1", "length", "help", "info", "foo", "read", "read 0 2M", "'", "read x 1"]
    {
        let error = s.shell.run_line(line, &mut Broken).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{line}");
    }
    let quit = s.shell.run_line("quit", &mut Broken).await.unwrap();
    assert_eq!(quit, Flow::Quit);
}
