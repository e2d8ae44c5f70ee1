//! What the fuzzers do with their bytes.
//!
//! Each [`Target`] takes any bytes and says in one word how far they came; a finding is a panic.
//! The programs of libFuzzer in `fuzz/` call these functions, and so does a test on the stable
//! compiler, which replays the kept inputs and many random ones: so the targets cannot rot.
//!
//! | target | the bytes are | what must hold |
//! |---|---|---|
//! | `image` | damage to an image, with or without right checksums | it opens exactly if `check` finds nothing that bars it; a repair loses nothing, and what it calls repaired is; what is flushed then is there after a crash |
//! | `options` | an image as a user names it | a clear refusal, or options that read back as they are printed |
//! | `shell` | lines of the io shell | every failure says something, and no line breaks the zones |
//! | `requests` | requests, flushes, restarts and crashes | each answer, each zone and each byte is that of a naive model |
//! | `report` | a zone report as a hostile device gives it | a typed error, or zones that are possible |
//! | `virtio` | virtqueues as a hostile guest lays them out | an answer to each request, or a dead queue; the device obeys the rules of zones and serves on |
#![forbid(unsafe_code)]
// A panic is what a fuzzer reports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

pub mod image;
pub mod options;
pub mod report;
pub mod requests;
pub mod shell;
pub mod virtio;
mod world;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its program and of the folder of its kept inputs.
    pub name: &'static str,
    /// Tries these bytes. Says how far they came, in one of the words of `outcomes`.
    pub run: fn(&[u8]) -> &'static str,
    /// How far bytes can come. Random inputs must reach every one of these.
    pub outcomes: &'static [&'static str],
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target { name: "image", run: image::run, outcomes: image::OUTCOMES },
    Target { name: "options", run: options::run, outcomes: options::OUTCOMES },
    Target { name: "report", run: report::run, outcomes: report::OUTCOMES },
    Target { name: "requests", run: requests::run, outcomes: requests::OUTCOMES },
    Target { name: "shell", run: shell::run, outcomes: shell::OUTCOMES },
    Target { name: "virtio", run: virtio::run, outcomes: virtio::OUTCOMES },
];
