//! What an image must hold after a kill, what it may hold, and what it must not.

use block_backend::{BlockBackend, Zone, ZoneCondition};

/// What one request wrote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    pub byte: u8,
    pub len: u64,
}

/// A sequential zone, as the requests that were answered left it.
#[derive(Clone, Debug, Default)]
pub struct ZoneState {
    pub pieces: Vec<Piece>,
    /// So many of the pieces were promised to stay.
    pub durable: usize,
    pub full: bool,
}

impl ZoneState {
    pub fn end(&self) -> u64 {
        self.pieces.iter().map(|p| p.len).sum()
    }

    pub fn flushed(&mut self) {
        self.durable = self.pieces.len();
    }
}

/// What the one request was that may or may not have been done.
#[derive(Clone, Debug, PartialEq)]
pub enum Open {
    Nothing,
    /// Data of these zones, in this order.
    Wrote(Vec<(usize, Piece)>),
    Reset(usize),
    Finish(usize),
}

/// Compares a zone with what is known, and gives it as it is.
pub fn explain(
    zone: &Zone,
    bytes: &[u8],
    number: usize,
    known: &ZoneState,
    open: &Open,
) -> Result<ZoneState, String> {
    let full = zone.condition == ZoneCondition::Full;
    let pointer = zone.write_pointer.ok_or("no write pointer")? - zone.start;
    if *open == Open::Reset(number) && zone.condition == ZoneCondition::Empty {
        return Ok(ZoneState::default());
    }
    let mut pieces = known.pieces.clone();
    if let Open::Wrote(more) = open {
        pieces.extend(more.iter().filter(|(zone, _)| *zone == number).map(|(_, piece)| *piece));
    }
    let may_be_finished = known.full || *open == Open::Finish(number);
    if known.full && !full {
        return Err("it was finished".to_owned());
    }
    // A full zone does not say where its data ends: from the longest explanation down.
    for count in (known.durable..=pieces.len()).rev() {
        let data: Vec<u8> =
            pieces[..count].iter().flat_map(|p| vec![p.byte; p.len as usize]).collect();
        let end = data.len() as u64;
        let ends_there = match full {
            true => end == zone.capacity || (may_be_finished && count >= known.pieces.len()),
            false => end == pointer,
        };
        let zeroes = || bytes[data.len()..].iter().all(|b| *b == 0);
        if ends_there && bytes.starts_with(&data) && zeroes() {
            return Ok(ZoneState { pieces: pieces[..count].to_vec(), durable: count, full });
        }
    }
    Err(format!("nothing explains a pointer at {pointer:#x}"))
}

/// Looks at an image and compares all of its sequential zones.
pub async fn verify(
    image: &str,
    known: &[ZoneState],
    open: &Open,
) -> Result<Vec<ZoneState>, Box<dyn std::error::Error + Send + Sync>> {
    let disk = BlockBackend::builder().read_only(true).open(image).await?;
    let zones = disk.report_zones(0, usize::MAX).await?;
    let mut now = vec![ZoneState::default()];
    // Zone 0 is conventional.
    for (number, (zone, known)) in zones.iter().zip(known).enumerate().skip(1) {
        let bytes = disk.read(zone.start, zone.length as usize).await?;
        let state = explain(zone, &bytes, number, known, open);
        now.push(state.map_err(|e| format!("zone {number}: {e}\n{zone:?}\n{known:?}\n{open:?}"))?);
    }
    disk.close().await?;
    Ok(now)
}
