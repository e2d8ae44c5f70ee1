//! What is typed: counts, options, numbers, names; and whatever else anybody may type.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use block_backend::image::CreateOptions;
use common::{M, file, geometry, open, zoned};
use io_shell::{Flow, command_names};
use proptest::prelude::*;
use std::time::{Duration, Instant};

#[tokio::test]
async fn wrong_words_are_answered_as_qemu_io_does() {
    let mut s = file().await;
    for (line, said) in [
        ("foo bar", "command \"foo\" not found"),
        ("READ 0 1", "command \"READ\" not found"),
        ("read", "bad argument count 0 to read, expected at least 2 arguments"),
        ("r 0", "bad argument count 1 to r, expected at least 2 arguments"),
        ("zrp 0", "bad argument count 1 to zrp, expected 2 arguments"),
        ("zone_open 0", "bad argument count 1 to zone_open, expected 2 arguments"),
        ("flush 1", "bad argument count 1 to flush, expected 0 arguments"),
        ("length 1", "bad argument count 1 to length, expected 0 arguments"),
        ("sleep", "bad argument count 0 to sleep, expected 1 arguments"),
        ("help a b", "bad argument count 2 to help, expected between 0 and 1 arguments"),
        ("help foo", "command foo not found"),
        ("read x 1", "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- x"),
        ("zo 0 1z", "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- 1z"),
        ("zrp -1 1", "Parsing error: argument too large -- -1"),
        ("read 9E 1", "Parsing error: argument too large -- 9E"),
        ("zrp 0 4G", "Number of zones must be less than 2^32"),
        ("read 0 1T", "length cannot exceed 2147483136, given 1T"),
        ("read 0 2147483647", "length cannot exceed 2147483136, given 2147483647"),
        ("write 0 2G", "length cannot exceed 2147483136, given 2G"),
        ("discard 0 3G", "length cannot exceed 2147483136, given 3G"),
        ("write -z 0 3G", "length cannot exceed 2147483136 without -n, given 3G"),
        ("aio_read 0 3G", "Argument '3G' exceeds maximum size 2147483136"),
        ("zap 0 3G", "Argument '3G' exceeds maximum size 2147483136"),
        ("readv 0 1G 1G", "The total number of bytes exceed the maximum size 2147483136"),
        ("read -P 300 0 1", "300 is not a valid pattern byte"),
        ("write -P x 0 1", "x is not a valid pattern byte"),
        ("zap -P -1 0 1", "-1 is not a valid pattern byte"),
        ("read -P 0 -s 500 -l 100 0 512", "pattern verification range exceeds end of read data"),
        ("read -P 0 -s 600 0 512", "pattern verification range exceeds end of read data"),
        ("write -u 0 1", "-u requires -z to be specified"),
        ("aio_write -n 0 1", "-n requires -z to be specified"),
        ("write -z -P 1 0 1", "Only one of -z, -P, and -s can be specified at the same time"),
        ("write -s f -P 1 0 1", "Only one of -z, -P, and -s can be specified at the same time"),
        ("aio_write -z 0 1 1", "-z supports only a single length parameter"),
        ("write -s /no/such/file 0 1", "/no/such/file: No such file or directory"),
        ("sleep x", "x is not a valid number"),
        ("sleep 1k", "1k is not a valid number"),
        ("sleep 99999999999999999999", "99999999999999999999 is not a valid number"),
        (
            "aio_read -v 0 2M",
            "aio_read: -v takes at most 1048576 bytes in the background; use read",
        ),
        ("read 'a", "missing ' at the end of a quoted word"),
    ] {
        assert_eq!(s.fails(line).await, said, "{line}");
    }
}

#[tokio::test]
async fn wrong_use_shows_how_it_is_done() {
    let mut s = file().await;
    let read = "read [-Cqv] [-P pattern [-s off] [-l len]] off len -- read, verify or show a range";
    for (line, complaint) in [
        ("read 0 1 2", ""),
        ("read -q 0", ""),
        ("read -s 1 0 1", ""),
        ("read 0 -5", "read: invalid option -- '5'\n"),
        ("r -z 0 1", "r: invalid option -- 'z'\n"),
        ("read 0 16 -P", "read: option requires an argument -- 'P'\n"),
    ] {
        assert_eq!(s.fails(line).await, format!("{complaint}{read}"), "{line}");
    }
    let append = s.fails("zap -z 0 4k").await;
    assert!(append.starts_with("zap: invalid option -- 'z'\nzone_append [-fp]"), "{append}");
}

#[tokio::test]
async fn lines_may_be_empty_quoted_or_comments() {
    let mut s = file().await;
    for line in ["", "   ", "\t", "# read", "  # x", "flush", "f", "sleep 1", "\"flush\""] {
        assert_eq!(s.ok(line).await, "", "{line}");
    }
    assert_eq!(s.ok("  read\t-q '0' \"512\" ").await, "");
    for line in ["quit", "q", "quit now"] {
        let flow = s.shell.run_line(line, &mut Vec::new()).await.unwrap();
        assert_eq!(flow, Flow::Quit);
    }
}

#[tokio::test]
async fn lengths_change_with_truncate() {
    let mut s = file().await;
    s.expect(
        &["length", "truncate 17M", "l", "t 1536", "length"],
        &["16 MiB", "17 MiB", "1.500 KiB"],
    )
    .await;
}

#[tokio::test]
async fn help_knows_every_command() {
    let mut s = file().await;
    let all = s.ok("help").await;
    for name in command_names() {
        assert!(all.lines().any(|l| l.split([' ', ',']).next() == Some(name)), "{name}");
        let one = s.ok(&format!("help {name}")).await;
        assert!(one.starts_with(name) && one.contains(" -- "), "{one}");
    }
    assert_eq!(s.ok("?").await, all);
    assert!(s.ok("help zrp").await.starts_with("zone_report, zrp offset number -- "));
}

#[tokio::test]
async fn info_and_stats_tell_of_every_node() {
    let options = CreateOptions::new(geometry(4 * M, M));
    let mut s = zoned(options).await;
    let info = s.ok("info").await;
    for part in [
        "format name: zoned-file",
        "length: 4 MiB (0x400000 bytes)",
        "zoned: host-managed, 4 zones of 1 MiB",
        "zone limits: unlimited open, unlimited active",
        " (zoned-file)",
        " (file)",
    ] {
        assert!(info.contains(part), "{info}");
    }
    s.ok("write -q 0 4k").await;
    s.fails("write 0 4k").await;
    let stats = s.ok("stats").await;
    assert!(
        stats.lines().any(|l| l.contains("write ") && l.contains("1 failed, 4 KiB")),
        "{stats}"
    );
    let mut plain = open("driver=null,size=1M").await;
    assert!(!plain.ok("i").await.contains("zone"));
}

/// Words that are nearly right, so that lines get far.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "0", "1", "-1", "512", "4k", "0x1000", "1M", "1T", "8E", "2147483136", "2G", "9E", "",
            "18446744073709551615", "9223372036854775807", "1.5k", "0x", "'", "\"", "--", "-",
            "-P", "-P1", "-q", "-C", "-v", "-z", "-zu", "-s", "-l", "-f", "-n", "-p", "1048576",
        ]).prop_map(str::to_owned),
        1 => any::<u64>().prop_map(|n| n.to_string()),
        1 => "-?[0-9a-fA-Fx.kMGTPE]{0,12}",
        1 => "\\PC{0,8}",
    ]
}

fn hostile_line() -> impl Strategy<Value = String> {
    // A sleep is as long as somebody asks, so it has its own test.
    let names: Vec<_> = command_names()
        .filter(|name| *name != "sleep")
        .chain(["r", "w", "d", "t", "zrp", "zo", "zc", "zf", "zrs", "zap", "#", "nothing"])
        .collect();
    let command = (prop::sample::select(names), prop::collection::vec(word(), 0..6))
        .prop_map(|(name, words)| format!("{name} {}", words.join(" ")));
    prop_oneof![9 => command, 1 => "\\PC{0,40}", 1 => any::<String>()]
}

fn run_hostile(image: &'static str, lines: &[String]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut s = if image.is_empty() {
            let options = CreateOptions::new(geometry(4 * M, M));
            zoned(options).await
        } else {
            open(image).await
        };
        let start = Instant::now();
        for line in lines {
            if line.trim_start().starts_with("sleep") {
                continue;
            }
            let mut out = Vec::new();
            s.shell.run_line(line, &mut out).await.unwrap();
            prop_assert!(out.len() < 32 << 20, "{line}: {} bytes", out.len());
        }
        s.shell.finish(&mut Vec::new()).await.unwrap();
        prop_assert!(start.elapsed() < Duration::from_secs(600), "{lines:?}");
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_line_makes_it_panic_or_hang_on_a_small_node(lines in prop::collection::vec(hostile_line(), 1..30)) {
        run_hostile("driver=null,size=1M", &lines)?;
    }

    #[test]
    fn no_line_makes_it_panic_or_hang_on_a_zoned_node(lines in prop::collection::vec(hostile_line(), 1..20)) {
        run_hostile("", &lines)?;
    }
}
