//! The shell: finds a line's command and runs it.

use crate::about;
use crate::args::Args;
use crate::background::{Background, Request};
use crate::command::{COMMANDS, Command, Verb};
use crate::number::{parse_bytes, parse_plain};
use crate::pause::pause;
use crate::stop::Stop;
use crate::text::{self, byte_size};
use crate::transfer::{ReadRequest, WriteRequest, check_length, last_operand, range, style};
use crate::words;
use crate::zones;
use block_backend::BlockBackend;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The longest `sleep`, in milliseconds: a day.
const MAX_SLEEP_MS: u64 = 24 * 60 * 60 * 1000;

/// What follows a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next line may come.
    Continue {
        /// Whether this line failed: a program that ran it exits with 1 in the end.
        failed: bool,
    },
    /// The user asked to leave.
    Quit,
}

/// How a shell behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShellOptions {
    /// Whether a failed request is explained on a second line, beyond what qemu-io prints.
    pub explain: bool,
}

impl ShellOptions {
    /// Chooses whether failures are explained.
    #[must_use]
    pub fn explain(mut self, explain: bool) -> Self {
        self.explain = explain;
        self
    }
}

/// A shell on a backend.
///
/// It prints what qemu-io 10 prints, with these differences:
/// - The errno of a failure is that of our typed error, which tells more cases apart: a range past
///   the end is `Invalid argument` where qemu-io says `Input/output error`, a write to a read-only
///   backend fails as any other request with `Read-only file system`, and a refused zone append
///   says why.
/// - A read in the background fails as `aio_read failed`, not `readv failed`. Results of background
///   requests are printed by `aio_flush` or at the end, in the order of the requests, and a failed
///   one makes `aio_flush` fail.
/// - `zone_append` works without `-p` too, takes any number of lengths, and knows `-P` and `-f`.
/// - Failed `flush` and `truncate` print `flush failed: …`, `truncate failed: …`.
/// - Numbers may be hexadecimal and have a suffix: `0x10k`.
/// - Words may be quoted, tabs part words, and lines that begin with `#` are comments.
/// - `info` and the texts of `help` are our own. `report` and `stats` are new. There are no
///   commands that belong to other formats or to testing QEMU itself: `abort`, `alloc`, `break`,
///   `close`, `map`, `open`, `remove_break`, `reopen`, `resume`, `sigraise`, `wait_break`, and no
///   options `-b`, `-c`, `-i`, `-m`. `-p` and `-r` of reads and writes are taken and change nothing.
#[derive(Debug)]
pub struct Shell {
    backend: BlockBackend,
    options: ShellOptions,
    background: Background,
}

impl Shell {
    /// A shell on this backend.
    pub fn new(backend: BlockBackend, options: ShellOptions) -> Self {
        Self { backend, options, background: Background::default() }
    }

    /// The backend that the shell works on.
    pub fn backend(&self) -> &BlockBackend {
        &self.backend
    }

    /// Runs one line and writes everything that it says to `out`, complaints included. An empty
    /// line and a comment do nothing.
    ///
    /// # Errors
    /// Only those of `out`. A failed command is no error here: see [`Flow::Continue`].
    ///
    /// # Cancellation
    /// A dropped future drops its request, which may or may not happen.
    pub async fn run_line(&mut self, line: &str, out: &mut (dyn Write + Send)) -> io::Result<Flow> {
        const FAILED: Flow = Flow::Continue { failed: true };
        if line.trim_start().starts_with('#') {
            return Ok(Flow::Continue { failed: false });
        }
        let words = match words::split(line) {
            Ok(words) => words,
            Err(complaint) => {
                writeln!(out, "{complaint}")?;
                return Ok(FAILED);
            }
        };
        let Some((name, words)) = words.split_first() else {
            return Ok(Flow::Continue { failed: false });
        };
        let Some(command) = Command::find(name) else {
            writeln!(out, "command \"{name}\" not found")?;
            return Ok(FAILED);
        };
        if let Some(complaint) = command.wrong_count(name, words.len()) {
            writeln!(out, "{complaint}")?;
            return Ok(FAILED);
        }
        if command.verb == Verb::Quit {
            return Ok(Flow::Quit);
        }
        let result = match Args::parse(name, words, command.options) {
            Ok(args) => self.execute(command, &args, out).await,
            Err(stop) => Err(stop),
        };
        match result {
            Ok(()) => Ok(Flow::Continue { failed: false }),
            Err(stop) => {
                stop.say(command, self.options.explain, out)?;
                Ok(FAILED)
            }
        }
    }

    /// Waits for requests in the background and writes their results, as `aio_flush` does. To be
    /// called once, after the last line. Says whether any of them failed.
    ///
    /// # Errors
    /// Only those of `out`.
    pub async fn finish(&mut self, out: &mut (dyn Write + Send)) -> io::Result<bool> {
        match Command::find("aio_flush") {
            Some(command) => self.background.wait(command, out).await,
            None => Ok(false),
        }
    }

    async fn execute(
        &mut self,
        command: &'static Command,
        args: &Args<'_>,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Stop> {
        let backend = &self.backend;
        match command.verb {
            Verb::Read => ReadRequest::plain(args)?.run(backend, out).await,
            Verb::ReadVectored => {
                ReadRequest::vectored(args, command.name)?.run(backend, out).await
            }
            Verb::Write => WriteRequest::plain(args)?.run(backend, out).await,
            Verb::WriteVectored => {
                WriteRequest::vectored(args, command.name)?.run(backend, out).await
            }
            Verb::BackgroundRead => {
                let request = Request::Read(ReadRequest::vectored(args, command.name)?);
                self.start(command, request, out).await
            }
            Verb::BackgroundWrite => {
                let request = Request::Write(WriteRequest::vectored(args, command.name)?);
                self.start(command, request, out).await
            }
            Verb::BackgroundWait => {
                let failed = self.background.wait(command, out).await?;
                if failed { Err(Stop::Said) } else { Ok(()) }
            }
            Verb::Flush => backend.flush().await.map_err(|e| Stop::Block("flush", e)),
            Verb::Discard => discard(backend, args, out).await,
            Verb::ZoneReport => zones::report(backend, args, out).await,
            Verb::ZoneManage(op) => zones::manage(backend, op, args).await,
            Verb::ZoneAppend => zones::append(backend, args, out).await,
            Verb::ZoneTable => zones::table(backend, args, out).await,
            Verb::Length => Ok(writeln!(out, "{}", byte_size(backend.length()))?),
            Verb::Truncate => truncate(backend, args).await,
            Verb::Info => Ok(about::info(backend, out)?),
            Verb::Stats => Ok(about::stats(backend, out)?),
            Verb::Sleep => sleep(args).await,
            Verb::Help => help(args, out),
            Verb::Quit => Ok(()),
        }
    }

    async fn start(
        &mut self,
        command: &'static Command,
        request: Request,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Stop> {
        self.background.start(request, command, &self.backend, self.options.explain, out).await
    }
}

async fn discard(
    backend: &BlockBackend,
    args: &Args<'_>,
    out: &mut (dyn Write + Send),
) -> Result<(), Stop> {
    let (offset, length) = range(args)?;
    check_length(length, last_operand(args))?;
    let start = Instant::now();
    backend.discard(offset, length).await.map_err(|e| Stop::Block("discard", e))?;
    let report = text::transfer(style(args), "discard", (offset, length), start.elapsed());
    Ok(out.write_all(report.as_bytes())?)
}

async fn truncate(backend: &BlockBackend, args: &Args<'_>) -> Result<(), Stop> {
    let [length] = args.operands.as_slice() else { return Err(Stop::Usage(None)) };
    let length = parse_bytes(length)?;
    backend.resize(length).await.map_err(|e| Stop::Block("truncate", e))
}

async fn sleep(args: &Args<'_>) -> Result<(), Stop> {
    let [text] = args.operands.as_slice() else { return Err(Stop::Usage(None)) };
    let ms = parse_plain(text)
        .filter(|ms| *ms <= MAX_SLEEP_MS)
        .ok_or_else(|| Stop::Text(format!("{text} is not a valid number")))?;
    pause(Duration::from_millis(ms)).await.map_err(|e| Stop::Text(format!("sleep failed: {e}")))
}

fn help(args: &Args<'_>, out: &mut dyn Write) -> Result<(), Stop> {
    let Some(name) = args.operands.first() else {
        for command in &COMMANDS {
            writeln!(out, "{}", command.entry())?;
        }
        writeln!(out, "\nUse 'help command' for more about one of them.")?;
        return Ok(());
    };
    let Some(command) = Command::find(name) else {
        return Err(Stop::Text(format!("command {name} not found")));
    };
    writeln!(out, "{}", command.entry())?;
    if !command.details.is_empty() {
        writeln!(out, "\n{}", command.details)?;
    }
    Ok(())
}
