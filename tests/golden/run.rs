//! Runs a script in a directory of its own.

use crate::script::{Part, Script, Step};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// No command of a golden script takes so long, not on a busy machine either.
const TOO_LONG: Duration = Duration::from_secs(900);

/// Runs every command, and gives the script with what was seen in place of what was expected.
pub fn run(script: &Script) -> io::Result<Script> {
    let place = Place::new()?;
    let mut seen = script.clone();
    for part in &mut seen.parts {
        if let Part::Step(step) = part {
            place.run(step)?;
        }
    }
    Ok(seen)
}

/// What is missing on this machine, if anything that the script needs is.
pub fn reason_to_leave_out(script: &Script) -> Option<String> {
    script.parts.iter().find_map(|part| match part {
        Part::Condition { command, reason } => {
            let place = Place::new().ok()?;
            let mut step = Step { command: command.clone(), ..Step::default() };
            place.run(&mut step).ok()?;
            (step.code != 0).then(|| reason.clone())
        }
        _ => None,
    })
}

/// A directory to work in, a `PATH` with `zblk`, and files that take what is printed.
pub struct Place {
    directory: tempfile::TempDir,
    path: OsString,
}

impl Place {
    /// A new one, with an empty directory.
    pub fn new() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("zblk-golden").tempdir()?;
        for name in ["bin", "work", "home"] {
            fs::create_dir(directory.path().join(name))?;
        }
        let bin = directory.path().join("bin");
        std::os::unix::fs::symlink(std::env::current_exe()?, bin.join("zblk"))?;
        let mut path = bin.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        Ok(Self { directory, path })
    }

    /// A command for the shell, in the directory to work in.
    pub fn shell(&self, command: &str) -> Command {
        let root = self.directory.path();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir(root.join("work"))
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", root.join("home"))
            .env("LC_ALL", "C");
        shell
    }

    /// Runs the command of a step, and notes what came of it.
    fn run(&self, step: &mut Step) -> io::Result<()> {
        let root = self.directory.path();
        let (out, err) = (root.join("stdout"), root.join("stderr"));
        let mut child = self
            .shell(&step.command)
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .process_group(0)
            .spawn()?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if started.elapsed() > TOO_LONG {
                let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
                killpg(group, Signal::SIGKILL)?;
                break child.wait()?;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        step.stdout = self.read(&out)?;
        step.stderr = self.read(&err)?;
        // As a shell gives it: 128 and the signal's number.
        step.code = status.code().or_else(|| status.signal().map(|s| s + 128)).unwrap_or(-1);
        Ok(())
    }

    /// What was printed, without what differs from run to run.
    fn read(&self, path: &Path) -> io::Result<String> {
        let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        let root = self.directory.path().display().to_string();
        Ok(text.replace(&root, "TMP"))
    }
}
