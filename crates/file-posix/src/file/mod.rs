//! The `file` driver: a regular file as a node.
//!
//! The driver translates between the contract and the engine's jobs; it keeps no state of its own
//! besides the open file. How each request fails and what it costs is told at [`file`].

mod create;
pub(crate) mod driver;
pub(crate) mod factory;
pub(crate) mod kind;
pub(crate) mod open;
mod zeroes;

pub use create::create;
pub use factory::file;

#[cfg(test)]
mod tests;
