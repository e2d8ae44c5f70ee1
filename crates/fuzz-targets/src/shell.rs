//! Lines of the io shell, on a small zoned image.

use crate::world::{block_on, disk, list, new_image, open_backend};
use arbitrary::{Arbitrary, Unstructured};
use block_core::Zone;
use io_shell::{Flow, Shell, ShellOptions};
use power_cut::Content;
use std::sync::OnceLock;
use zoned_file::{CreateOptions, GeometryConfig};

/// How far an input can come.
pub const OUTCOMES: &[&str] = &["nothing worked", "something worked"];

const ZONE: u64 = 16 << 10;

const GEOMETRY: GeometryConfig = GeometryConfig {
    size: 6 * ZONE,
    zone_size: ZONE,
    zone_capacity: Some(12 << 10),
    conventional: 1,
    block_size: 512,
    max_open: 2,
    max_active: 3,
};

const LINES: usize = 40;

#[derive(Arbitrary, Debug)]
enum Line<'a> {
    Text(&'a str),
    Words(u8, [Word<'a>; 2]),
    MoreWords(u8, [Word<'a>; 4]),
}

#[derive(Arbitrary, Debug)]
enum Word<'a> {
    Option(u8),
    Zone(u8),
    Blocks(u8),
    Odd(u8),
    Any(u64),
    Text(&'a str),
}

const OPTIONS: [&str; 14] =
    ["-P", "-q", "-v", "-C", "-z", "-f", "-n", "-u", "-p", "-zu", "-pP", "--", "-", "-x"];
const ODD: [&str; 16] = [
    "0x10",
    "1.5k",
    "64k",
    "8E",
    "-1",
    "",
    "'",
    "\"a b\"",
    "0b",
    "1M",
    "0xcd",
    "255",
    "#",
    "help",
    "99999999999999999999",
    "2147483136",
];

/// Tries one input.
pub fn run(data: &[u8]) -> &'static str {
    let lines: Vec<Line<'_>> = list(&mut Unstructured::new(data), LINES);
    let lines = lines.iter().map(Line::text).filter(|line| is_harmless(line));
    block_on(try_lines(lines.collect()))
}

async fn try_lines(lines: Vec<String>) -> &'static str {
    static IMAGE: OnceLock<Content> = OnceLock::new();
    let image = match IMAGE.get() {
        Some(image) => image,
        None => {
            let options = CreateOptions { offline_zones: vec![4], ..CreateOptions::new(GEOMETRY) };
            let image = new_image(&options).await;
            IMAGE.get_or_init(|| image)
        }
    };
    let disk = disk(image);
    let backend = open_backend(&disk).await.unwrap();
    let mut shell = Shell::new(backend.clone(), ShellOptions::default().explain(true));
    let mut worked = false;
    for line in &lines {
        let mut out = Vec::new();
        match shell.run_line(line, &mut out).await.unwrap() {
            Flow::Quit => break,
            Flow::Continue { failed } => {
                assert!(!failed || !out.is_empty(), "{line:?} failed and said nothing");
                worked |= !failed && !line.trim().is_empty();
            }
        }
        said(line, &out);
    }
    let mut out = Vec::new();
    shell.finish(&mut out).await.unwrap();
    said("the end", &out);
    let zones = backend.report_zones(0, usize::MAX).await.unwrap();
    possible(&zones);
    backend.close().await.unwrap();
    let again = open_backend(&disk).await.unwrap();
    let kept = again.report_zones(0, usize::MAX).await.unwrap();
    let pointers = |zones: &[Zone]| zones.iter().map(|z| z.write_pointer).collect::<Vec<_>>();
    assert_eq!(pointers(&kept), pointers(&zones), "after {lines:?}");
    if worked { "something worked" } else { "nothing worked" }
}

fn said(line: &str, out: &[u8]) {
    let text = std::str::from_utf8(out).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{line:?} printed {text:?}");
}

fn possible(zones: &[Zone]) {
    let mut at = 0;
    for zone in zones {
        assert_eq!(zone.start, at, "{zone:?}");
        let end = zone.end();
        assert!(zone.write_pointer.is_none_or(|p| (zone.start..=end).contains(&p)), "{zone:?}");
        at = end;
    }
    assert_eq!(at, GEOMETRY.size);
    let count = |is: fn(&Zone) -> bool| zones.iter().filter(|z| is(z)).count();
    assert!(count(|z| z.condition.is_open()) <= 2, "{zones:?}");
    assert!(count(|z| z.condition.is_active()) <= 3, "{zones:?}");
}

/// Neither waits nor reads files of the machine.
fn is_harmless(line: &str) -> bool {
    let sleeps = line.trim_start().trim_start_matches(['\'', '"']).starts_with('s');
    let mut words = line.split_whitespace();
    let reads = words.any(|w| w.trim_matches(['\'', '"']).starts_with('-') && w.contains('s'));
    let is_stats = line.trim() == "stats";
    is_stats || !(sleeps || reads)
}

fn command_line(command: u8, words: &[Word<'_>]) -> String {
    let count = io_shell::command_names().count();
    let name = io_shell::command_names().nth(usize::from(command) % count).unwrap();
    let words = words.iter().map(Word::text);
    std::iter::once(name.to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

impl Line<'_> {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.replace('\n', " "),
            Self::Words(command, words) => command_line(*command, words),
            Self::MoreWords(command, words) => command_line(*command, words),
        }
    }
}

impl Word<'_> {
    fn text(&self) -> String {
        match self {
            Self::Option(n) => OPTIONS[usize::from(*n) % OPTIONS.len()].to_owned(),
            Self::Zone(n) => (u64::from(*n % 7) * ZONE).to_string(),
            Self::Blocks(n) => (u64::from(*n % 33) * 512).to_string(),
            Self::Odd(n) => ODD[usize::from(*n) % ODD.len()].to_owned(),
            Self::Any(n) => n.to_string(),
            Self::Text(text) => text.replace('\n', " "),
        }
    }
}
