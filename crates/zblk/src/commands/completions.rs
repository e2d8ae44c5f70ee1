//! `zblk completions`

use crate::cli::Cli;
use crate::error::Result;
use crate::output::print;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

const EXAMPLES: &str = "\
Examples:
  zblk completions bash > ~/.local/share/bash-completion/completions/zblk
  zblk completions fish > ~/.config/fish/completions/zblk.fish";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell that is to complete
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "zblk", &mut script);
    print(&String::from_utf8_lossy(&script))
}
