//! The program `zblk`: makes, inspects, fills and measures zoned block devices.
//!
//! It is a library so that tests can run the same code without knowing where the program was
//! built. What it offers is the command line; see `zblk help`.
//!
//! # Exit codes
//! | code | meaning |
//! |---|---|
//! | 0 | it worked; also when the reader of standard output went away early (`zblk read … \| head`) |
//! | 1 | the operation failed, or `zblk check` found damage that it did not repair |
//! | 2 | the command line is wrong |
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod error;
mod image;
mod input;
mod log;
mod output;

use clap::Parser;
use cli::Cli;
use error::Result;
use output::Output;
use std::process::ExitCode;

/// Does what the process's command line says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    let output = Output::new(&cli.global);
    log::start(&cli, &output);
    match run(cli, &output) {
        Ok(code) => code,
        Err(failure) => failure.tell(&output),
    }
}

fn run(cli: Cli, output: &Output) -> Result<ExitCode> {
    let runtime = commands::runtime(&cli.command)?;
    let result = runtime.block_on(async {
        outlive_file_size_limits()?;
        commands::run(cli.command, output).await
    });
    // A thread that waits for standard input must not keep the process.
    runtime.shutdown_background();
    result
}

/// A write beyond the limit of a file's size shall be an error like any other, not the process's
/// end: a handler, of whatever kind, sees to that.
fn outlive_file_size_limits() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let number = nix::sys::signal::Signal::SIGXFSZ as i32;
    signal(SignalKind::from_raw(number)).map(drop)
}

/// Prints clap's message. Help and version are no mistakes, and go to standard output.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    // Who asked for help and closed the pipe has seen enough.
    let _ = error.print();
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ => error::WRONG_USAGE.into(),
    }
}
