//! What each zone must hold.

use crate::record::{BLOCK, Block, Id};
use block_backend::{Zone, ZoneCondition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::RwLock;

/// A record whose append or write returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Landed {
    pub(crate) position: u64,
    pub(crate) id: Id,
    pub(crate) count: u64,
}

impl Landed {
    fn end(&self) -> u64 {
        self.position + self.count * BLOCK as u64
    }
}

/// The knowledge of one zone.
#[derive(Debug, Default)]
struct Page {
    generation: u64,
    /// By position.
    landed: BTreeMap<u64, Landed>,
    /// What happened last, for the report of a failure.
    history: VecDeque<String>,
}

impl Page {
    fn history(&self) -> String {
        self.history.iter().map(|event| format!("\n  {event}")).collect()
    }
}

/// Events of a zone that are kept.
const HISTORY: usize = 40;

/// What each sequential zone of a device must hold.
#[derive(Debug)]
pub struct Ledger {
    places: Vec<Place>,
}

/// One zone.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// Held shared by who writes to the zone, alone by who gives it a new life.
    pub(crate) lock: RwLock<()>,
    page: Mutex<Page>,
}

impl Ledger {
    /// For these zones, which are empty.
    pub(crate) fn new(zones: &[Zone]) -> Self {
        let place = |zone: &Zone| Place {
            start: zone.start,
            length: zone.length,
            lock: RwLock::default(),
            page: Mutex::default(),
        };
        Self { places: zones.iter().map(place).collect() }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// How many bytes of this zone its pointer covers.
    ///
    /// # Errors
    /// In words, if the zone has no pointer.
    pub fn covered(zone: &Zone) -> Result<u64, String> {
        match (zone.condition, zone.write_pointer) {
            (ZoneCondition::Full, _) => Ok(zone.capacity),
            (_, Some(pointer)) => Ok(pointer - zone.start),
            (_, None) => Err(format!("no pointer: {zone:?}")),
        }
    }

    /// Compares a zone with what it must hold: `bytes` are what it reads as from its start on, to
    /// where its pointer is or farther. What lies beyond must be zeroes. Gives how many records
    /// there are.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub fn verify(&self, zone: &Zone, bytes: &[u8]) -> Result<u64, String> {
        let place = self.places.iter().find(|place| place.start == zone.start);
        let place = place.ok_or(format!("an unknown zone: {zone:?}"))?;
        let mut end = Self::covered(zone)? as usize;
        if zone.condition == ZoneCondition::Full {
            // A finished zone has zeroes behind its data.
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            end = used.next_multiple_of(BLOCK);
        }
        let (covered, above) = bytes.split_at_checked(end).ok_or(format!("cut short: {zone:?}"))?;
        if above.iter().any(|b| *b != 0) {
            return Err(format!("{zone:?} has something above its pointer"));
        }
        let found = place.verify(covered);
        found.map_err(|e| format!("{zone:?}: {e}{}", place.page().history()))
    }
}

impl Place {
    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap()
    }

    /// Which life this is.
    pub(crate) fn generation(&self) -> u64 {
        self.page().generation
    }

    /// Notes what happened.
    pub(crate) fn note(&self, event: String) {
        let history = &mut self.page().history;
        history.push_back(event);
        if history.len() > HISTORY {
            history.pop_front();
        }
    }

    /// What happened last.
    pub(crate) fn history(&self) -> String {
        self.page().history()
    }

    /// The zone was reset.
    pub(crate) fn reborn(&self) {
        let mut page = self.page();
        page.generation += 1;
        page.landed.clear();
    }

    /// A record landed: nothing else is there.
    pub(crate) fn landed(&self, landed: Landed) -> Result<(), String> {
        let mut page = self.page();
        let before = page.landed.range(..landed.end()).next_back().map(|(_, l)| *l);
        if let Some(other) = before.filter(|other| other.end() > landed.position) {
            return Err(format!("{landed:?} lies on {other:?}{}", page.history()));
        }
        page.landed.insert(landed.position, landed);
        Ok(())
    }

    /// The record that landed at this turn, if there are any.
    pub(crate) fn any(&self, turn: u64) -> Option<Landed> {
        let page = self.page();
        let number = turn.checked_rem(page.landed.len() as u64)?;
        page.landed.values().nth(number as usize).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.page().landed.is_empty()
    }

    fn verify(&self, bytes: &[u8]) -> Result<u64, String> {
        let page = self.page();
        let mut seen = BTreeSet::new();
        let mut missing = page.landed.clone();
        let mut blocks = (0_u64..).zip(bytes.chunks(BLOCK));
        while let Some((at, first)) = blocks.next() {
            let position = self.start + at * BLOCK as u64;
            let block = Block::decode(first).ok_or(format!("garbage at {position:#x}"))?;
            for index in 0..block.count {
                let expected = Block { index, ..block };
                let is = match index {
                    0 => Some(block),
                    _ => blocks.next().and_then(|(_, bytes)| Block::decode(bytes)),
                };
                if is != Some(expected) {
                    return Err(format!("{expected:?} expected after {position:#x}, not {is:?}"));
                }
            }
            if block.id.generation != page.generation || !seen.insert(block.id) {
                return Err(format!(
                    "{block:?} at {position:#x} is of another life, or twice there"
                ));
            }
            match missing.remove(&position) {
                Some(landed) if landed.id == block.id => {}
                Some(landed) => return Err(format!("{block:?} in the place of {landed:?}")),
                None if page.landed.values().any(|l| l.id == block.id) => {
                    return Err(format!("{block:?} is at {position:#x}, not where it landed"));
                }
                // Nobody heard that it landed: its caller went away, or was told an error.
                None => {}
            }
        }
        match missing.values().next() {
            Some(lost) => Err(format!("lost: {lost:?}, life {}", page.generation)),
            None => Ok(seen.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests;
