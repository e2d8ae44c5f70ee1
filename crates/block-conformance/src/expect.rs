//! Requests with what they must result in.

use crate::cx::Cx;
use crate::outcome::{Outcome, Stop, failed};
use crate::pattern::{difference, whole};
use crate::profile::Retention;
use block_core::{
    Error, ErrorKind, IoBufMut, IoVecMut, RequestFlags, Result, Zone, ZoneCondition, ZoneId, ZoneOp,
};

/// What buffers hold before a read, so that a byte that is not filled is seen.
const UNREAD: u8 = 0xee;

/// One piece of a transfer that is larger than a test wants to hold at once.
const PIECE: u64 = 1 << 20;

impl Cx {
    /// Writes the data, in one request.
    pub(crate) async fn write(&self, offset: u64, data: &[u8]) -> Outcome {
        let flags = RequestFlags::empty();
        Ok(self.node.write(offset, whole(data), flags).await?)
    }

    /// Appends the data, in one request, and gives its position.
    pub(crate) async fn append(&self, zone: &Zone, data: &[u8]) -> Outcome<u64> {
        let flags = RequestFlags::empty();
        Ok(self.node.append(zone.start, whole(data), flags).await?)
    }

    /// Does one management operation on one zone.
    pub(crate) async fn manage(&self, op: ZoneOp, zone: &Zone) -> Outcome {
        Ok(self.node.manage_zones(op, zone.start, zone.length).await?)
    }

    /// Reads, in one request.
    pub(crate) async fn read(&self, offset: u64, len: u64) -> Outcome<Vec<u8>> {
        let mut bufs = IoVecMut::from(IoBufMut::zeroed(len as usize));
        bufs.fill(UNREAD);
        let bufs = self.node.read(offset, bufs).await?;
        ensure_eq!(bufs.len() as u64, len, "length of a read at {offset:#x}");
        Ok(bufs.to_vec())
    }

    /// Reads a range, which must hold the data (or what the subject's retention makes of it).
    pub(crate) async fn expect(&self, offset: u64, data: &[u8], what: &str) -> Outcome {
        let found = self.read(offset, data.len() as u64).await?;
        self.compare(&found, data, &format!("{what} at {offset:#x}"))
    }

    /// Compares what was read with what was written.
    pub(crate) fn compare(&self, found: &[u8], data: &[u8], what: &str) -> Outcome {
        let difference = match self.profile.retention {
            Retention::Data => difference(found, data),
            Retention::Zeroes => difference(found, &vec![0; data.len()]),
            Retention::Nothing => None,
        };
        match difference {
            None => Ok(()),
            Some(difference) => failed(format!("{what}: {difference}")),
        }
    }

    /// Reads a range, which must be zeroes.
    pub(crate) async fn expect_zeroes(&self, offset: u64, len: u64, what: &str) -> Outcome {
        let mut at = offset;
        while at < offset + len {
            let piece = PIECE.min(offset + len - at);
            self.expect(at, &vec![0; piece as usize], what).await?;
            at += piece;
        }
        Ok(())
    }

    /// As [`expect_zeroes`](Self::expect_zeroes), above a write pointer, where a real device may
    /// give something else.
    pub(crate) async fn expect_unwritten(&self, offset: u64, len: u64, what: &str) -> Outcome {
        if self.profile.zones.reads_above_pointer_are_zero {
            return self.expect_zeroes(offset, len, what).await;
        }
        Ok(())
    }

    /// Looks at a zone as it is now: its condition, and `written` bytes below the write pointer.
    pub(crate) async fn expect_zone(
        &self,
        zone: &Zone,
        condition: ZoneCondition,
        written: u64,
        what: &str,
    ) -> Outcome {
        let now = self.zone(zone.start).await?;
        ensure_eq!(now.condition, condition, "{what}: condition of zone {:#x}", zone.start);
        let pointer = match condition {
            ZoneCondition::NotWritePointer | ZoneCondition::ReadOnly | ZoneCondition::Offline => {
                None
            }
            ZoneCondition::Full => Some(zone.start + zone.length),
            _ => Some(zone.start + written),
        };
        ensure_eq!(
            now.write_pointer,
            pointer,
            "{what}: write pointer of the {condition} zone {:#x}",
            zone.start
        );
        Ok(())
    }

    /// Compares all zones with an earlier report.
    pub(crate) async fn expect_unchanged(&self, before: &[Zone], what: &str) -> Outcome {
        let now = self.zones().await?;
        ensure_eq!(now.len(), before.len(), "{what}: number of zones");
        for (now, before) in now.iter().zip(before) {
            ensure_eq!(now, before, "{what}: the zone changed");
        }
        Ok(())
    }

    /// A request that must be refused, with one of these kinds (by name).
    pub(crate) fn refused<T>(
        &self,
        result: Result<T>,
        kinds: &[&str],
        what: &str,
    ) -> Outcome<Error> {
        match result {
            Ok(_) => {
                failed(format!("{what} succeeded; it must be refused as {}", kinds.join(" or ")))
            }
            Err(error) if kinds.contains(&error.kind().name()) => Ok(error),
            Err(error) => failed(format!(
                "{what} was refused as {}, not as {}: {error}",
                error.kind().name(),
                kinds.join(" or ")
            )),
        }
    }

    /// Checks that an error's zone is this one.
    pub(crate) fn names_zone(&self, error: &Error, zone: &Zone) -> Outcome {
        let named = match error.kind() {
            ErrorKind::ConventionalZone { zone }
            | ErrorKind::ZoneFull { zone, .. }
            | ErrorKind::ZoneBoundary { zone, .. }
            | ErrorKind::WritePointerMismatch { zone, .. }
            | ErrorKind::TooManyOpen { zone, .. }
            | ErrorKind::TooManyActive { zone, .. }
            | ErrorKind::ZoneReadOnly { zone }
            | ErrorKind::ZoneOffline { zone } => *zone,
            _ => return Err(Stop::Failed(format!("the error names no zone: {error}"))),
        };
        let start = zone.start + self.profile.error_offset;
        let index = start / self.zoned()?.zone_size;
        ensure_eq!(named, ZoneId { index, start }, "zone in '{error}'");
        Ok(())
    }

    /// Writes the rest of a zone's capacity with the pattern, from `from` (relative) on.
    pub(crate) async fn fill(&self, zone: &Zone, data: &[u8], from: u64) -> Outcome {
        let mut at = from;
        while at < zone.capacity {
            let end = (at + PIECE).min(zone.capacity);
            self.write(zone.start + at, &data[at as usize..end as usize]).await?;
            at = end;
        }
        Ok(())
    }
}
