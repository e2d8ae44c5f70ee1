//! How the calls of protocol drivers leave the async threads.

/// Which engine makes the system calls of a protocol driver (`aio`). Semantics are the same with
/// all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aio {
    /// `io_uring` where the kernel allows it, else `threads`.
    #[default]
    Auto,
    /// Threads of the runtime's blocking pool.
    Threads,
    /// Rings that the runtime's own workers fill and empty. Opening fails where the kernel forbids
    /// it.
    IoUring,
}
