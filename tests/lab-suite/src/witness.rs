//! Other programs that look at the devices, and change them behind our back.

use block_core::{Zone, ZoneCondition};
use std::process::Command;

/// Runs a program; gives its output.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|e| panic!("cannot run {program}: {e}"));
    assert!(
        output.status.success(),
        "{program} {args:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Writes `bytes` at `offset` with dd, past the page cache.
pub fn dd_write(device: &str, offset: u64, bytes: &[u8]) -> bool {
    let source = format!("/tmp/dd-source-{}", offset);
    std::fs::write(&source, bytes).unwrap();
    let block = bytes.len();
    let status = Command::new("dd")
        .args([&format!("if={source}"), &format!("of={device}"), &format!("bs={block}")])
        .args(["count=1", "oflag=direct,seek_bytes", "conv=notrunc", "status=none"])
        .arg(format!("seek={offset}"))
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    std::fs::remove_file(&source).unwrap();
    status.success()
}

/// Reads `len` bytes at `offset` with dd, past the page cache.
pub fn dd_read(device: &str, offset: u64, len: u64) -> Vec<u8> {
    let output = Command::new("dd")
        .args([&format!("if={device}"), &format!("bs={len}"), &format!("skip={offset}")])
        .args(["count=1", "iflag=direct,skip_bytes", "status=none"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Empties all zones, once nobody uses the device any more.
pub fn reset_all(device: &str) {
    for _ in 0..3000 {
        let done = Command::new("blkzone").args(["reset", device]).output().unwrap();
        if !String::from_utf8_lossy(&done.stderr).contains("busy") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    run("blkzone", &["reset", device]);
}

/// `blkzone OPERATION` on one zone.
pub fn blkzone(operation: &str, device: &str, zone: &Zone) {
    let offset = (zone.start / 512).to_string();
    let length = (zone.length / 512).to_string();
    run("blkzone", &[operation, "-o", &offset, "-l", &length, device]);
}

/// What `blkzone report` says of all zones: start, length, capacity, write pointer and condition.
pub fn blkzone_report(device: &str) -> Vec<[u64; 5]> {
    run("blkzone", &["report", device]).lines().map(parse).collect()
}

/// `start: 0x000008000, len 0x008000, cap 0x008000, wptr 0x000000 reset:0 non-seq:0, zcond: 1(em)
/// [type: 2(SEQ_WRITE_REQUIRED)]`, in sectors; the pointer relative to the start.
fn parse(line: &str) -> [u64; 5] {
    let number = |key: &str| {
        let (_, rest) = line.split_once(key).unwrap_or_else(|| panic!("no '{key}' in {line}"));
        let rest = rest.trim_start();
        let digits = rest.strip_prefix("0x").unwrap_or(rest);
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        let radix = if rest.starts_with("0x") { 16 } else { 10 };
        u64::from_str_radix(&digits[..end], radix).unwrap_or_else(|e| panic!("{line}: {key}: {e}"))
    };
    let condition = number("zcond:");
    [number("start:"), number("len "), number("cap "), number("wptr "), condition]
}

/// A zone of ours in the same form; a pointer that has no meaning is taken over from `theirs`.
pub fn as_reported(zone: &Zone, theirs: &[u64; 5]) -> [u64; 5] {
    let pointer = match (zone.condition, zone.write_pointer) {
        (ZoneCondition::Full, _) | (_, None) => theirs[3],
        (_, Some(pointer)) => (pointer - zone.start) / 512,
    };
    let condition = u64::from(zone.condition.code());
    [zone.start / 512, zone.length / 512, zone.capacity / 512, pointer, condition]
}
