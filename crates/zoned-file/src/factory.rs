//! How options become an open image.

use crate::driver::ZonedFile;
use crate::format::{HEADER_COPIES, MAGIC};
use crate::load::load;
use async_trait::async_trait;
use block_core::registry::{ContentClaim, DriverFactory, PathClaim};
use block_core::{BlockDriver, ChildNeeds, ChildRole, ChildSpec, ErrorKind, OpenContext, Result};
use std::path::Path;

pub(crate) const NAME: &str = "zoned-file";

/// The driver `zoned-file`, to be registered.
pub fn zoned_file() -> impl DriverFactory {
    Factory
}

/// What an image needs of the node that it lies on.
pub const fn zoned_file_needs(write: bool) -> ChildNeeds {
    ChildNeeds { role: ChildRole::File, write, share_write: false, carries_zones: false }
}

struct Factory;

#[derive(serde::Deserialize)]
struct OpenOptions {
    file: ChildSpec,
}

#[async_trait]
impl DriverFactory for Factory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn claims_path(&self, _: &Path) -> PathClaim {
        PathClaim::No
    }

    fn claims_content(&self, head: &[u8]) -> ContentClaim {
        // The second copy counts too: else an image with a damaged start would be taken for a
        // regular disk, and written over.
        let has_magic = |offset: &u64| {
            usize::try_from(*offset)
                .ok()
                .and_then(|o| head.get(o..))
                .is_some_and(|h| h.starts_with(MAGIC))
        };
        if HEADER_COPIES.iter().any(has_magic) { ContentClaim::Magic } else { ContentClaim::No }
    }

    async fn open(&self, context: &mut OpenContext<'_>) -> Result<Box<dyn BlockDriver>> {
        let options: OpenOptions = context.options()?;
        let write = !context.read_only();
        let child = context.child(options.file, zoned_file_needs(write)).await?;
        let device = load(child).await?;
        let (ours, below) =
            (device.geometry().block_size(), device.child.limits().request_alignment);
        if !ours.is_multiple_of(below) {
            return Err(ErrorKind::InvalidOption(format!(
                "the image has blocks of {ours} bytes, but the storage below takes multiples of \
                 {below}; open it with cache.direct=off, or make it with a block size of {below}"
            ))
            .into());
        }
        Ok(Box::new(ZonedFile::new(device, !write)))
    }
}
