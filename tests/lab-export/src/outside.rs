//! Door `vhost-user` from outside: the machine that boots guests, runs the servers of their disks,
//! and may kill either.

use crate::suites::lives;
use crate::uml::Guest;
use crate::{host, vhost_user};
use lab_suite::harness::Results;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a guest may take for all suites.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Whether this is that machine.
pub fn is_here() -> bool {
    std::env::var_os("LAB_UML").is_some()
}

/// Runs the suites of a guest, and then those in which it is killed.
pub fn run(words: &[String]) -> ExitCode {
    let inside = suites(words);
    let mut results = Results::new(words.to_vec());
    lives::run(&mut results);
    let outside = results.print();
    add_table();
    match inside {
        // The words chose nothing there.
        Ok(3) => outside,
        Ok(0) if outside == ExitCode::SUCCESS || outside == ExitCode::from(3) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            println!("FAILED  {why}");
            ExitCode::FAILURE
        }
    }
}

/// The suites that one guest runs from its boot to its end.
fn suites(words: &[String]) -> Result<i32, String> {
    let folder = PathBuf::from(host::folder());
    let over = Arc::new(AtomicBool::new(false));
    let until = over.clone();
    let letters = std::thread::spawn(move || host::answer(&folder, &until));
    let sockets: Vec<String> = (0..vhost_user::SOCKETS).map(vhost_user::socket).collect();
    let words = words.iter().map(String::as_str);
    let work: Vec<&str> = std::iter::once("vhost-user").chain(words).collect();
    let status = Guest::boot(&sockets, &work).wait(PATIENCE);
    over.store(true, Ordering::Relaxed);
    letters.join().map_err(|_| "no more answers for the guest".to_owned())?;
    status
}

/// Puts the guest's counts to this machine's.
fn add_table() {
    let ours = std::env::var("LAB_TABLE").expect("LAB_TABLE names a file");
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let inside = read(&format!("{}/table-inside", host::folder()));
    std::fs::write(&ours, inside + &read(&ours)).unwrap();
}
