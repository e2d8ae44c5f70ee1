//! The command line.

use crate::commands::{
    append::AppendArgs, bench::BenchArgs, check::CheckArgs, completions::CompletionsArgs,
    create::CreateArgs, export::ExportArgs, info::InfoArgs, io::IoArgs, manage::ManageArgs,
    read::ReadArgs, report::ReportArgs, write::WriteArgs,
};
use block_backend::block_core::{Aio, parse_size};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

const ABOUT: &str = "Makes, inspects, fills and measures zoned block devices";

const IMAGE_HELP: &str = "\
An IMAGE is one of
  disk.zbd                 a path: an emulated zoned device is known by its content, another
                           file is a raw disk
  driver=raw,file.driver=file,file.filename=disk.img,offset=1M
                           a graph of drivers, in dotted keys
  'json:{\"driver\":\"null\",\"size\":\"1G\"}'
                           the same in JSON

Offsets and lengths are bytes: decimal or 0x…, with an optional suffix k, M, G or T (1024).

Exit code: 0 success, 1 the operation failed, 2 wrong usage.

Start with
  zblk create disk.zbd --size 1G --zone-size 16M
  head -c 1M /dev/urandom | zblk append disk.zbd 0
  zblk report disk.zbd --count 3";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "zblk", version, about = ABOUT, after_help = IMAGE_HELP)]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print one JSON object instead of text; a failure prints {"error":…} on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colour: auto is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,

    /// Tell more on standard error: -v information, -vv details, -vvv every request.
    /// ZBLK_LOG=block=trace chooses finer
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an emulated zoned device in a file
    Create(CreateArgs),
    /// Show the node tree, the model, the geometry and the limits
    Info(InfoArgs),
    /// List zones as a table
    Report(ReportArgs),
    /// Open zones explicitly
    ///
    /// An emulated device forgets open zones when it is closed, as a real one does at a power
    /// cycle, and each run of zblk opens and closes it: there this shows only whether the zones
    /// could be opened. To open zones and use them, give several commands to one `zblk io`.
    Open(ManageArgs),
    /// Close open zones, so that others may be opened
    ///
    /// An emulated device forgets open zones when it is closed, so there this has no lasting
    /// effect. To open, use and close zones, give several commands to one `zblk io`.
    Close(ManageArgs),
    /// Make zones full, whatever was written: they take no more data until they are reset
    Finish(ManageArgs),
    /// Make zones empty: their data is gone, and they can be written again
    Reset(ManageArgs),
    /// Append standard input to a zone, and print the position of its first byte
    Append(AppendArgs),
    /// Copy a range to standard output
    Read(ReadArgs),
    /// Copy standard input to a range
    Write(WriteArgs),
    /// Talk to an image in the words of qemu-io
    Io(IoArgs),
    /// Measure throughput and latency
    Bench(BenchArgs),
    /// Make an image a disk of this host or of a guest
    Export(ExportArgs),
    /// Verify the image of an emulated zoned device, and repair it
    Check(CheckArgs),
    /// Print a script that completes zblk's command line in a shell
    Completions(CompletionsArgs),
}

/// The image that a command works on.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// A path, dotted options (driver=…,key=…) or json:{…}; see `zblk help`
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,

    /// How to go through the host's page cache: buffered, or direct around it (O_DIRECT)
    #[arg(short = 't', long, value_name = "MODE", default_value = "buffered")]
    pub(crate) cache: CacheMode,

    /// How to call the kernel, where IMAGE does not say it (aio=…): auto is io_uring where allowed
    #[arg(short = 'i', long, value_name = "ENGINE", default_value = "auto")]
    pub(crate) aio: AioMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum AioMode {
    Auto,
    Threads,
    IoUring,
}

impl From<AioMode> for Aio {
    fn from(mode: AioMode) -> Self {
        match mode {
            AioMode::Auto => Self::Auto,
            AioMode::Threads => Self::Threads,
            AioMode::IoUring => Self::IoUring,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CacheMode {
    #[value(alias = "writeback")]
    Buffered,
    #[value(alias = "none")]
    Direct,
}

/// Reads a number of bytes, for clap.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|error| error.to_string())
}
