//! The words of qemu-io, spoken to a block backend.
//!
//! A [`Shell`] takes one line at a time ([`Shell::run_line`]) and writes what qemu-io would print,
//! so that scripts written for qemu-io run unchanged. What differs is listed at [`Shell`].
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use block_backend::BlockBackend;
//! use io_shell::{Flow, Shell, ShellOptions};
//! let disk = BlockBackend::open("driver=null,size=1M").await?;
//! let mut shell = Shell::new(disk, ShellOptions::default());
//! let mut out = Vec::new();
//! let flow = shell.run_line("write -q -P 0xab 0 64k", &mut out).await?;
//! assert_eq!(flow, Flow::Continue { failed: false });
//! shell.run_line("length", &mut out).await?;
//! assert_eq!(out, b"1 MiB\n");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
//! ```
#![forbid(unsafe_code)]

mod about;
mod args;
mod background;
mod command;
mod hexdump;
mod number;
mod pattern;
mod pause;
mod shell;
mod stop;
mod text;
mod transfer;
mod words;
mod zones;

pub use command::{command_names, completions};
pub use shell::{Flow, Shell, ShellOptions};
