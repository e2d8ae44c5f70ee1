//! The `raw` driver: a filter that passes every operation to its child.
//!
//! With `offset` or `size` it shows a window of the child: zone operations, reports and limits are
//! translated like everything else. A window over a zoned child starts where a zone starts and ends
//! where one ends. Without them it adds nothing to a request but the call.
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `file` | the child | required |
//! | `offset` | where in the child the window starts, in bytes | 0 |
//! | `size` | how long the window is, in bytes | to the child's end, wherever that is |
//!
//! An error of the child names the child, its offsets and its zones, not those of the window.
#![forbid(unsafe_code)]

mod driver;
mod manage;
mod window;
mod zoned;

pub use driver::Raw;
pub use window::Window;

use async_trait::async_trait;
use block_core::{
    BlockDriver, ByteSize, ChildRole, ChildSpec, ContentClaim, DriverFactory, OpenContext,
    PathClaim, Result,
};
use std::path::Path;

/// The factory of the `raw` driver, to be registered.
pub fn raw() -> impl DriverFactory {
    RawFactory
}

struct RawFactory;

#[derive(serde::Deserialize)]
struct RawOptions {
    file: ChildSpec,
    #[serde(default)]
    offset: Option<ByteSize>,
    #[serde(default)]
    size: Option<ByteSize>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DriverFactory for RawFactory {
    fn name(&self) -> &'static str {
        driver::NAME
    }

    fn claims_path(&self, _: &Path) -> PathClaim {
        PathClaim::No
    }

    fn claims_content(&self, _: &[u8]) -> ContentClaim {
        // Any content is raw content, unless a format knows better.
        ContentClaim::Fallback
    }

    async fn open(&self, context: &mut OpenContext<'_>) -> Result<Box<dyn BlockDriver>> {
        let options: RawOptions = context.options()?;
        let needs = context.needs(ChildRole::Filtered, true);
        let child = context.child(options.file, needs).await?;
        let window = Window {
            offset: options.offset.unwrap_or_default().0,
            size: options.size.map(|s| s.0),
        };
        Ok(Box::new(Raw::new(child, window)?))
    }
}
