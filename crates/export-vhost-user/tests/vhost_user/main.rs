//! The device through a front end of vhost-user, without a machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod device;
mod dialect;
mod hostile;
mod length;
mod protocol;
mod requests;
