//! What the user reads when a device cannot be opened: each message names the device, the reason and
//! what to do.

use crate::Counts;
use crate::device::Fresh;
use crate::script::{DeviceSpec, Script};
use lab_suite::witness;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const DEVICES: &str = "\
device zoned null_blk size=24 zoned=1 zone_size=2
device regular null_blk size=16
";

/// Nobody, in no group but the given one.
fn as_nobody(group: &str) -> Vec<String> {
    let words = ["setpriv", "--reuid=65534", "--clear-groups"];
    let group = format!("--regid={group}");
    words.iter().map(|word| (*word).to_owned()).chain([group]).collect()
}

/// Runs every test; gives how many ran.
pub fn run(zblk: &Path, counts: &mut Counts) -> usize {
    // The program is for others, too.
    std::fs::set_permissions(zblk, PermissionsExt::from_mode(0o755)).unwrap();
    let script = Script::parse(DEVICES).expect("it is ours");
    let fresh =
        |name| Fresh::new(script.device(name).expect("it is there") as &DeviceSpec).unwrap();
    let (zoned, regular) = (fresh("zoned"), fresh("regular"));
    let (zoned, regular) = (zoned.path.as_str(), regular.path.as_str());
    let mode = |bits| std::fs::set_permissions(zoned, PermissionsExt::from_mode(bits)).unwrap();
    let mut test = Refusals { zblk, counts, ran: 0 };

    let image = ["info", "-t", "direct", "/dev/missing"];
    test.refused("a device that is missing", &[], &image, &["'/dev/missing'", "No such file"]);

    let image = format!("driver=zoned_host_device,filename={regular},cache.direct=on");
    let told = [regular, "without zones", "driver=host_device"];
    test.refused("a device without zones", &[], &["info", &image], &told);

    let told = [zoned, "page cache", "cache.direct=on"];
    test.refused("a zoned device through the page cache", &[], &["info", zoned], &told);

    mode(0o600);
    let told = [zoned, "Permission denied", "`ls -l`"];
    let info = ["info", "-t", "direct", zoned];
    let reset = ["reset", "-t", "direct", zoned, "0"];
    test.refused("no permission to read", &as_nobody("65534"), &info, &told);
    test.refused("no permission at all", &as_nobody("65534"), &reset, &told);
    mode(0o444);
    let told = [zoned, "Permission denied", "for writing", "read-only=on"];
    test.refused("no permission to write", &as_nobody("65534"), &reset, &told);
    test.allowed("permission to read", &as_nobody("65534"), &info);
    mode(0o060);
    test.allowed("permission by group", &as_nobody("0"), &reset);
    mode(0o600);

    witness::run("blockdev", &["--setro", zoned]);
    test.refused(
        "a write-protected device",
        &[],
        &reset,
        &[zoned, "takes no writes", "read-only=on"],
    );
    test.allowed("a write-protected device, to read", &[], &info);
    witness::run("blockdev", &["--setrw", zoned]);

    let writer = held(zblk, &["io", "-t", "direct", zoned]);
    let told = [zoned, "in use", "another process", "close the other user"];
    test.refused("a device that is written to", &[], &info, &told);
    drop(writer);
    test.allowed("a device that was written to", &[], &info);
    let reader = held(zblk, &["io", "-r", "-t", "direct", zoned]);
    test.refused("a device that is read", &[], &reset, &[zoned, "in use", "reads it"]);
    test.allowed("a device that is read, to read", &[], &info);
    drop(reader);
    if let Ok(zns) = std::env::var("LAB_ZNS") {
        native_append(&mut test, &zns);
    }
    test.ran
}

/// Some kernels let only root send commands to a device. `auto` does without, and `native` says so.
fn native_append(test: &mut Refusals<'_>, zns: &str) {
    witness::reset_all(zns);
    std::fs::set_permissions(zns, PermissionsExt::from_mode(0o060)).unwrap();
    let image = |append| format!("driver=host_device,filename={zns},cache.direct=on,{append}");
    let append = ["-c", "zap -p 0 4k"];
    let (auto, native) = (image("append=auto,locking=off"), image("append=native"));
    let group = as_nobody("0");
    test.allowed("appends of whoever may write", &group, &["io", &auto, append[0], append[1]]);
    let args = ["io", &native, append[0], append[1]];
    let (success, said) = test.run(&group, &args);
    let told = ["append=emulated", "Permission denied"];
    let wrong = (!success && !told.iter().all(|words| said.contains(words))).then_some(said);
    test.note("native appends of whoever may write", wrong.as_slice());
    std::fs::set_permissions(zns, PermissionsExt::from_mode(0o600)).unwrap();
}

struct Refusals<'a> {
    zblk: &'a Path,
    counts: &'a mut Counts,
    ran: usize,
}

impl Refusals<'_> {
    fn run(&self, user: &[String], args: &[&str]) -> (bool, String) {
        let mut words = user.iter().map(String::as_str).chain(self.zblk.to_str());
        let mut command = Command::new(words.next().expect("the program at least"));
        let output = command.args(words).args(args).stdin(Stdio::null()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn refused(&mut self, name: &str, user: &[String], args: &[&str], told: &[&str]) {
        let (success, said) = self.run(user, args);
        let mut wrong = Vec::new();
        if success {
            wrong.push(format!("{args:?} works"));
        }
        let missing = told.iter().filter(|words| !said.contains(**words));
        wrong.extend(missing.map(|words| format!("'{words}' is not in: {said}")));
        self.note(name, &wrong);
    }

    fn allowed(&mut self, name: &str, user: &[String], args: &[&str]) {
        let (success, said) = self.run(user, args);
        let wrong = if success { Vec::new() } else { vec![said] };
        self.note(name, &wrong);
    }

    fn note(&mut self, name: &str, wrong: &[String]) {
        self.ran += 1;
        self.counts.note(name, wrong);
    }
}

/// A program that has a device open until this is dropped.
struct Held(Child);

fn held(zblk: &Path, args: &[&str]) -> Held {
    let mut command = Command::new(zblk);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Its first answer says that the device is open.
    child.stdin.as_mut().expect("it is piped").write_all(b"length\n").unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("it is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    assert_eq!(line, "24 MiB\n");
    Held(child)
}

impl Drop for Held {
    fn drop(&mut self) {
        // The end of its input is the end of it.
        drop(self.0.stdin.take());
        for _ in 0..1000 {
            if self.0.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
    }
}
