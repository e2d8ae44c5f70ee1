//! The device as the zones' queues see it.

use super::admit::{Request, admit};
use super::device::Device;
use super::refusal;
use super::track::Known;
use block_core::{
    BlockDriver, Error, ErrorKind, IoBuf, IoBufMut, IoVec, IoVecMut, RequestFlags, Result,
    ZoneCondition,
};
use std::io;
use zone_queue::{Aftermath, Payload, ZoneTarget};

/// Zeroes are written, and data is read back, this many bytes at a time; a multiple of every block
/// size.
const PIECE: u64 = 1 << 20;

impl ZoneTarget for Device {
    fn admit(&self, zone: u64, at: Option<u64>, len: u64, ahead: u64) -> Result<u64> {
        let mut state = self.track(zone)?.state();
        let Some(known) = state.known else {
            return Err(ErrorKind::Io(io::Error::new(
                io::ErrorKind::Interrupted,
                format!(
                    "where the write pointer of {} stands is being found out; try again",
                    self.shape.id(zone)
                ),
            ))
            .into());
        };
        let granularity = u64::from(self.limits.write_granularity);
        let request = Request { at, len, ahead, granularity };
        let position = admit(&known, self.shape.id(zone), request)?;
        state.touched = true;
        Ok(position)
    }

    async fn write(&self, zone: u64, position: u64, payload: Payload) -> Result<()> {
        let written = match &payload {
            Payload::Data(bufs) => {
                self.io.write(position, bufs.clone(), RequestFlags::empty()).await
            }
            Payload::Zeroes(len, _) => self.write_zeroes(position, *len).await,
        };
        match written {
            Ok(()) => Ok(()),
            Err(error) => {
                self.keep_failed(zone, payload);
                Err(self.name(zone, error).await)
            }
        }
    }

    fn landed(&self, zone: u64, position: u64, len: u64) {
        let Ok(track) = self.track(zone) else { return };
        let mut state = track.state();
        state.tried_again = false;
        if let Some(known) = &mut state.known {
            known.advance(position.saturating_add(len), self.shape.end_of(zone));
        }
    }

    async fn after_error(
        &self,
        zone: u64,
        position: u64,
        len: u64,
        error: &Error,
    ) -> Result<Aftermath> {
        let payload = self.take_failed(zone);
        let track = self.track(zone)?;
        track.state().known = None;
        // That the device is gone is not news; the write's own error says more.
        let now = self.look(zone).await.map_err(|_| error.clone())?;
        let end = position.saturating_add(len);
        let reached = now.pointer.min(now.writable_end).min(end);
        let landed = match payload {
            // Of a device that others write to, too, nobody can say whose bytes these are, if theirs
            // are the same. Better that a record is written twice than that one of two is lost.
            Some(payload) if reached > position && !self.shared => {
                self.verify(position, reached, &payload).await
            }
            _ => 0,
        };
        let believed = Known { pointer: position.saturating_add(landed), ..now };
        let stands_there = now.pointer == believed.pointer;
        let usable = now.condition != ZoneCondition::Full
            && refusal::unusable(self.shape.id(zone), now.condition).is_none();
        // The kernel keeps a write pointer of its own. If commands went past it, it refuses a
        // write that is right, once: asking for a report has put it right.
        let once_more = landed == 0 && refusal::is_vague(error) && {
            let mut state = track.state();
            state.tried_again = !state.tried_again;
            state.tried_again
        };
        Ok(Aftermath { landed, moved: !stands_there || !usable || once_more })
    }

    async fn recover(&self, zone: u64) -> Result<()> {
        let touched = self.track(zone)?.state().touched;
        if touched {
            self.settle_calls().await?;
        }
        self.look(zone).await.map(drop)
    }
}

impl Device {
    /// The error of a write as the kind that it is.
    async fn name(&self, zone: u64, error: Error) -> Error {
        let id = self.shape.id(zone);
        let error = refusal::by_number(&self.limits, id, error);
        let limited = self.limits.max_open_zones != 0 || self.limits.max_active_zones != 0;
        if !limited || !refusal::is_vague(&error) {
            return error;
        }
        let Ok(all) = self.report(0..self.shape.count()).await else {
            return error;
        };
        refusal::by_resources(&self.limits, id, &all).map_or(error, Error::from)
    }

    /// Writes zeroes, one piece after another.
    async fn write_zeroes(&self, position: u64, len: u64) -> Result<()> {
        let zeroes = IoBuf::zeroed(size(len.min(PIECE)));
        let mut done = 0;
        while done < len {
            let piece = len.saturating_sub(done).min(PIECE);
            let bufs = IoVec::from(zeroes.clone().split_to(size(piece)));
            self.io.write(position.saturating_add(done), bufs, RequestFlags::empty()).await?;
            done = done.saturating_add(piece);
        }
        Ok(())
    }

    /// How much of a failed write landed: that the write pointer moved is no proof, because
    /// somebody else may have written there. Reads what is below the pointer and compares.
    async fn verify(&self, position: u64, reached: u64, payload: &Payload) -> u64 {
        let mut expected = match payload {
            Payload::Data(bufs) => Some(bufs.clone()),
            Payload::Zeroes(..) => None,
        };
        let mut at = position;
        while at < reached {
            let piece = reached.saturating_sub(at).min(PIECE);
            let found = self.io.read(at, IoVecMut::from(IoBufMut::zeroed(size(piece)))).await;
            let Ok(found) = found.map(|bufs| bufs.to_vec()) else { break };
            let same = match &mut expected {
                Some(bufs) => leading(&found, &bufs.split_to(size(piece)).to_vec()),
                None => found.iter().take_while(|b| **b == 0).count(),
            };
            let same = u64::try_from(same).unwrap_or(0);
            at = at.saturating_add(same);
            if same < piece {
                break;
            }
        }
        let landed = at.saturating_sub(position);
        let granularity = u64::from(self.limits.write_granularity);
        landed.saturating_sub(landed.checked_rem(granularity).unwrap_or(0))
    }
}

/// How many bytes from the start on are the same.
fn leading(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn size(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
