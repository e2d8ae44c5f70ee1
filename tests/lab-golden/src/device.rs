//! Fresh devices: each program meets the same one.

use crate::script::DeviceSpec;
use lab_suite::nullb::NullBlk;
use lab_suite::witness;
use std::path::PathBuf;
use std::process::Command;

/// A device as a case asks for it, all zones empty and nothing written.
pub struct Fresh {
    pub path: String,
    pub zoned: bool,
    /// The device, if it was made for this use; it goes away with this.
    _made: Option<NullBlk>,
}

impl Fresh {
    /// Makes or empties a device. An error tells why this kernel has none.
    pub fn new(spec: &DeviceSpec) -> Result<Self, String> {
        match spec.kind.as_str() {
            "null_blk" => Self::null_blk(spec),
            "scsi_debug" => Self::given("LAB_SCSI_DEBUG"),
            "zns" => Self::given("LAB_ZNS"),
            kind => panic!("there is no device of the kind {kind}"),
        }
    }

    fn null_blk(spec: &DeviceSpec) -> Result<Self, String> {
        let common = [("memory_backed", "1"), ("discard", "0")];
        let settings = spec.settings.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let made = NullBlk::with_settings(common.into_iter().chain(settings))?;
        let path = made.path().to_str().unwrap().to_owned();
        let zoned = spec.settings.iter().any(|(key, value)| key == "zoned" && value == "1");
        Ok(Self { path, zoned, _made: Some(made) })
    }

    fn given(variable: &str) -> Result<Self, String> {
        let path = std::env::var(variable).map_err(|_| format!("{variable} names no device"))?;
        witness::reset_all(&path);
        for [start, len, _, _, condition] in witness::blkzone_report(&path) {
            if condition == 0 {
                wipe(&path, start * 512, len * 512);
            }
        }
        Ok(Self { path, zoned: true, _made: None })
    }

    /// The zones as the kernel reports them; nothing for a device without.
    pub fn zones(&self) -> Vec<String> {
        if !self.zoned {
            return Vec::new();
        }
        let report = witness::run("blkzone", &["report", &self.path]);
        report.lines().map(|line| line.trim().to_owned()).collect()
    }
}

/// Conventional zones keep their data when all zones are reset.
fn wipe(path: &str, offset: u64, len: u64) {
    let status = Command::new("dd")
        .args(["if=/dev/zero", &format!("of={path}"), &format!("bs={len}"), "count=1"])
        .args([&format!("seek={offset}"), "oflag=direct,seek_bytes", "status=none"])
        .args(["iflag=fullblock", "conv=notrunc"])
        .status();
    assert!(status.is_ok_and(|s| s.success()), "dd cannot wipe {path} at {offset}");
}

/// The programs to run.
pub struct Programs {
    pub zblk: PathBuf,
}

impl Programs {
    pub fn qemu_io(&self) -> Command {
        patient(&["stdbuf", "-oL", "qemu-io"])
    }

    pub fn zblk_io(&self) -> Command {
        patient(&[self.zblk.to_str().unwrap(), "io", "--terse"])
    }
}

/// A program that is ended if it hangs.
fn patient(words: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "300"]).args(words);
    command
}
