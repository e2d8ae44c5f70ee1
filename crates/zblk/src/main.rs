//! The program `zblk`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Each request allocates once or twice in every node that it passes.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    zblk::main()
}
