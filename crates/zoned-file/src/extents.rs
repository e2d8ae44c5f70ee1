//! Which parts of a range are data, and which read as zeroes.

use crate::device::Device;
use block_core::{ErrorKind, Result, ZoneId};
use std::ops::Range;

/// A piece of the device, from where the last one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) len: u64,
    /// Whether the piece is read from the file. If not, it is zeroes.
    pub(crate) data: bool,
}

impl Device {
    /// The first extent of a range, as long as the range has the same kind of content.
    pub(crate) fn extent(&self, range: Range<u64>) -> Result<Extent> {
        let first = self.extent_in_zone(&range)?;
        let mut end = range.start.saturating_add(first.len);
        while end < range.end {
            let next = self.extent_in_zone(&(end..range.end))?;
            if next.data != first.data || next.len == 0 {
                break;
            }
            end = end.saturating_add(next.len);
        }
        Ok(Extent { len: end.saturating_sub(range.start), data: first.data })
    }

    fn extent_in_zone(&self, range: &Range<u64>) -> Result<Extent> {
        let Some(span) = self.geometry().span_at(range.start) else {
            return Err(ErrorKind::OutOfRange { length: self.geometry().size() }.into());
        };
        let zone_end = span.start.saturating_add(span.length);
        let (end, data) = if !span.zone_type.is_sequential() {
            (zone_end, true)
        } else {
            let zone = ZoneId { index: span.index, start: span.start };
            let readable = self.readable(span.index).ok_or(ErrorKind::ZoneOffline { zone })?;
            let data_end = span.start.saturating_add(readable);
            if range.start < data_end { (data_end, true) } else { (zone_end, false) }
        };
        Ok(Extent { len: end.min(range.end).saturating_sub(range.start), data })
    }
}
