//! Conventional zones after a crash: each sector by itself.

use crate::log::{Entry, What};
use crate::observe::Observed;
use crate::oracle::{History, Known};
use crate::sectors::Tag;
use block_core::ZoneCondition;

/// Verifies the conventional zones, which are the first ones.
pub fn verify(history: &History, seen: &Observed, point: usize) -> Result<Vec<Known>, String> {
    let conventional = |z: &&block_core::Zone| z.condition == ZoneCondition::NotWritePointer;
    let count = seen.zones.iter().take_while(conventional).count();
    let numbered = (history.first_id..).zip(&history.entries);
    let writes: Vec<Write> = numbered
        .filter(|(_, entry)| entry.begun_by(point))
        .filter_map(|(id, entry)| Write::of(id, entry, history.promised(entry, point)))
        .collect();
    let mut place = 0;
    for zone in 0..count {
        let old = &history.base[zone].data;
        for (sector, tag) in seen.sectors[zone].iter().enumerate() {
            let before = old.get(sector).copied().unwrap_or(Tag::Zero);
            if !may_hold(&writes, place, before, *tag) {
                let here = writes.iter().filter(|w| w.covers(place));
                let here: Vec<String> =
                    here.map(|w| format!("\n  {}: {}", w.id, w.entry)).collect();
                return Err(format!(
                    "sector {sector} of the conventional zone {zone} is {tag:?}, and was \
                     {before:?} before; writes: {}",
                    here.concat()
                ));
            }
            place += 1;
        }
    }
    let known = |zone: usize| Known { data: seen.sectors[zone].clone(), ..Known::default() };
    Ok((0..count).map(known).collect())
}

struct Write<'a> {
    id: u32,
    entry: &'a Entry,
    at: u64,
    len: u64,
    zeroes: bool,
    promised: bool,
}

impl<'a> Write<'a> {
    fn of(id: u32, entry: &'a Entry, promised: bool) -> Option<Self> {
        let What::Conventional { at, len, zeroes, .. } = entry.what else {
            return None;
        };
        Some(Self { id, entry, at, len, zeroes, promised })
    }

    fn covers(&self, place: u64) -> bool {
        (self.at..self.at + self.len).contains(&place)
    }

    fn tag(&self, place: u64) -> Tag {
        match (self.zeroes, u32::try_from(place - self.at)) {
            (false, Ok(index)) => Tag::Data { id: self.id, index },
            _ => Tag::Zero,
        }
    }
}

fn may_hold(writes: &[Write<'_>], place: u64, before: Tag, tag: Tag) -> bool {
    let here = || writes.iter().filter(|w| w.covers(place));
    let promised = || here().filter(|w| w.promised);
    (tag == before && promised().next().is_none())
        || here().any(|w| w.tag(place) == tag && !promised().any(|p| w.entry.before(p.entry)))
}
