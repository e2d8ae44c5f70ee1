//! The bytes of the image format, as docs/src/image-format.md specifies them. No I/O.

mod header;
mod layout;
mod page;
mod state;
mod table;

pub(crate) use header::{Header, HeaderFault, MAGIC};
pub(crate) use layout::{HEADER_COPIES, Layout, PAGE_LEN, STATE_SLOTS};
pub(crate) use page::{PageFault, is_used_up, slot_of};
pub(crate) use state::StatePage;
pub(crate) use table::{ENTRIES_PER_PAGE, TablePage};
