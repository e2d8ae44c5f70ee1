//! fio's verification of zoned devices.

use super::Cases;
use crate::door::Export;
use crate::shape::Shape;
use crate::tools;
use serde_json::Value;

pub fn run(cases: &mut Cases<'_>) {
    cases.case("sequential_writes_verified", |export, shape| {
        write(export, shape, &["--rw=write", "--bs=64k", "--ioengine=libaio", "--iodepth=1"]);
    });
    cases.case("deep_writes_verified", |export, shape| {
        write(export, shape, &["--rw=write", "--bs=16k", "--ioengine=libaio", "--iodepth=16"]);
    });
    cases.case("random_zones_and_sizes_verified", |export, shape| {
        write(
            export,
            shape,
            &["--rw=randwrite", "--bsrange=4k-128k", "--ioengine=psync", "--fsync=32"],
        );
    });
    cases.case("verified_again_after_a_restart", after_a_restart);
}

/// How many zones are written.
const ZONES: u64 = 4;

/// Runs one job; gives how many bytes it read and wrote.
fn fio(export: &Export, shape: &Shape, how: &[&str]) -> (u64, u64) {
    let mut args = Vec::new();
    let mut arg = |name: &str, value: String| args.push(format!("--{name}={value}"));
    arg("name", "lab".to_owned());
    arg("filename", export.device.to_str().unwrap().to_owned());
    arg("direct", "1".to_owned());
    arg("zonemode", "zbd".to_owned());
    arg("offset", shape.start(shape.sequential(4)).to_string());
    arg("size", (ZONES * shape.zone_size).to_string());
    // Every zone once: with less than that fio begins anew, and empties them for it.
    arg("io_size", (ZONES * shape.zone_capacity).to_string());
    arg("max_open_zones", "3".to_owned());
    arg("verify", "crc32c".to_owned());
    arg("verify_fatal", "1".to_owned());
    arg("verify_state_save", "0".to_owned());
    arg("output-format", "json".to_owned());
    args.extend(how.iter().map(|&word| word.to_owned()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said = tools::run("fio", &args);
    // A remark may stand before the report.
    let report = &said[said.find('{').unwrap_or_else(|| panic!("no report: {said}"))..];
    let report: Value = serde_json::from_str(report).unwrap();
    let job = &report["jobs"][0];
    assert_eq!(job["error"], 0, "{said}");
    let bytes = |way: &str| job[way]["io_bytes"].as_u64().unwrap();
    (bytes("read"), bytes("write"))
}

/// Everything that is written is read and verified.
fn write(export: &mut Export, shape: Shape, how: &[&str]) {
    let (read, written) = fio(export, &shape, how);
    assert_eq!(written, ZONES * shape.zone_capacity);
    assert_eq!(read, written, "verified and written");
}

fn after_a_restart(export: &mut Export, shape: Shape) {
    let how = ["--bs=32k", "--ioengine=psync"];
    let write = [&how[..], &["--rw=write", "--do_verify=0", "--end_fsync=1"]].concat();
    assert_eq!(fio(export, &shape, &write), (0, ZONES * shape.zone_capacity));
    export.restart();
    let read = [&how[..], &["--rw=read"]].concat();
    assert_eq!(fio(export, &shape, &read), (ZONES * shape.zone_capacity, 0));
}
