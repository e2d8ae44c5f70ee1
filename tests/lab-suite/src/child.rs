//! The program as another process: another appender, or another user.

use crate::subject::{DIRECT, NO_FLAGS, READ_ONLY, data, open, options, unit};
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The first argument of a child.
pub const WORD: &str = "as-child";

/// Where each record landed that this child wrote, and the errors that it met on the way.
#[derive(Debug, Default)]
pub struct Appended {
    pub landed: Vec<(u64, u64)>,
    pub errors: Vec<String>,
}

/// Starts a process that opens the device and waits, and appends `count` records to a zone when it
/// is told to; `seed` is the first one's.
pub fn start_appender(
    path: &Path,
    how: &str,
    zone: u64,
    seed: u64,
    count: u64,
) -> std::process::Child {
    let [zone, seed, count] = [zone, seed, count].map(|n| n.to_string());
    Command::new(std::env::current_exe().unwrap())
        .args([WORD, "append", path.to_str().unwrap(), how, &zone, &seed, &count])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until an appender is ready.
pub fn ready(child: &mut std::process::Child) {
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
}

/// Lets an appender begin.
pub fn go(child: &mut std::process::Child) {
    drop(child.stdin.take());
}

/// Waits for an appender to end.
pub fn appended(child: std::process::Child) -> Appended {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "an appender ended with {}", output.status);
    let mut found = Appended::default();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["landed", at, seed] => {
                found.landed.push((at.parse().unwrap(), seed.parse().unwrap()));
            }
            _ => found.errors.push(line.to_owned()),
        }
    }
    found
}

/// What a user without any rights hears who opens the device: `ok`, or the error's kind and text.
pub fn opened_by_nobody(path: &Path, read_only: bool) -> String {
    // He may not enter the folder in which this program is.
    let own = Path::new("/tmp/lab-suite-of-nobody");
    if !own.exists() {
        std::fs::copy(std::env::current_exe().unwrap(), own).unwrap();
    }
    let mode = if read_only { "ro" } else { "rw" };
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(own)
        .args([WORD, "open", path.to_str().unwrap(), mode])
        .output()
        .unwrap();
    assert!(output.status.success(), "it ended with {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Does the child's work.
pub fn run(words: &[String]) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    runtime.block_on(async {
        match words[..] {
            ["append", path, how, zone, seed, count] => {
                let [zone, seed, count] = [zone, seed, count].map(|n| n.parse().unwrap());
                append(Path::new(path), how, zone, seed, count).await;
            }
            ["open", path, mode] => {
                let how = if mode == "ro" { READ_ONLY } else { DIRECT };
                match open(options(Path::new(path)), how).await {
                    Ok(_) => println!("ok"),
                    Err(error) => println!("{}: {error}", error.kind().name()),
                }
            }
            _ => panic!("no such work for a child: {words:?}"),
        }
    });
    ExitCode::SUCCESS
}

/// Says of each record where it landed, and of each error what it was; a record that met an error
/// is appended again.
async fn append(path: &Path, how: &str, zone: u64, seed: u64, count: u64) {
    let options = options(path).set("locking", "off").set("append", how);
    let node = open(options, DIRECT).await.unwrap();
    let unit = unit(&node);
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    for seed in seed..seed + count {
        for attempt in 0.. {
            match node.append(zone, data(seed, unit), NO_FLAGS).await {
                Ok(at) => {
                    println!("landed {at} {seed}");
                    break;
                }
                Err(error) => println!("{}: {error}", error.kind().name()),
            }
            assert!(attempt < 100, "a record is refused again and again");
        }
    }
    node.close().await.unwrap();
}
