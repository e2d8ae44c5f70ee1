//! Guests that are processes of this machine: Linux as a user-mode program.

use crate::host::{folder, images};
use crate::tools::wait_for;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A guest that runs. Its first process is this program, in `inside`.
pub struct Guest {
    number: u32,
    child: Child,
    output: Option<JoinHandle<()>>,
}

/// The file in which a guest says how its work ended.
pub fn status(number: u32) -> String {
    format!("status-{number}")
}

impl Guest {
    /// Boots one for this work, with these sockets of block devices.
    pub fn boot(sockets: &[String], work: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let kernel = std::env::var("LAB_UML").expect("LAB_UML names a kernel that is a program");
        let folder = folder();
        let mut line: Vec<String> = [
            // This machine's files, which it only reads.
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "mem=1G",
            "con=null",
            "con0=null,fd:1",
            // What is worse than an error; a kernel that has gone wrong must not pass a test.
            "quiet",
            "loglevel=3",
            "oops=panic",
            "panic=-1",
        ]
        .map(str::to_owned)
        .to_vec();
        line.push(format!("uml_dir={folder}/"));
        line.push(format!("umid=guest-{number}"));
        line.push(format!("init={folder}/lab-export"));
        line.extend(sockets.iter().map(|socket| format!("virtio_uml.device={socket}:2")));
        line.push(format!("LAB_FOLDER={folder}"));
        for name in ["LAB_SEED", "LAB_ROUNDS", "LAB_IMAGES"] {
            line.extend(std::env::var(name).map(|value| format!("{name}={value}")));
        }
        line.push("--".to_owned());
        line.push(number.to_string());
        line.extend(work.iter().map(|&word| word.to_owned()));
        // It adds settings of its own at the end, which are not for the first process.
        line.push("--".to_owned());
        let mut child = Command::new(kernel)
            .args(line)
            // Its memory is a file there.
            .env("TMPDIR", images())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log(number)).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        fs::write(group(number), child.id().to_string()).unwrap();
        let said = child.stdout.take().expect("its output is ours");
        let output = std::thread::spawn(move || {
            // A terminal's lines end with a carriage return.
            let lines = BufReader::new(said).split(b'\n').map_while(Result::ok);
            for line in lines {
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches('\r');
                if !line.ends_with("reboot: Power down") {
                    println!("{line}");
                }
            }
        });
        Self { number, child, output: Some(output) }
    }

    /// Waits for the end of its work; gives the status, or says why there is none.
    pub fn wait(mut self, patience: Duration) -> Result<i32, String> {
        let path = PathBuf::from(folder()).join(status(self.number));
        let ended = wait_for(patience, Duration::from_millis(10), || {
            let ended = match self.child.try_wait() {
                Ok(ended) => ended,
                Err(e) => return Some(Err(e.to_string())),
            };
            let status = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            match (status, ended) {
                (Some(status), _) => Some(Ok(status)),
                (None, Some(how)) => Some(Err(format!("the guest ended with {how} and no result"))),
                (None, None) => None,
            }
        });
        // It may hang on its way out, with a device whose server is gone.
        self.end();
        let said = || fs::read_to_string(log(self.number)).unwrap_or_default();
        ended
            .unwrap_or_else(|| Err(format!("the guest's work did not end within {patience:?}")))
            .map_err(|why| format!("{why}\n{}", said()))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Takes it away without a word.
    pub fn kill(mut self) {
        assert!(self.runs(), "the guest ended by itself");
        self.end();
    }

    fn end(&mut self) {
        // Its own processes are of the same group; one that has ended is of none.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
        let _ = fs::remove_file(group(self.number));
        if let Some(output) = self.output.take() {
            output.join().unwrap();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.end();
    }
}

/// Names the group of processes that a guest is, for as long as it runs: it outlives this program if
/// that is killed.
fn group(number: u32) -> String {
    format!("{}/guest-{number}.group", folder())
}

/// What the program that is the kernel complained of.
fn log(number: u32) -> String {
    format!("{}/guest-{number}.log", folder())
}
