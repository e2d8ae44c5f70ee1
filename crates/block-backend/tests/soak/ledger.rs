//! What each zone must hold.

use crate::record::{BLOCK, Block, Id};
use block_backend::{BlockBackend, ZoneCondition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use tokio::sync::RwLock;

/// A record whose append returned.
#[derive(Clone, Copy, Debug)]
pub struct Landed {
    pub position: u64,
    pub id: Id,
    pub count: u64,
}

impl Landed {
    fn end(&self) -> u64 {
        self.position + self.count * BLOCK as u64
    }
}

/// The knowledge of one zone.
#[derive(Debug, Default)]
pub struct Page {
    pub generation: u64,
    /// By position.
    landed: BTreeMap<u64, Landed>,
    /// What happened last, for the report of a failure.
    history: VecDeque<String>,
}

/// Events of a zone that are kept.
const HISTORY: usize = 40;

/// All zones.
#[derive(Debug)]
pub struct Ledger {
    pages: Vec<Mutex<Page>>,
    /// Held shared by who writes to a zone, alone by who gives it a new life.
    pub locks: Vec<RwLock<()>>,
}

impl Ledger {
    pub fn new(zones: usize) -> Self {
        Self {
            pages: (0..zones).map(|_| Mutex::default()).collect(),
            locks: (0..zones).map(|_| RwLock::default()).collect(),
        }
    }

    pub fn generation(&self, zone: usize) -> u64 {
        self.pages[zone].lock().unwrap().generation
    }

    /// Notes what happened.
    pub fn note(&self, zone: usize, event: String) {
        let history = &mut self.pages[zone].lock().unwrap().history;
        history.push_back(event);
        if history.len() > HISTORY {
            history.pop_front();
        }
    }

    /// What happened last.
    pub fn history(&self, zone: usize) -> String {
        self.pages[zone].lock().unwrap().history.make_contiguous().join("\n  ")
    }

    /// The zone was reset.
    pub fn reborn(&self, zone: usize) {
        let mut page = self.pages[zone].lock().unwrap();
        page.generation += 1;
        page.landed.clear();
    }

    /// A record landed: nothing else is there.
    pub fn landed(&self, zone: usize, landed: Landed) -> Result<(), String> {
        let mut page = self.pages[zone].lock().unwrap();
        let before = page.landed.range(..landed.end()).next_back().map(|(_, l)| *l);
        if let Some(other) = before.filter(|other| other.end() > landed.position) {
            let history = page.history.make_contiguous().join("\n  ");
            return Err(format!("{landed:?} lies on {other:?}\n  {history}"));
        }
        page.landed.insert(landed.position, landed);
        Ok(())
    }

    /// The record that landed at this turn, if there are any.
    pub fn any(&self, zone: usize, turn: u64) -> Option<Landed> {
        let page = self.pages[zone].lock().unwrap();
        let number = turn.checked_rem(page.landed.len() as u64)?;
        page.landed.values().nth(number as usize).copied()
    }

    pub fn is_empty(&self, zone: usize) -> bool {
        self.pages[zone].lock().unwrap().landed.is_empty()
    }

    /// Reads all zones: below the pointers there is nothing but whole records of the present life,
    /// each once, and all that landed where it landed. Gives how many records there are.
    pub async fn verify(&self, disk: &BlockBackend) -> Result<u64, String> {
        let zones = disk.report_zones(0, usize::MAX).await.map_err(|e| e.to_string())?;
        let mut records = 0;
        for (number, zone) in zones.iter().enumerate() {
            let bytes = disk.read(zone.start, zone.length as usize).await;
            let bytes = bytes.map_err(|e| e.to_string())?;
            let end = match (zone.condition, zone.write_pointer) {
                // A finished zone has zeroes behind its data.
                (ZoneCondition::Full, _) => {
                    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
                    used.next_multiple_of(BLOCK)
                }
                (_, Some(pointer)) => (pointer - zone.start) as usize,
                (condition, None) => return Err(format!("zone {number} is {condition}")),
            };
            if bytes[end..].iter().any(|b| *b != 0) {
                return Err(format!("zone {number} has something above its pointer"));
            }
            let found = self.read_zone(number, zone.start, &bytes[..end]);
            records += found.map_err(|e| format!("zone {number}: {e}"))?;
        }
        Ok(records)
    }

    fn read_zone(&self, zone: usize, start: u64, bytes: &[u8]) -> Result<u64, String> {
        let page = self.pages[zone].lock().unwrap();
        let mut seen = BTreeSet::new();
        let mut missing = page.landed.clone();
        let mut blocks = (0_u64..).zip(bytes.chunks(BLOCK));
        while let Some((at, first)) = blocks.next() {
            let position = start + at * BLOCK as u64;
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
