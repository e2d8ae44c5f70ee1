//! What programs that run in the kernel lab share: cases and what came of them, devices, and other
//! programs that look at them.
#![forbid(unsafe_code)]
// Parts of test programs: their panics are failure reports, and the programs' folders tell more.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

pub mod harness;
pub mod nullb;
pub mod witness;
