//! Processes that are killed, and a place for them.

use power_cut::Rng;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// No step of these tests takes so long, not on a busy machine either.
const TOO_LONG: Duration = Duration::from_secs(300);

/// A folder with the programs, and room for images.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("zblk-kills").tempdir().unwrap();
        let this = std::env::current_exe().unwrap();
        for name in ["zblk", "record-store"] {
            std::os::unix::fs::symlink(&this, folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.path(program));
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Runs `zblk` to its end. Gives its object, or that of its error.
    pub fn zblk(&self, args: &[&str]) -> Result<Value, Value> {
        let output = self.command("zblk").args(args).arg("--json").output().unwrap();
        let object = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
        match output.status.code() {
            Some(0) => Ok(object(&output.stdout)),
            Some(1) if output.stdout.is_empty() => Err(object(&output.stderr)),
            Some(1) => Err(object(&output.stdout)),
            _ => panic!("zblk {args:?}: {output:?}"),
        }
    }

    /// An image that was used must be sound, whatever happened to its user.
    pub fn must_be_sound(&self, image: &str) {
        let report = self.zblk(&["check", image]).unwrap_or_else(|e| panic!("check: {e}"));
        assert_eq!(report["sound"], true, "{report}");
        assert_eq!(report["findings"].as_array().map(Vec::len), Some(0), "{report}");
    }
}

/// A process with pipes that will be killed.
pub struct Victim {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    started: Instant,
    /// Whole lines that it printed.
    pub said: Vec<String>,
}

impl Victim {
    pub fn start(mut command: Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Less than a pipe holds, so that this never waits. The pipe stays open.
        assert!(input.len() < 60_000);
        child.stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, started: Instant::now(), said: Vec::new() }
    }

    /// Takes one more line; false at the end.
    pub fn listen(&mut self) -> bool {
        assert!(self.started.elapsed() < TOO_LONG, "it says too little: {:?}", self.said);
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        // Half a line is no answer.
        let Some(whole) = line.strip_suffix('\n') else { return false };
        self.said.push(whole.to_owned());
        true
    }

    /// Kills it, and hears what it had said before. Whether it was alive.
    pub fn kill(mut self) -> (bool, Vec<String>) {
        // The standard library sends SIGKILL.
        self.child.kill().unwrap();
        while self.listen() {}
        let killed = self.child.wait().unwrap().signal() == Some(9);
        (killed, self.said)
    }
}

/// Starts a command and kills it after some part of the time that it needs. Whether it was alive.
pub fn kill_within(mut command: Command, needs: Duration, rng: &mut Rng) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(needs.mul_f64(rng.below(1100) as f64 / 1000.0));
    child.kill().unwrap();
    child.wait().unwrap().signal() == Some(9)
}

/// By what to multiply the time that a command is thought to need, after one was hit or not: the
/// first run, with nothing in any cache, may have taken much longer than all later ones.
pub fn next_guess(hit: bool) -> f64 {
    if hit { 1.05 } else { 0.8 }
}

/// Waits a short time, often none.
pub fn a_moment(rng: &mut Rng) {
    let most = [0, 300, 3000][rng.below(3) as usize];
    std::thread::sleep(Duration::from_micros(rng.below(most + 1)));
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
