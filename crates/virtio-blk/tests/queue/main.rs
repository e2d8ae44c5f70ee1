//! A queue with a driver on its other side, in one process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod bench;
mod lengths;
mod requests;
mod rings;
