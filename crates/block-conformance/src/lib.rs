//! A battery of test cases that checks any driver against the contract of
//! [`BlockDriver`](block_core::BlockDriver) and [`ZonedDriver`](block_core::ZonedDriver).
//!
//! Every driver runs it in its tests: give a closure that makes a fresh node, and a [`Profile`]
//! that says what to expect of it.
//!
//! ```
//! use block_conformance::memory::{MemoryConfig, MemoryDriver};
//! use block_conformance::{Fresh, Profile, check};
//! use block_core::Node;
//!
//! # let profile = Profile::regular().only("data::one_block");
//! # /*
//! let profile = Profile::regular();
//! # */
//! check("memory", profile, || async {
//!     let driver = MemoryDriver::new(MemoryConfig::default());
//!     Fresh::new(Node::new("memory", Box::new(driver)))
//! });
//! ```
//!
//! # What a good subject looks like
//! Each case gets a node of its own, so that it should be small and quick to make: 8 MiB is plenty.
//! Give [`Fresh::with_reopen`] wherever data outlives the node: persistence is checked only there.
//! A zoned subject shows most with at least ten zones of about 256 KiB, a capacity below the zone
//! size, two conventional zones, a smaller last zone, and limits such as 4 open and 6 active zones;
//! what a subject does not have is skipped, and the [`Report`] says so.
//!
//! # What is checked
//! Only what the contract demands of a *node*: range, alignment and read-only rights are the
//! backend's to check, so that no case sends a request that a backend would refuse (but see
//! [`ZoneHabits::checks_alignment`]).
#![deny(unsafe_code)]
// A test helper: its panics are failure reports, and its numbers come from small test devices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[macro_use]
mod outcome;
mod cases;
mod cx;
mod expect;
mod foreign;
mod interrupt;
pub mod memory;
mod pattern;
mod profile;
mod report;
mod runner;
mod subject;

pub use profile::{Profile, Retention, ZoneHabits};
pub use report::{CaseResult, Report, Verdict};
pub use runner::{case_names, check, run};
pub use subject::{BoxFuture, Fresh, OpenMode};
