//! The machine on which zblk runs: this one, or the one on which this guest does.
//!
//! What is wanted of it is said in a few words. A guest hands them to the machine outside in a folder
//! that both see: a file with the words, and one with the answer.

use crate::tools::{self, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the other machine may take for an answer.
const LONGEST: Duration = Duration::from_secs(200);

/// How often somebody looks for a file of the other machine.
const LOOK: Duration = Duration::from_millis(1);

/// Runs zblk; gives its output, or what it complained of.
pub fn try_zblk(args: &[&str]) -> Result<String, String> {
    ask(&[&["zblk"], args].concat())
}

/// Runs zblk, which must succeed; gives its output.
pub fn zblk(args: &[&str]) -> String {
    try_zblk(args).unwrap_or_else(|why| panic!("{why}\n{}", tools::kernel_says()))
}

/// A server that runs.
pub struct Server {
    number: String,
    /// Its first line, which says that it is ready.
    pub line: String,
}

impl Server {
    /// Starts zblk, and waits until it is ready.
    pub fn start(args: &[&str]) -> Self {
        let said = ask(&[&["start"], args].concat()).unwrap_or_else(|why| panic!("{why}"));
        let (number, line) = said.split_once(' ').expect("a number and a line");
        Self { number: number.to_owned(), line: line.to_owned() }
    }

    /// Sends it a signal (`HUP`) by which it does not end.
    pub fn signal(&self, signal: &str) {
        ask(&["signal", &self.number, signal]).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Sends it a signal (`TERM`, `KILL`), and waits for its end; says how it ended.
    pub fn end(mut self, signal: &str) -> Result<String, String> {
        ask(&["end", &std::mem::take(&mut self.number), signal])
    }
}

impl Drop for Server {
    /// A case that failed leaves none behind.
    fn drop(&mut self) {
        if !self.number.is_empty() {
            let _ = ask(&["end", &self.number, "KILL"]);
        }
    }
}

/// Makes a file of zeroes of this length.
pub fn make_file(path: &Path, len: u64) {
    ask(&["make", path.to_str().unwrap(), &len.to_string()]).unwrap_or_else(|why| panic!("{why}"));
}

/// Makes a file that is there so long, or so short.
pub fn set_length(path: &Path, len: u64) {
    ask(&["set", path.to_str().unwrap(), &len.to_string()]).unwrap_or_else(|why| panic!("{why}"));
}

/// Removes a file, if it is there.
pub fn remove_file(path: &Path) {
    // What cannot be removed is in a folder that will be.
    let _ = ask(&["remove", path.to_str().unwrap()]);
}

/// A folder of that machine for what is of no use later.
pub fn folder() -> String {
    std::env::var("LAB_FOLDER").unwrap_or_else(|_| "/tmp".to_owned())
}

/// A folder of that machine for what is best kept in memory; guests need not see it.
pub fn images() -> String {
    std::env::var("LAB_IMAGES").unwrap_or_else(|_| folder())
}

/// A new place for an image.
pub fn image_path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    PathBuf::from(format!("{}/image-{}", images(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// The program under test. In a guest it is kept in memory: it is started often, and large.
pub fn program() -> String {
    static COPY: OnceLock<String> = OnceLock::new();
    let copy = || {
        let original = std::env::var("LAB_ZBLK").expect("LAB_ZBLK names the program");
        if std::env::var_os("LAB_FOLDER").is_some() {
            return original;
        }
        let copy = "/tmp/zblk".to_owned();
        fs::copy(&original, &copy).unwrap_or_else(|e| panic!("{original}: {e}"));
        copy
    };
    COPY.get_or_init(copy).clone()
}

/// Does what the words say on the machine of zblk.
fn ask(words: &[&str]) -> Result<String, String> {
    match std::env::var("LAB_LETTERS") {
        Ok(letters) => write(Path::new(&letters), words),
        Err(_) => act(words),
    }
}

/// Does what the words say on this machine.
fn act(words: &[&str]) -> Result<String, String> {
    static SERVERS: Mutex<BTreeMap<String, Child>> = Mutex::new(BTreeMap::new());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    match words {
        ["zblk", args @ ..] => {
            // One that serves, and should not, must not stop everything.
            let program = program();
            let args = [&["60", program.as_str()][..], args].concat();
            tools::try_run("timeout", &args)
        }
        ["start", args @ ..] => {
            let mut server = Command::new(program())
                .args(args.iter())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|e| e.to_string())?;
            let line = first_line(&mut server)?;
            let number = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
            let said = format!("{number} {line}");
            SERVERS.lock().unwrap().insert(number, server);
            Ok(said)
        }
        ["signal", number, signal] => {
            let servers = SERVERS.lock().unwrap();
            send(servers.get(*number).ok_or("no such server")?, signal)?;
            Ok(String::new())
        }
        ["end", number, signal] => {
            let server = SERVERS.lock().unwrap().remove(*number);
            let mut server = server.ok_or("no such server")?;
            let signal = send(&server, signal)?;
            let ended = wait(&mut server)?;
            let well = ended.success() || signal == Signal::SIGKILL;
            if well { Ok(ended.to_string()) } else { Err(ended.to_string()) }
        }
        ["make", path, len] => {
            let len = len.parse().map_err(|e| format!("{e}"))?;
            File::create(path).and_then(|file| file.set_len(len)).map_err(|e| e.to_string())?;
            Ok(String::new())
        }
        ["set", path, len] => {
            let len = len.parse().map_err(|e| format!("{e}"))?;
            let file = File::options().write(true).open(path);
            file.and_then(|file| file.set_len(len)).map_err(|e| e.to_string())?;
            Ok(String::new())
        }
        ["remove", path] => {
            fs::remove_file(path).map(|()| String::new()).map_err(|e| e.to_string())
        }
        _ => Err(format!("nobody knows how to {words:?}")),
    }
}

fn send(server: &Child, signal: &str) -> Result<Signal, String> {
    let signal: Signal = format!("SIG{signal}").parse().map_err(|e| format!("{e}"))?;
    kill(Pid::from_raw(server.id().cast_signed()), signal).map_err(|e| e.to_string())?;
    Ok(signal)
}

/// What a server says when it is ready.
pub fn first_line(server: &mut Child) -> Result<String, String> {
    let mut line = String::new();
    let output = server.stdout.as_mut().expect("its output is ours");
    // At the end of the process at the latest there is an end of file.
    BufReader::new(output).read_line(&mut line).map_err(|e| e.to_string())?;
    if line.is_empty() {
        let ended = wait(server)?;
        return Err(format!("the server ended with {ended} and was never ready"));
    }
    Ok(line)
}

/// Waits for a server that was told to end.
pub fn wait(server: &mut Child) -> Result<ExitStatus, String> {
    let ended = wait_for(PATIENCE, Duration::from_millis(5), || server.try_wait().transpose());
    let Some(ended) = ended else {
        // Whoever waits longer sees no more.
        let _ = server.kill();
        let _ = server.wait();
        return Err(format!("the server did not end within {PATIENCE:?}"));
    };
    ended.map_err(|e| e.to_string())
}

/// Writes to the machine outside, and waits for its answer.
fn write(letters: &Path, words: &[&str]) -> Result<String, String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    put(&letters.join(format!("{number}.ask")), &serde_json::to_string(words).unwrap());
    let answer = letters.join(format!("{number}.answer"));
    wait_for(LONGEST, LOOK, || answer.exists().then_some(()))
        .ok_or_else(|| format!("no answer within {LONGEST:?} to {words:?}"))?;
    let text = fs::read_to_string(&answer).map_err(|e| e.to_string())?;
    let answer: Result<String, String> = match serde_json::from_str::<(bool, String)>(&text) {
        Ok((true, said)) => Ok(said),
        Ok((false, why)) => Err(why),
        Err(e) => Err(format!("the answer '{text}': {e}")),
    };
    answer
}

/// Answers a guest until `over`.
pub fn answer(letters: &Path, over: &AtomicBool) {
    let mut number = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let Ok(text) = fs::read_to_string(letters.join(format!("{number}.ask"))) else {
            std::thread::sleep(LOOK);
            continue;
        };
        let words: Vec<String> = serde_json::from_str(&text).expect("a letter's words");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = match act(&words) {
            Ok(said) => (true, said),
            Err(why) => (false, why),
        };
        put(&letters.join(format!("{number}.answer")), &serde_json::to_string(&answer).unwrap());
        number += 1;
    }
}

/// Makes a file that is whole as soon as it can be seen.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    let mut file = File::create(&new).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    drop(file);
    fs::rename(&new, path).unwrap();
}
