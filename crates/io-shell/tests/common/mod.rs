//! A shell whose output is text, with times and rates made equal.

#![allow(dead_code, clippy::unwrap_used)]

use block_backend::BlockBackend;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use io_shell::{Flow, Shell, ShellOptions};

pub const M: u64 = 1 << 20;

pub struct Session {
    pub shell: Shell,
    _dir: Option<tempfile::TempDir>,
}

pub async fn open(image: &str) -> Session {
    let disk = BlockBackend::open(image).await.unwrap();
    Session { shell: Shell::new(disk, ShellOptions::default()), _dir: None }
}

/// A file of 16 MiB, below raw.
pub async fn file() -> Session {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.raw");
    std::fs::File::create(&path).unwrap().set_len(16 * M).unwrap();
    let disk = BlockBackend::open(path.to_str().unwrap()).await.unwrap();
    Session { shell: Shell::new(disk, ShellOptions::default()), _dir: Some(dir) }
}

pub fn geometry(size: u64, zone_size: u64) -> GeometryConfig {
    GeometryConfig { size, zone_size, block_size: 512, ..GeometryConfig::default() }
}

pub async fn zoned(options: CreateOptions) -> Session {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.zbd");
    create_zoned(&path, &options, false).await.unwrap();
    let disk = BlockBackend::open(path.to_str().unwrap()).await.unwrap();
    Session { shell: Shell::new(disk, ShellOptions::default()), _dir: Some(dir) }
}

impl Session {
    /// What the line prints, and whether it failed.
    pub async fn run(&mut self, line: &str) -> (String, bool) {
        let mut out = Vec::new();
        let flow = self.shell.run_line(line, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text}");
        let lines: Vec<String> = text.lines().map(without_times).collect();
        (lines.join("\n"), flow == Flow::Continue { failed: true })
    }

    /// What a line that works prints.
    pub async fn ok(&mut self, line: &str) -> String {
        let (text, failed) = self.run(line).await;
        assert!(!failed, "{line}: {text}");
        text
    }

    /// What a line that fails prints.
    pub async fn fails(&mut self, line: &str) -> String {
        let (text, failed) = self.run(line).await;
        assert!(failed, "{line}: {text}");
        text
    }

    /// Runs lines and compares all that they print, failures included.
    pub async fn expect(&mut self, lines: &[&str], expected: &[&str]) {
        let mut got = Vec::new();
        for line in lines {
            let (text, _) = self.run(line).await;
            got.extend(text.lines().map(str::to_owned));
        }
        assert_eq!(got, expected);
    }
}

/// `4 KiB, 1 ops; 00.00 sec (…)` without what varies.
fn without_times(line: &str) -> String {
    match line.split_once(" ops; ") {
        Some((left, right)) => {
            assert!(right.ends_with(" ops/sec)") && right.contains("/sec and "), "{line}");
            format!("{left} ops; X")
        }
        None => line.to_owned(),
    }
}
