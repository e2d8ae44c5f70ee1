//! Where everything lies in the file.

use super::table::ENTRIES_PER_PAGE;
use block_core::{ErrorKind, Result};
use zone_model::Geometry;

/// Length of a page of metadata, in bytes.
pub(crate) const PAGE_LEN: usize = 4096;
pub(crate) const PAGE: u64 = 4096;

/// Offsets of the header's two copies.
pub(crate) const HEADER_COPIES: [u64; 2] = [0, 64 << 10];
/// Offsets of the state page's two slots.
pub(crate) const STATE_SLOTS: [u64; 2] = [4 << 10, 68 << 10];
/// Offset of the zone table.
pub(crate) const TABLE_OFFSET: u64 = 128 << 10;
/// The data area starts at a multiple of this.
const DATA_ALIGNMENT: u64 = 1 << 20;

/// The places of an image with a given geometry. Offsets in bytes from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Number of pages in each slot of the zone table.
    pub(crate) pages: u64,
    pub(crate) data_offset: u64,
    /// Length of the whole file.
    pub(crate) file_length: u64,
}

impl Layout {
    pub(crate) fn new(geometry: &Geometry) -> Result<Self> {
        let pages = geometry.nr_zones().div_ceil(ENTRIES_PER_PAGE);
        let places = || {
            let table = pages.checked_mul(2 * PAGE)?.checked_add(TABLE_OFFSET)?;
            let data_offset = table.checked_next_multiple_of(DATA_ALIGNMENT)?;
            let file_length = data_offset.checked_add(geometry.size())?;
            // Files are addressed by signed 64-bit offsets.
            i64::try_from(file_length).ok()?;
            Some(Self { pages, data_offset, file_length })
        };
        places().ok_or_else(|| {
            ErrorKind::InvalidOption(format!(
                "a device of {:#x} bytes with its metadata is longer than any file can be",
                geometry.size()
            ))
            .into()
        })
    }

    /// Where page `page` of the table lies in slot 0 or 1.
    pub(crate) fn table_page(&self, slot: usize, page: u64) -> u64 {
        let row = if slot == 0 { page } else { self.pages.saturating_add(page) };
        TABLE_OFFSET.saturating_add(row.saturating_mul(PAGE))
    }

    /// Where a byte of the device lies.
    pub(crate) fn data(&self, offset: u64) -> u64 {
        self.data_offset.saturating_add(offset)
    }
}
