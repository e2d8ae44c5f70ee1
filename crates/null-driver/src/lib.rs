//! The `null` driver: a node that holds nothing.
//!
//! Reads give zeroes, writes are taken and forgotten. It measures what the layers above cost, and
//! stands in where a test needs some node but no data. It is a regular device, without zones.
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `size` | the node's length in bytes | 1G |
//! | `read-zeroes` | `on`: reads fill their buffers with zeroes; `off`: buffers come back as they were, which is cheaper still | `on` |
//! | `latency-ns` | how long each request takes, at least, in nanoseconds | 0 |
#![forbid(unsafe_code)]

mod delay;
mod driver;

pub use driver::{Null, NullConfig};

use async_trait::async_trait;
use block_core::{
    BlockDriver, ByteSize, ContentClaim, DriverFactory, ErrorKind, OnOff, OpenContext, PathClaim,
    Result,
};
use std::path::Path;
use std::time::Duration;

/// Longest length of a node in bytes: what a file offset can express.
const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

/// The factory of the `null` driver, to be registered.
pub fn null() -> impl DriverFactory {
    NullFactory
}

struct NullFactory;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct NullOptions {
    #[serde(default)]
    size: Option<ByteSize>,
    #[serde(default)]
    read_zeroes: Option<OnOff>,
    #[serde(default)]
    latency_ns: Option<LatencyNs>,
}

/// A number of nanoseconds. Read as sizes are, because dotted options give numbers as text, which
/// serde's own `u64` does not take.
type LatencyNs = ByteSize;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DriverFactory for NullFactory {
    fn name(&self) -> &'static str {
        driver::NAME
    }

    fn claims_path(&self, _: &Path) -> PathClaim {
        PathClaim::No
    }

    fn claims_content(&self, _: &[u8]) -> ContentClaim {
        ContentClaim::No
    }

    async fn open(&self, context: &mut OpenContext<'_>) -> Result<Box<dyn BlockDriver>> {
        let options: NullOptions = context.options()?;
        let default = NullConfig::default();
        let size = options.size.map_or(default.size, |s| s.0);
        if size > MAX_SIZE {
            return Err(ErrorKind::InvalidOption(format!(
                "driver 'null', option 'size': {size:#x} is above the largest file offset \
                 {MAX_SIZE:#x}"
            ))
            .into());
        }
        Ok(Box::new(Null::new(NullConfig {
            size,
            read_zeroes: options.read_zeroes.map_or(default.read_zeroes, |o| o.0),
            latency: options.latency_ns.map_or(default.latency, |ns| Duration::from_nanos(ns.0)),
            read_only: context.read_only(),
        })))
    }
}
