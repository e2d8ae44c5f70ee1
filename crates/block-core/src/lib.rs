//! The vocabulary and the contract of the block layer.
#![deny(unsafe_code)]

pub mod error;
pub mod zone;

pub use error::{Error, ErrorKind, Result};
pub use zone::{Zone, ZoneCondition, ZoneId, ZoneOp, ZoneType, ZonedLimits, ZonedModel};
