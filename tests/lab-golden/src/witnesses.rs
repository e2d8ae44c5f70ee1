//! Other programs witness what zblk writes and reports, and zblk what they do: dd for the data,
//! blkzone for the state of zones, fio for both.

use crate::device::Fresh;
use crate::script::Script;
use crate::{Counts, is_wanted};
use lab_suite::witness;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

/// The devices, as in the file of cases.
const DEVICES: &str = "\
device small null_blk size=24 zoned=1 zone_size=2 zone_capacity=1 zone_nr_conv=2 zone_max_open=4
device odd null_blk size=23 zoned=1 zone_size=2 zone_max_open=4
device scsi scsi_debug
device zns zns
";

type Test = fn(&Disk) -> Result<(), String>;

const TESTS: [(&str, Test); 6] = [
    ("dd reads what zblk wrote", dd_reads),
    ("zblk reads what dd wrote", dd_writes),
    ("blkzone sees what zblk did", blkzone_sees),
    ("zblk sees what blkzone did", blkzone_does),
    ("fio verifies what zblk wrote", fio_reads),
    ("fio writes and verifies in prepared zones", fio_writes),
];

/// Runs every test on every device; gives how many ran.
pub fn run(zblk: &Path, wanted: &[String], counts: &mut Counts) -> usize {
    let mut ran = 0;
    let devices = Script::parse(DEVICES).expect("it is ours");
    for spec in devices.devices() {
        for (name, test) in TESTS {
            let name = format!("{name}, {}", spec.name);
            if !is_wanted(wanted, &name) {
                continue;
            }
            let started = Instant::now();
            match Fresh::new(spec) {
                Ok(fresh) => {
                    let disk = Disk { zblk: zblk.to_owned(), fresh };
                    counts.note(&name, &test(&disk).err().into_iter().collect::<Vec<_>>());
                    eprintln!("{:>6.2?}  {name}", started.elapsed());
                    ran += 1;
                }
                Err(why) => counts.skip(&name, &why),
            }
        }
    }
    ran
}

/// A device and the program that is tested with it.
struct Disk {
    zblk: std::path::PathBuf,
    fresh: Fresh,
}

/// What both `zblk report` and `blkzone report` tell of a zone, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    start: u64,
    length: u64,
    capacity: u64,
    condition: u64,
    /// Where the condition gives it a meaning.
    pointer: Option<u64>,
}

impl Disk {
    fn path(&self) -> &str {
        &self.fresh.path
    }

    /// Runs `zblk COMMAND IMAGE ARGS…`; gives its standard output.
    fn zblk(&self, command: &str, args: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
        let mut program = Command::new(&self.zblk);
        program.args([command, "-t", "direct", self.path()]).args(args);
        finish(program, input).map(|output| output.stdout)
    }

    /// All zones, as `zblk report --json` tells them.
    fn ours(&self) -> Result<Vec<Seen>, String> {
        let text = self.zblk("report", &["--json"], &[])?;
        let value: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        let zones = value["zones"].as_array().ok_or("no list of zones")?;
        Ok(zones.iter().map(ours).collect())
    }

    /// All zones, as `blkzone report` tells them.
    fn theirs(&self) -> Vec<Seen> {
        witness::blkzone_report(self.path()).into_iter().map(theirs).collect()
    }

    /// Both reports, which must be the same; gives the zones.
    fn agreed(&self, when: &str) -> Result<Vec<Seen>, String> {
        let (ours, theirs) = (self.ours()?, self.theirs());
        if ours == theirs && !ours.is_empty() {
            return Ok(ours);
        }
        let pairs = ours.iter().zip(&theirs);
        let differing: Vec<_> = pairs.filter(|(a, b)| a != b).take(3).collect();
        let counts = (ours.len(), theirs.len());
        Err(format!("{when}: zblk and blkzone differ, {counts:?} zones: {differing:#?}"))
    }

    fn sequential(&self) -> Result<Vec<Seen>, String> {
        let mut zones = self.agreed("at the start")?;
        zones.retain(|zone| zone.condition != NOT_WP);
        Ok(zones)
    }

    fn blkzone(&self, operation: &str, first: &Seen, last: &Seen) -> Result<(), String> {
        let mut program = Command::new("blkzone");
        program.args([operation, "-o", &(first.start / 512).to_string()]);
        program.args(["-l", &((last.start + last.length - first.start) / 512).to_string()]);
        program.arg(self.path());
        finish(program, &[]).map(drop)
    }

    fn dd_holds(&self, offset: u64, expected: &[u8]) -> Result<(), String> {
        let found = witness::dd_read(self.path(), offset, expected.len() as u64);
        same(&format!("dd at {offset:#x}"), &found, expected)
    }

    fn zblk_holds(&self, offset: u64, expected: &[u8]) -> Result<(), String> {
        let found = self.zblk("read", &[&offset.to_string(), &expected.len().to_string()], &[])?;
        same(&format!("zblk read at {offset:#x}"), &found, expected)
    }

    fn fio(&self, args: &[&str]) -> Result<String, String> {
        let mut program = Command::new("fio");
        program.args([
            "--name=witness",
            "--zonemode=zbd",
            "--direct=1",
            "--ioengine=psync",
            "--thread",
        ]);
        program.args(["--group_reporting", "--output-format=json"]);
        program.arg(format!("--filename={}", self.path())).args(args);
        finish(program, &[]).map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
    }
}

const NOT_WP: u64 = 0;
/// The conditions in which a write pointer has a meaning: empty, open, closed.
const POINTING: std::ops::RangeInclusive<u64> = 1..=4;
const CONDITIONS: [(&str, u64); 8] = [
    ("not-write-pointer", NOT_WP),
    ("empty", 1),
    ("implicit-open", 2),
    ("explicit-open", 3),
    ("closed", 4),
    ("read-only", 13),
    ("full", 14),
    ("offline", 15),
];

fn ours(zone: &Value) -> Seen {
    let number = |key: &str| zone[key].as_u64().unwrap_or_else(|| panic!("{key} in {zone}"));
    let name = zone["condition"].as_str().unwrap_or_default();
    let known = CONDITIONS.iter().find(|(known, _)| *known == name);
    let condition = known.unwrap_or_else(|| panic!("condition '{name}'")).1;
    let is_conventional = zone["type"] == "conventional";
    assert_eq!(is_conventional, condition == NOT_WP, "{zone}");
    Seen {
        start: number("start"),
        length: number("length"),
        capacity: number("capacity"),
        condition,
        pointer: POINTING.contains(&condition).then(|| number("write_pointer")),
    }
}

fn theirs([start, length, capacity, pointer, condition]: [u64; 5]) -> Seen {
    Seen {
        start: start * 512,
        length: length * 512,
        capacity: capacity * 512,
        condition,
        pointer: POINTING.contains(&condition).then(|| (start + pointer) * 512),
    }
}

fn finish(mut program: Command, input: &[u8]) -> Result<Output, String> {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().map_err(|e| format!("cannot run {program:?}: {e}"))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    // A program that does not read all of it says why by its status.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    feeder.join().expect("it only writes");
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let more = String::from_utf8_lossy(&output.stdout).into_owned();
    Err(format!("{program:?}: {}\n{said}{more}", output.status))
}

fn same(what: &str, found: &[u8], expected: &[u8]) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).position(|(a, b)| a != b);
    Err(format!(
        "{what}: {} bytes, {} expected, first other byte {at:?}",
        found.len(),
        expected.len()
    ))
}

/// Bytes that differ from block to block.
fn pattern(seed: u64, len: u64) -> Vec<u8> {
    let byte = |i: u64| (i.wrapping_mul(31).wrapping_add(i >> 9).wrapping_add(seed * 97)) % 251;
    (0..len).map(|i| byte(i) as u8).collect()
}

fn dd_reads(disk: &Disk) -> Result<(), String> {
    let zones = disk.sequential()?;
    let (first, second) = (&zones[0], &zones[1]);
    let written = pattern(1, 192 << 10);
    disk.zblk("write", &[&first.start.to_string()], &written)?;
    let appended = pattern(2, 68 << 10);
    for piece in appended.chunks(20 << 10) {
        disk.zblk("append", &[&first.start.to_string()], piece)?;
    }
    // From one zone into the next.
    let long = pattern(3, second.capacity + (64 << 10));
    disk.zblk("append", &["--span", &second.start.to_string()], &long)?;
    let pieces = disk.agreed("after the writes")?;
    disk.dd_holds(first.start, &written)?;
    disk.dd_holds(first.start + (192 << 10), &appended)?;
    let (whole, rest) = long.split_at(second.capacity as usize);
    disk.dd_holds(second.start, whole)?;
    disk.dd_holds(zones[2].start, rest)?;
    if let Some(zone) = pieces.iter().find(|zone| zone.condition == NOT_WP) {
        let data = pattern(4, 12 << 10);
        disk.zblk("write", &[&(zone.start + 8192).to_string()], &data)?;
        disk.dd_holds(zone.start + 8192, &data)?;
    }
    Ok(())
}

fn dd_writes(disk: &Disk) -> Result<(), String> {
    let zones = disk.sequential()?;
    let (first, second) = (&zones[0], &zones[1]);
    let data = pattern(5, 80 << 10);
    for (piece, at) in data.chunks(16 << 10).zip((first.start..).step_by(16 << 10)) {
        if !witness::dd_write(disk.path(), at, piece) {
            return Err(format!("dd cannot write at {at:#x}"));
        }
    }
    disk.zblk_holds(first.start, &data)?;
    let after = disk.agreed("after dd")?;
    let found = after.iter().find(|zone| zone.start == first.start).expect("as before");
    if found.pointer != Some(first.start + (80 << 10)) {
        return Err(format!("the pointer after dd: {found:?}"));
    }
    // zblk goes on where dd ended, and dd where zblk did.
    let more = pattern(6, 8 << 10);
    disk.zblk("append", &[&first.start.to_string()], &more)?;
    let last = pattern(7, 4 << 10);
    if !witness::dd_write(disk.path(), first.start + (88 << 10), &last) {
        return Err("dd cannot go on behind zblk".to_owned());
    }
    disk.zblk_holds(first.start, &[data, more, last].concat())?;
    let full = pattern(8, second.capacity);
    if !witness::dd_write(disk.path(), second.start, &full) {
        return Err("dd cannot fill a zone".to_owned());
    }
    disk.zblk_holds(second.start, &full)?;
    disk.agreed("with a full zone").map(drop)
}

fn blkzone_sees(disk: &Disk) -> Result<(), String> {
    let zones = disk.sequential()?;
    let at = |i: usize| zones[i].start.to_string();
    disk.zblk("append", &[&at(0)], &pattern(1, 4 << 10))?;
    expect(&disk.agreed("after an append")?, &zones[0], 2)?;
    disk.zblk("open", &[&at(1)], &[])?;
    expect(&disk.agreed("after open")?, &zones[1], 3)?;
    disk.zblk("append", &[&at(1)], &pattern(2, 8 << 10))?;
    disk.zblk("close", &[&at(1)], &[])?;
    expect(&disk.agreed("after close")?, &zones[1], 4)?;
    disk.zblk("finish", &[&at(2)], &[])?;
    expect(&disk.agreed("after finish")?, &zones[2], 14)?;
    let last = zones.len() - 1;
    disk.zblk("append", &[&at(last)], &pattern(3, 4 << 10))?;
    expect(&disk.agreed("after an append to the last zone")?, &zones[last], 2)?;
    disk.zblk("finish", &[&at(last)], &[])?;
    expect(&disk.agreed("after finish of the last zone")?, &zones[last], 14)?;
    disk.zblk("reset", &[&at(1)], &[])?;
    expect(&disk.agreed("after reset")?, &zones[1], 1)?;
    disk.zblk("reset", &["--all"], &[])?;
    let all = disk.agreed("after reset of all")?;
    zones.iter().try_for_each(|zone| expect(&all, zone, 1))
}

fn blkzone_does(disk: &Disk) -> Result<(), String> {
    let zones = disk.sequential()?;
    let last = &zones[zones.len() - 1];
    disk.blkzone("open", &zones[0], &zones[1])?;
    let seen = disk.agreed("after open")?;
    expect(&seen, &zones[0], 3)?;
    expect(&seen, &zones[1], 3)?;
    disk.zblk("append", &[&zones[0].start.to_string()], &pattern(1, 4 << 10))?;
    disk.blkzone("close", &zones[0], &zones[0])?;
    expect(&disk.agreed("after close")?, &zones[0], 4)?;
    disk.blkzone("finish", &zones[2], &zones[2])?;
    expect(&disk.agreed("after finish")?, &zones[2], 14)?;
    let refused = disk.zblk("append", &[&zones[2].start.to_string()], &pattern(2, 4 << 10));
    match refused {
        Err(why) if why.contains("full") => {}
        other => return Err(format!("an append to a finished zone: {other:?}")),
    }
    disk.blkzone("finish", last, last)?;
    expect(&disk.agreed("after finish of the last zone")?, last, 14)?;
    disk.blkzone("reset", &zones[0], &zones[0])?;
    expect(&disk.agreed("after reset")?, &zones[0], 1)?;
    let position = disk.zblk("append", &[&zones[0].start.to_string()], &pattern(3, 4 << 10))?;
    if String::from_utf8_lossy(&position).trim() != zones[0].start.to_string() {
        return Err(format!("an append after reset went to {position:?}"));
    }
    witness::reset_all(disk.path());
    let all = disk.agreed("after reset of all")?;
    zones.iter().try_for_each(|zone| expect(&all, zone, 1))
}

fn fio_reads(disk: &Disk) -> Result<(), String> {
    const WRITTEN: u64 = 256 << 10;
    let zones = disk.sequential()?;
    for zone in &zones[..2] {
        disk.zblk("append", &[&zone.start.to_string()], &vec![0x5a; WRITTEN as usize])?;
    }
    let (offset, size) = (zones[0].start, zones[0].length * 2);
    let verify = |byte: &str| {
        disk.fio(&[
            "--rw=read",
            "--bs=16k",
            "--verify=pattern",
            "--verify_fatal=1",
            &format!("--verify_pattern={byte}"),
            &format!("--offset={offset}"),
            &format!("--size={size}"),
        ])
    };
    let report = verify("0x5a")?;
    let read = number(&report, &["jobs", "0", "read", "io_bytes"])?;
    if read != 2 * WRITTEN {
        return Err(format!("fio read {read} bytes of {}", 2 * WRITTEN));
    }
    // A witness that agrees with everything is none.
    match verify("0x5b") {
        Err(why) if why.contains("verify") => Ok(()),
        other => Err(format!("fio took the data for something else: {other:?}")),
    }
}

/// fio resets, fills and reads zones that zblk has left in every condition.
fn fio_writes(disk: &Disk) -> Result<(), String> {
    let zones = disk.sequential()?;
    let at = |i: usize| zones[i].start.to_string();
    disk.zblk("append", &[&at(0)], &pattern(1, 64 << 10))?;
    disk.zblk("finish", &[&at(1)], &[])?;
    disk.zblk("append", &[&at(2)], &pattern(2, 4 << 10))?;
    disk.zblk("close", &[&at(2)], &[])?;
    disk.zblk("append", &[&at(3)], &pattern(3, zones[3].capacity))?;
    // Not fio's: it must be as it was.
    let ours = pattern(4, 128 << 10);
    disk.zblk("append", &[&at(6)], &ours)?;
    disk.agreed("before fio")?;
    let size = zones[6].start - zones[0].start;
    for rw in ["write", "randwrite"] {
        let report = disk.fio(&[
            &format!("--rw={rw}"),
            "--bs=32k",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--max_open_zones=2",
            &format!("--offset={}", zones[0].start),
            &format!("--size={size}"),
            "--io_size=3m",
        ])?;
        let read = number(&report, &["jobs", "0", "read", "io_bytes"])?;
        let errors = number(&report, &["jobs", "0", "error"])?;
        if read == 0 || errors != 0 {
            return Err(format!("fio {rw}: {read} bytes verified, error {errors}"));
        }
        disk.agreed("after fio")?;
    }
    disk.zblk_holds(zones[6].start, &ours)?;
    // And zblk goes on behind fio.
    disk.zblk("reset", &[&at(0)], &[])?;
    disk.zblk("append", &[&at(0)], &pattern(5, 16 << 10))?;
    disk.dd_holds(zones[0].start, &pattern(5, 16 << 10))?;
    disk.agreed("at the end").map(drop)
}

fn expect(all: &[Seen], zone: &Seen, condition: u64) -> Result<(), String> {
    let found = all.iter().find(|found| found.start == zone.start).expect("zones do not move");
    match found.condition == condition {
        true => Ok(()),
        false => Err(format!("expected condition {condition} of {found:?}")),
    }
}

/// A number in fio's report, which may begin with notes.
fn number(report: &str, keys: &[&str]) -> Result<u64, String> {
    let json = report.find('{').map_or("", |at| &report[at..]);
    let value: Value = serde_json::from_str(json).map_err(|e| format!("{e}: {report}"))?;
    let found = keys.iter().fold(&value, |value, key| match key.parse::<usize>() {
        Ok(index) => &value[index],
        Err(_) => &value[*key],
    });
    found.as_u64().ok_or_else(|| format!("no {keys:?} in {report}"))
}
