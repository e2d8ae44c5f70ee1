//! Writes and appends: checked and started, then completed.

use block_core::{ErrorKind, ZoneCondition};

use crate::geometry::{ZoneSpan, misaligned};
use crate::model::{Slot, ZoneModel};

/// A write or append that passed all checks: where its data goes. Values in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The zone in which the data starts.
    pub index: u64,
    /// Where the data starts on the device.
    pub position: u64,
    /// How long it is.
    pub len: u64,
    /// The zone that had to give up its open resource, if the limit of open zones was reached.
    /// Nothing of what survives a restart changes in that zone.
    pub implicitly_closed: Option<u64>,
}

impl ZoneModel {
    /// Checks and starts a write of `len` bytes at the byte `offset` of the device.
    ///
    /// The zone is implicitly open afterwards, unless it is explicitly open; its write pointer
    /// stays where it is until [`complete_write`](Self::complete_write). At most one write per
    /// sequential zone should be started and not completed: a second one starts at the same place.
    /// Conventional zones take writes anywhere, also across zones, and need no completion.
    ///
    /// # Errors
    /// Checked in this order; nothing changes on an error.
    /// - [`ErrorKind::Misaligned`]: `length` is 0 or not a multiple of the block size, or `offset`
    ///   is not a multiple of it;
    /// - [`ErrorKind::OutOfRange`]: the range reaches past the end of the device, or overflows;
    /// - [`ErrorKind::ZoneBoundary`]: the range starts in a conventional zone and reaches into a
    ///   sequential one, or it crosses the end of a sequential zone's capacity;
    /// - [`ErrorKind::ZoneOffline`], [`ErrorKind::ZoneReadOnly`];
    /// - [`ErrorKind::ZoneFull`], also for a range that crosses the end of a full zone;
    /// - [`ErrorKind::WritePointerMismatch`], also for an offset between capacity and zone end;
    /// - [`ErrorKind::TooManyActive`], then [`ErrorKind::TooManyOpen`].
    pub fn start_write(&mut self, offset: u64, len: u64) -> Result<Started, ErrorKind> {
        self.start_write_behind(0, offset, len)
    }

    /// As [`start_write`](Self::start_write), for a write that joins one that was started in this
    /// zone and not yet completed: the first `ahead` bytes behind the write pointer are taken by
    /// those before it. One [`complete_write`](Self::complete_write) completes all of them.
    ///
    /// # Errors
    /// Those of [`start_write`](Self::start_write), as if the bytes ahead had landed.
    pub fn start_write_behind(
        &mut self,
        ahead: u64,
        offset: u64,
        len: u64,
    ) -> Result<Started, ErrorKind> {
        let block = u64::from(self.geometry().block_size());
        check_length(len, block)?;
        if !offset.is_multiple_of(block) {
            return Err(misaligned("offset", offset, block));
        }
        let end = self.geometry().end_of(offset, len)?;
        let span = self.span_at(offset)?;
        let Some(slot) = self.slot(span.index) else {
            let boundary = self.geometry().conventional_end();
            if end > boundary {
                let zone = span.id();
                return Err(ErrorKind::ZoneBoundary { zone, boundary });
            }
            return Ok(Started {
                index: span.index,
                position: offset,
                len,
                implicitly_closed: None,
            });
        };
        let zone = span.id();
        let slot = &slot.behind(ahead, span.capacity);
        let full = slot.condition == ZoneCondition::Full;
        let boundary = span.writable_end();
        if !full && offset < boundary && end > boundary {
            return Err(ErrorKind::ZoneBoundary { zone, boundary });
        }
        check_usable(&span, slot)?;
        if full {
            return Err(ErrorKind::ZoneFull { zone, needed: len, remaining: 0 });
        }
        let expected = span.start.saturating_add(slot.written);
        if offset != expected {
            return Err(ErrorKind::WritePointerMismatch { zone, expected, given: offset });
        }
        self.start(&span, ahead, len)
    }

    /// Checks and starts an append of `len` bytes to the zone that starts at byte `zone_start`.
    ///
    /// As [`start_write`](Self::start_write), at the zone's write pointer. (ZNS and virtio-blk:
    /// zone append; ZBC has none.)
    ///
    /// # Errors
    /// Checked in this order; nothing changes on an error.
    /// - [`ErrorKind::Misaligned`]: `zone offset` is not the start of a zone, or `length` is 0 or
    ///   not a multiple of the block size;
    /// - [`ErrorKind::OutOfRange`]: there is no such zone;
    /// - [`ErrorKind::AppendTooLarge`];
    /// - [`ErrorKind::ConventionalZone`], [`ErrorKind::ZoneOffline`], [`ErrorKind::ZoneReadOnly`];
    /// - [`ErrorKind::ZoneFull`]: the zone is full, or `len` is more than what remains of its
    ///   capacity;
    /// - [`ErrorKind::TooManyActive`], then [`ErrorKind::TooManyOpen`].
    pub fn start_append(&mut self, zone_start: u64, len: u64) -> Result<Started, ErrorKind> {
        self.start_append_behind(0, zone_start, len)
    }

    /// As [`start_append`](Self::start_append), for an append that joins writes that were started
    /// in this zone; see [`start_write_behind`](Self::start_write_behind).
    ///
    /// # Errors
    /// Those of [`start_append`](Self::start_append), as if the bytes ahead had landed.
    pub fn start_append_behind(
        &mut self,
        ahead: u64,
        zone_start: u64,
        len: u64,
    ) -> Result<Started, ErrorKind> {
        let zone_size = self.geometry().zone_size();
        if !zone_start.is_multiple_of(zone_size) {
            return Err(misaligned("zone offset", zone_start, zone_size));
        }
        check_length(len, u64::from(self.geometry().block_size()))?;
        let span = self.span_at(zone_start)?;
        let limit = self.limits().max_append_bytes;
        if limit != 0 && len > limit {
            return Err(ErrorKind::AppendTooLarge { given: len, limit });
        }
        let zone = span.id();
        let Some(slot) = self.slot(span.index) else {
            return Err(ErrorKind::ConventionalZone { zone });
        };
        let slot = &slot.behind(ahead, span.capacity);
        check_usable(&span, slot)?;
        let remaining = match slot.condition {
            ZoneCondition::Full => 0,
            _ => span.capacity.saturating_sub(slot.written),
        };
        if len > remaining {
            return Err(ErrorKind::ZoneFull { zone, needed: len, remaining });
        }
        self.start(&span, ahead, len)
    }

    /// The first `len` bytes of the write that was started in this zone have landed: moves the
    /// write pointer, and makes the zone full when its capacity is reached.
    ///
    /// To be called once for each started write, with 0 when nothing landed; an untouched zone
    /// that the write had implicitly opened is then empty again. Only whole blocks count. Does
    /// nothing in a conventional zone, and in a zone where no write is in flight (it was reset in
    /// between, for instance). A zone that was closed, finished or made read-only in between takes
    /// the data too: a closed one becomes full at its capacity, the others stay what they are.
    pub fn complete_write(&mut self, index: u64, len: u64) {
        let block = u64::from(self.geometry().block_size());
        let whole = len.saturating_sub(len.checked_rem(block).unwrap_or(0));
        let Some(span) = self.geometry().span(index) else {
            return;
        };
        let Some(slot) = self.slot_mut(index) else {
            return;
        };
        if !slot.writing {
            return;
        }
        slot.writing = false;
        slot.written = slot.written.saturating_add(whole).min(span.capacity);
        let (written, condition) = (slot.written, slot.condition);
        if !condition.is_active() {
            return;
        }
        if written == span.capacity {
            self.turn(index, ZoneCondition::Full);
        } else if written == 0 && condition != ZoneCondition::ExplicitOpen {
            self.turn(index, ZoneCondition::Empty);
        }
    }

    /// A write that lands at once: [`start_write`](Self::start_write) and
    /// [`complete_write`](Self::complete_write) together.
    ///
    /// # Errors
    /// Those of [`start_write`](Self::start_write).
    pub fn write(&mut self, offset: u64, len: u64) -> Result<Started, ErrorKind> {
        let started = self.start_write(offset, len)?;
        self.complete_write(started.index, started.len);
        Ok(started)
    }

    /// An append that lands at once: [`start_append`](Self::start_append) and
    /// [`complete_write`](Self::complete_write) together.
    ///
    /// # Errors
    /// Those of [`start_append`](Self::start_append).
    pub fn append(&mut self, zone_start: u64, len: u64) -> Result<Started, ErrorKind> {
        let started = self.start_append(zone_start, len)?;
        self.complete_write(started.index, started.len);
        Ok(started)
    }

    /// Takes the resources, if they suffice, and starts behind what is ahead. Those ahead hold the
    /// resources already.
    fn start(&mut self, span: &ZoneSpan, ahead: u64, len: u64) -> Result<Started, ErrorKind> {
        let index = span.index;
        let Slot { written, condition, stamp, .. } =
            self.slot(index).copied().unwrap_or(Slot::EMPTY);
        let mut implicitly_closed = None;
        if condition == ZoneCondition::ImplicitOpen {
            let stamp = self.recency.renew(index, stamp);
            if let Some(slot) = self.slot_mut(index) {
                slot.stamp = stamp;
            }
        } else if ahead == 0 && !condition.is_open() {
            self.resources().check(&self.limits(), span.id(), condition)?;
            implicitly_closed = self.open(index, ZoneCondition::ImplicitOpen);
        }
        if let Some(slot) = self.slot_mut(index) {
            slot.writing = true;
        }
        Ok(Started {
            index,
            position: span.start.saturating_add(written).saturating_add(ahead),
            len,
            implicitly_closed,
        })
    }

    fn span_at(&self, offset: u64) -> Result<ZoneSpan, ErrorKind> {
        let geometry = self.geometry();
        geometry.span_at(offset).ok_or_else(|| geometry.out_of_range())
    }
}

fn check_length(len: u64, block: u64) -> Result<(), ErrorKind> {
    if len == 0 || !len.is_multiple_of(block) {
        return Err(misaligned("length", len, block));
    }
    Ok(())
}

/// Refuses zones that can never be changed.
pub(crate) fn check_usable(span: &ZoneSpan, slot: &Slot) -> Result<(), ErrorKind> {
    let zone = span.id();
    match slot.condition {
        ZoneCondition::Offline => Err(ErrorKind::ZoneOffline { zone }),
        ZoneCondition::ReadOnly => Err(ErrorKind::ZoneReadOnly { zone }),
        _ => Ok(()),
    }
}
