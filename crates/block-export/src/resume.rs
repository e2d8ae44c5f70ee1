//! Writes of which nobody knows whether they happened.

use crate::export::Export;
use crate::request::{Reply, Request};
use block_core::{Error, IoVec, IoVecMut, Result, ZoneCondition};

/// Bytes that are compared at a time.
const PIECE: usize = 1 << 20;

impl Export {
    /// Makes a write that an earlier server took, and perhaps carried out, but never answered.
    ///
    /// Elsewhere a write may simply be made twice. In a sequential zone the second one would be
    /// refused, because the write pointer has moved on, and whoever waits for the answer would be
    /// told of a failure that never was. So if the zone's write pointer is past the write's start,
    /// what lies there is compared with the data: the part that landed is left, and the rest is
    /// written.
    ///
    /// # Errors
    /// Those of a [`Request::Write`]; that of the write itself where other data lies in its place.
    pub async fn write_again(&self, offset: u64, data: IoVec, fua: bool) -> Result<Reply> {
        let refused = match self.serve(Request::Write { offset, data: data.clone(), fua }).await {
            Ok(reply) => return Ok(reply),
            Err(refused) => refused,
        };
        let landed = self.landed(offset, data.len()).await;
        if landed == 0 {
            return Err(refused);
        }
        let mut rest = data;
        let front = rest.split_to(landed);
        if !self.holds(offset, front).await? {
            return Err(refused);
        }
        self.write_rest(offset, landed, rest, fua, refused).await
    }

    /// How many bytes of a write there may lie before its zone's write pointer.
    async fn landed(&self, offset: u64, len: usize) -> usize {
        let bytes = u64::try_from(len).unwrap_or(u64::MAX);
        // One that reaches into another zone was refused the first time too.
        let possible = self.characteristics().zoned.as_ref().is_some_and(|zoned| {
            zoned.is_sequential(offset) && !zoned.crosses_zones(offset, bytes)
        });
        if !possible {
            return 0;
        }
        let zone = match self.backend().report_zones(offset, 1).await {
            Ok(zones) => zones.into_iter().next(),
            Err(_) => None,
        };
        let end = zone.and_then(|zone| match zone.condition {
            ZoneCondition::Full => Some(zone.writable_end()),
            _ => zone.write_pointer,
        });
        let before = end.and_then(|end| end.checked_sub(offset)).unwrap_or(0);
        usize::try_from(before).unwrap_or(usize::MAX).min(len)
    }

    /// Whether this data lies there.
    async fn holds(&self, offset: u64, mut data: IoVec) -> Result<bool> {
        let mut at = offset;
        while !data.is_empty() {
            let expected = data.split_to(PIECE);
            let into = IoVecMut::from(self.backend().buffer(expected.len()));
            let found = self.backend().read_vectored(at, into).await?;
            if found.to_vec() != expected.to_vec() {
                return Ok(false);
            }
            at = at.saturating_add(u64::try_from(expected.len()).unwrap_or(u64::MAX));
        }
        Ok(true)
    }

    async fn write_rest(
        &self,
        offset: u64,
        landed: usize,
        data: IoVec,
        fua: bool,
        refused: Error,
    ) -> Result<Reply> {
        let Some(offset) = u64::try_from(landed).ok().and_then(|n| offset.checked_add(n)) else {
            return Err(refused);
        };
        if !data.is_empty() {
            return self.serve(Request::Write { offset, data, fua }).await;
        }
        if fua {
            // Whether the first one was durable nobody knows either.
            self.serve(Request::Flush).await?;
        }
        Ok(Reply::Done)
    }
}
