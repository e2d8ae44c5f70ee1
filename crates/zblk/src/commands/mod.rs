//! The commands, one module each.

pub(crate) mod append;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod create;
pub(crate) mod export;
pub(crate) mod info;
pub(crate) mod io;
pub(crate) mod manage;
pub(crate) mod read;
pub(crate) mod report;
pub(crate) mod write;

use crate::cli::Command;
use crate::error::{Failure, Result};
use crate::output::Output;
use block_backend::ZoneOp;
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

/// The runtime for a command: one thread, beside those that wait for system calls, is enough for
/// all but a bench.
pub(crate) fn runtime(command: &Command) -> Result<Runtime> {
    let mut builder = match command {
        Command::Bench(args) if args.threads > 1 => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    if let Command::Bench(args) = command {
        builder.worker_threads(args.threads);
    }
    builder.enable_all().build().map_err(|error| Failure::system("cannot start", &error))
}

/// Does one command.
pub(crate) async fn run(command: Command, output: &Output) -> Result<ExitCode> {
    let done = match command {
        Command::Create(args) => create::run(&args, output).await,
        Command::Info(args) => info::run(&args, output).await,
        Command::Report(args) => report::run(&args, output).await,
        Command::Open(args) => manage::run(ZoneOp::Open, &args, output).await,
        Command::Close(args) => manage::run(ZoneOp::Close, &args, output).await,
        Command::Finish(args) => manage::run(ZoneOp::Finish, &args, output).await,
        Command::Reset(args) => manage::run(ZoneOp::Reset, &args, output).await,
        Command::Append(args) => append::run(&args, output).await,
        Command::Read(args) => read::run(&args, output).await,
        Command::Write(args) => write::run(&args, output).await,
        Command::Io(args) => return io::run(&args, output).await,
        Command::Bench(args) => bench::run(&args, output).await,
        Command::Export(args) => export::run(&args, output).await,
        Command::Check(args) => return check::run(&args, output).await,
        Command::Completions(args) => completions::run(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}
