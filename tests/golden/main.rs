//! Golden command tests: scripts of commands, each with exactly what it prints and its exit code.
//!
//! `README.md` beside this file says what a script looks like and how to add one.
//!
//! The program under test is this executable itself: linked as `zblk` into each test's `PATH`, it
//! does what zblk does. So the tests never run a stale build, wherever the target directory is.
#![forbid(unsafe_code)]

mod run;
mod script;
mod terminal;

use libtest_mimic::{Arguments, Failed, Trial};
use script::Script;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Set to anything, it makes the run write what commands print into the scripts.
const UPDATE: &str = "UPDATE_GOLDEN";

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().map(PathBuf::from);
    if called_as.is_some_and(|path| path.file_name() == Some(OsStr::new("zblk"))) {
        return zblk::main();
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let trials = match scripts(&directory) {
        Ok(paths) => paths.into_iter().map(trial).chain(terminal::trials()).collect(),
        Err(error) => {
            eprintln!("cannot list {}: {error}", directory.display());
            return ExitCode::FAILURE;
        }
    };
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The scripts in a directory, in the order of their names.
fn scripts(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("zt")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The test of one script. Where its conditions are not met it is left out, and said to be.
fn trial(path: PathBuf) -> Trial {
    let name = path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let reason = Script::load(&path).ok().and_then(|script| run::reason_to_leave_out(&script));
    let trial = Trial::test(name, move || test(&path).map_err(Failed::from));
    match reason {
        Some(reason) => trial.with_kind(format!("left out: {reason}")).with_ignored_flag(true),
        None => trial,
    }
}

fn test(path: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(told)?;
    let script = Script::parse(&text)?;
    let seen = run::run(&script).map_err(told)?.to_string();
    if seen == text {
        return Ok(());
    }
    if std::env::var_os(UPDATE).is_some() {
        return std::fs::write(path, seen).map_err(told);
    }
    Err(format!(
        "{}\n(- expected, + seen; {UPDATE}=1 cargo test -p zblk-tests writes what was seen)",
        difference(&text, &seen)
    ))
}

/// Both texts from three lines before the first difference on, as far as they differ.
fn difference(expected: &str, seen: &str) -> String {
    let (a, b): (Vec<_>, Vec<_>) = (expected.lines().collect(), seen.lines().collect());
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let ((common, mut rest_a), (_, mut rest_b)) = (a.split_at(same), b.split_at(same));
    while let ([front_a @ .., last_a], [front_b @ .., last_b]) = (rest_a, rest_b)
        && last_a == last_b
    {
        (rest_a, rest_b) = (front_a, front_b);
    }
    let before = common.iter().skip(same.saturating_sub(3)).map(|line| format!("  {line}"));
    let minus = rest_a.iter().map(|line| format!("- {line}"));
    let plus = rest_b.iter().map(|line| format!("+ {line}"));
    before.chain(minus).chain(plus).collect::<Vec<_>>().join("\n")
}
