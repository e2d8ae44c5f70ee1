//! `zblk io`

mod editor;
mod lines;

use crate::cli::ImageArgs;
use crate::error::{FAILED, Result};
use crate::image::Access;
use crate::output::Output;
use block_backend::BlockBackend;
use clap::Args;
use editor::Editor;
use io_shell::{Flow, Shell, ShellOptions};
use lines::Lines;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

const EXAMPLES: &str = "\
The commands are those of qemu-io: read, write, aio_write, flush, discard, zone_report (zrp),
zone_open (zo), zone_close (zc), zone_finish (zf), zone_reset (zrs), zone_append (zap), length, …;
`help` lists them. They come from -c, or else from standard input, one per line; a terminal has
history and completion. The exit code is 1 if one of them failed.

Examples:
  zblk io disk.zbd
  zblk io disk.zbd -c 'zrp 0 3' -c 'zap -p 0x2000000 4k' -c 'zrp 0x2000000 1'
  zblk io disk.zbd < script";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct IoArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// Open the image read-only
    #[arg(short, long)]
    read_only: bool,

    /// A command to run, for example 'write -P 0xab 0 64k'; may be given several times
    #[arg(short, long = "command", value_name = "CMD")]
    commands: Vec<String>,

    /// On a failure, print what qemu-io prints and nothing more
    #[arg(long)]
    terse: bool,
}

#[derive(Serialize)]
struct IoObject {
    commands: Vec<CommandObject>,
    /// Whether any of them failed.
    failed: bool,
}

#[derive(Serialize)]
struct CommandObject {
    command: String,
    output: String,
    failed: bool,
}

/// Where commands come from.
enum Source {
    Given(std::vec::IntoIter<String>),
    Lines(Lines),
    Terminal(Box<Editor>),
}

pub(crate) async fn run(args: &IoArgs, output: &Output) -> Result<ExitCode> {
    let access = if args.read_only { Access::Read } else { Access::Write };
    let failed = args
        .image
        .with(access, async |backend: &BlockBackend| {
            let options = ShellOptions::default().explain(!args.terse);
            let mut shell = Shell::new(backend.clone(), options);
            let source = Source::new(args, output);
            match output.json {
                true => talk_json(&mut shell, source, output).await,
                false => talk(&mut shell, source).await,
            }
        })
        .await?;
    Ok(if failed { FAILED.into() } else { ExitCode::SUCCESS })
}

impl Source {
    fn new(args: &IoArgs, output: &Output) -> Self {
        if !args.commands.is_empty() {
            return Self::Given(args.commands.clone().into_iter());
        }
        if io::stdin().is_terminal() && io::stdout().is_terminal() && !output.json {
            return Self::Terminal(Box::new(Editor::new(output.color())));
        }
        Self::Lines(Lines::default())
    }

    /// The next command, if there is one more.
    async fn next(&mut self) -> Result<Option<String>> {
        match self {
            Self::Given(commands) => Ok(commands.next()),
            Self::Lines(lines) => lines.next().await,
            Self::Terminal(editor) => editor.next().await,
        }
    }
}

/// Runs the commands, and says whether any failed.
async fn talk(shell: &mut Shell, mut source: Source) -> Result<bool> {
    let mut out = io::stdout();
    let mut any_failed = false;
    while let Some(line) = source.next().await? {
        match shell.run_line(&line, &mut out).await? {
            Flow::Continue { failed } => any_failed |= failed,
            Flow::Quit => break,
        }
        out.flush()?;
    }
    any_failed |= shell.finish(&mut out).await?;
    out.flush()?;
    Ok(any_failed)
}

/// Runs the commands, and prints what they say as one object.
async fn talk_json(shell: &mut Shell, mut source: Source, output: &Output) -> Result<bool> {
    let mut object = IoObject { commands: Vec::new(), failed: false };
    while let Some(command) = source.next().await? {
        let mut said = Vec::new();
        let flow = shell.run_line(&command, &mut said).await?;
        let failed = flow == Flow::Continue { failed: true };
        object.add(command, &said, failed);
        if flow == Flow::Quit {
            break;
        }
    }
    let mut said = Vec::new();
    let failed = shell.finish(&mut said).await?;
    if failed || !said.is_empty() {
        object.add(String::new(), &said, failed);
    }
    output.result(&object, String::new)?;
    Ok(object.failed)
}

impl IoObject {
    fn add(&mut self, command: String, said: &[u8], failed: bool) {
        let output = String::from_utf8_lossy(said).into_owned();
        self.commands.push(CommandObject { command, output, failed });
        self.failed |= failed;
    }
}
