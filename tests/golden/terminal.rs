//! What zblk does on a terminal: history, completion and colour, and no binary data.

use crate::run::Place;
use libtest_mimic::{Failed, Trial};
use nix::pty::openpty;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const TOO_LONG: Duration = Duration::from_secs(300);
const MAKE: &str = "zblk create d.zbd --size 64M --zone-size 16M";

/// The tests.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("terminal-io", io_has_completion_and_history),
        Trial::test("terminal-color", tables_are_coloured),
        Trial::test("terminal-data", binary_data_stays_away),
    ]
}

fn io_has_completion_and_history() -> Result<(), Failed> {
    let place = Place::new()?;
    run(&place, MAKE)?;
    let mut session = Session::start(&place, "zblk io d.zbd")?;
    session.wait_for("zblk> ", 1)?;
    // A prefix and the tabulator.
    session.type_keys("leng\t\r")?;
    session.wait_for("64 MiB", 1)?;
    session.wait_for_prompt_after("64 MiB")?;
    // Ctrl-C gives up a line, not the session.
    session.type_keys("zap -p 0 4k\x03")?;
    session.wait_for("zap -p 0 4k", 1)?;
    session.wait_for_prompt_after("zap -p 0 4k")?;
    // The last command, by the upward arrow.
    session.type_keys("\x1b[A\r")?;
    session.wait_for("64 MiB", 2)?;
    session.wait_for_prompt_after("64 MiB")?;
    session.type_keys("zrp 0 1\r")?;
    session.wait_for("zcond:1", 1)?;
    session.wait_for_prompt_after("zcond:1")?;
    session.type_keys("\x04")?;
    session.ends_well()?;
    // The history is there the next time.
    let mut session = Session::start(&place, "zblk io d.zbd")?;
    session.wait_for("zblk> ", 1)?;
    session.type_keys("\x1b[A\r")?;
    session.wait_for("zcond:1", 1)?;
    session.type_keys("quit\r")?;
    session.ends_well()
}

fn tables_are_coloured() -> Result<(), Failed> {
    let place = Place::new()?;
    run(&place, MAKE)?;
    let bold = "\x1b[1mZONE\x1b[0m";
    let mut session = Session::start(&place, "zblk report d.zbd")?;
    session.wait_for(bold, 1)?;
    session.ends_well()?;
    for plain in ["NO_COLOR=1 zblk report d.zbd", "zblk report d.zbd --color never"] {
        let mut session = Session::start(&place, plain)?;
        session.wait_for("ZONE", 1)?;
        session.ends_well()?;
        if session.screen().contains('\x1b') {
            return Err(format!("{plain} is coloured").into());
        }
    }
    Ok(())
}

fn binary_data_stays_away() -> Result<(), Failed> {
    let place = Place::new()?;
    run(&place, MAKE)?;
    for command in ["zblk read d.zbd 0 4k", "zblk append d.zbd 0", "zblk write d.zbd 0"] {
        let mut session = Session::start(&place, command)?;
        session.wait_for("terminal", 1)?;
        let status = session.end()?;
        if status.code() != Some(2) {
            return Err(format!("{command} ended with {status}").into());
        }
    }
    Ok(())
}

fn run(place: &Place, command: &str) -> Result<(), Failed> {
    match place.shell(command).output()?.status.success() {
        true => Ok(()),
        false => Err(format!("{command} failed").into()),
    }
}

/// A command on a terminal of its own.
struct Session {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Session {
    fn start(place: &Place, command: &str) -> io::Result<Self> {
        let terminal = openpty(None, None)?;
        let slave = || terminal.slave.try_clone();
        let child = place
            .shell(&format!("exec env {command}"))
            .env("TERM", "xterm")
            .stdin(slave()?)
            .stdout(slave()?)
            .stderr(slave()?)
            .spawn()?;
        let screen = Arc::default();
        watch(terminal.master.try_clone()?, Arc::clone(&screen));
        Ok(Self { child, keyboard: File::from(terminal.master), screen })
    }

    fn type_keys(&mut self, keys: &str) -> io::Result<()> {
        self.keyboard.write_all(keys.as_bytes())
    }

    /// All that was ever on the screen.
    fn screen(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&screen).into_owned()
    }

    /// Waits until a text has appeared so many times.
    fn wait_for(&self, text: &str, times: usize) -> Result<(), Failed> {
        let started = Instant::now();
        while self.screen().matches(text).count() < times {
            if started.elapsed() > TOO_LONG {
                return Err(format!("no {times} {text:?} in {:?}", self.screen()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until the program asks for input behind the last place of a text. What is typed before
    /// that is for the terminal, which takes Ctrl-C for itself.
    fn wait_for_prompt_after(&self, text: &str) -> Result<(), Failed> {
        let started = Instant::now();
        let is_asked = |screen: &str| {
            screen
                .rfind(text)
                .is_some_and(|at| screen.get(at..).is_some_and(|s| s.contains("zblk> ")))
        };
        while !is_asked(&self.screen()) {
            if started.elapsed() > TOO_LONG {
                return Err(format!("no prompt after {text:?} in {:?}", self.screen()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn ends_well(&mut self) -> Result<(), Failed> {
        match self.end()? {
            status if status.success() => Ok(()),
            status => Err(format!("it ended with {status}: {:?}", self.screen()).into()),
        }
    }

    fn end(&mut self) -> Result<ExitStatus, Failed> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > TOO_LONG {
                return Err(format!("it does not end: {:?}", self.screen()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Does nothing to one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Notes what appears, until the terminal is closed.
fn watch(master: OwnedFd, screen: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut master = File::from(master);
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = master.read(&mut bytes) {
            let seen = bytes.get(..n).unwrap_or_default();
            screen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(seen);
        }
    });
}
