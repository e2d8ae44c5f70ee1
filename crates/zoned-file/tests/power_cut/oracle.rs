//! What must be there after a crash, what may be, and what must not.

use crate::conventional;
use crate::log::{Entry, What};
use crate::observe::Observed;
use crate::sectors::Tag;
use block_core::ZoneCondition;

/// What is known of a zone for certain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The data below its pointer; of a conventional zone, all of it.
    pub data: Vec<Tag>,
    pub full: bool,
    pub read_only: bool,
}

/// What was asked between an opening of the image and the next, and what the opening had shown.
pub struct History {
    pub base: Vec<Known>,
    pub entries: Vec<Entry>,
    pub first_id: u32,
    /// For each zone, the entries that concern it.
    by_zone: Vec<Vec<usize>>,
}

impl History {
    pub fn new(base: Vec<Known>, entries: Vec<Entry>, first_id: u32) -> Self {
        let mut by_zone = vec![Vec::new(); base.len()];
        for (number, entry) in entries.iter().enumerate() {
            let zones = match &entry.what {
                What::Write { zone, .. } => *zone..*zone + 1,
                What::Reset(zones) | What::Finish(zones) => zones.clone(),
                _ => 0..0,
            };
            zones.for_each(|zone| by_zone[zone].push(number));
        }
        Self { base, entries, first_id, by_zone }
    }

    /// Compares what is seen after a crash at a point with what was asked before it. Gives what is
    /// known since then.
    pub fn verify(&self, seen: &Observed, point: usize) -> Result<Vec<Known>, String> {
        if seen.zones.len() != self.base.len() {
            return Err(format!("{} zones of {}", seen.zones.len(), self.base.len()));
        }
        let mut known = conventional::verify(self, seen, point)?;
        for zone in known.len()..seen.zones.len() {
            let view = ZoneView { history: self, seen, zone, point };
            let found = view.verify();
            known.push(found.map_err(|e| format!("zone {zone}: {e}\n{}", view.describe()))?);
        }
        Ok(known)
    }

    /// Whether what this write wrote was promised to stay.
    pub fn promised(&self, write: &Entry, point: usize) -> bool {
        let fua = match write.what {
            What::Write { fua, .. } | What::Conventional { fua, .. } => fua,
            _ => false,
        };
        let flushed = |f: &Entry| f.what == What::Flush && f.done_by(point) && write.before(f);
        (fua && write.done_by(point)) || self.entries.iter().any(flushed)
    }
}

/// A sequential zone after a crash.
struct ZoneView<'a> {
    history: &'a History,
    seen: &'a Observed,
    zone: usize,
    point: usize,
}

impl ZoneView<'_> {
    fn verify(&self) -> Result<Known, String> {
        let mut reasons = Vec::new();
        for with_base in [true, false] {
            match self.explain(with_base) {
                Ok(known) => return Ok(known),
                Err(reason) => reasons.push(reason),
            }
        }
        let [with, without] = [&reasons[0], &reasons[1]];
        Err(format!("as it was before: {with}; as reset since: {without}"))
    }

    /// Explains what is seen, with or without the data that was there at the beginning.
    fn explain(&self, with_base: bool) -> Result<Known, String> {
        let base = &self.history.base[self.zone];
        if !with_base && self.resets().next().is_none() {
            return Err("no reset was begun".to_owned());
        }
        if with_base && self.resets().any(|r| r.done_by(self.point)) {
            return Err("a reset had returned".to_owned());
        }
        let sectors = &self.seen.sectors[self.zone];
        let start = if with_base { base.data.len() } else { 0 };
        if with_base && sectors[..start] != base.data {
            return Err("its old data is not there".to_owned());
        }
        let full = with_base && base.full;
        self.extend(start as u64, &mut Vec::new(), full)
    }

    /// Explains the rest, from `at` on, by requests that are not used yet.
    fn extend(&self, at: u64, used: &mut Vec<usize>, full: bool) -> Result<Known, String> {
        let pointer = self.seen.pointer(self.zone);
        let mut reason = format!("nothing explains sector {at}");
        if pointer.is_none_or(|p| p == at) {
            match self.conclude(at, used, full) {
                Ok(known) => return Ok(known),
                Err(why) => reason = why,
            }
        }
        for (number, entry) in self.entries() {
            if used.contains(&number) || !self.starts_at(number, entry, at) {
                continue;
            }
            let What::Write { len, .. } = entry.what else {
                continue;
            };
            if pointer.is_some_and(|p| at + len > p) {
                reason = format!("the pointer is within request {}", self.id(number));
                continue;
            }
            used.push(number);
            match self.extend(at + len, used, full) {
                Ok(known) => return Ok(known),
                Err(why) => reason = why,
            }
            used.pop();
        }
        Err(reason)
    }

    /// Whether all of this request's data is seen from `at` on, and may be.
    fn starts_at(&self, number: usize, entry: &Entry, at: u64) -> bool {
        let What::Write { at: asked, len, zeroes, .. } = entry.what else {
            return false;
        };
        let elsewhere = |place: Option<u64>| place.is_some_and(|p| p != at);
        if !entry.begun_by(self.point)
            || self.erased(entry)
            || elsewhere(asked)
            || elsewhere(entry.position())
        {
            return false;
        }
        let sectors = &self.seen.sectors[self.zone];
        let Some(seen) = sectors.get(at as usize..(at + len) as usize) else {
            return false;
        };
        let id = self.id(number);
        (0..).zip(seen).all(|(index, tag)| match zeroes {
            true => *tag == Tag::Zero,
            false => *tag == Tag::Data { id, index },
        })
    }

    /// The data ends here: is everything there that must be, and is the condition right?
    fn conclude(&self, end: u64, used: &[usize], base_full: bool) -> Result<Known, String> {
        let sectors = &self.seen.sectors[self.zone];
        if let Some(garbage) = sectors[end as usize..].iter().position(|t| *t != Tag::Zero) {
            let at = end as usize + garbage;
            return Err(format!("sector {at}, above the data, is {:?}", sectors[at]));
        }
        for (number, entry) in self.entries() {
            let needed = matches!(entry.what, What::Write { .. })
                && self.required(entry)
                && !used.contains(&number);
            if needed {
                return Err(format!("request {} is lost: {entry}", self.id(number)));
            }
        }
        let finishes = || self.entries().filter(|(_, e)| matches!(e.what, What::Finish(_)));
        let must = base_full || finishes().any(|(_, e)| self.stands(e));
        let may = must || finishes().any(|(_, e)| e.begun_by(self.point) && !self.erased(e));
        self.condition(end, must, may)
    }

    fn condition(&self, end: u64, must_be_full: bool, may_be_full: bool) -> Result<Known, String> {
        use ZoneCondition::{Closed, Empty, Full, ReadOnly};
        let base = &self.history.base[self.zone];
        let condition = self.seen.zones[self.zone].condition;
        let written = end == self.seen.capacity(self.zone);
        let right = match condition {
            ReadOnly => base.read_only,
            _ if base.read_only => false,
            Full => written || may_be_full,
            Closed => end > 0 && !written && !must_be_full,
            Empty => end == 0 && !must_be_full,
            _ => false,
        };
        if !right {
            return Err(format!("with {end} sectors of data, it should not be {condition}"));
        }
        Ok(Known {
            data: self.seen.sectors[self.zone][..end as usize].to_vec(),
            full: condition == Full,
            read_only: condition == ReadOnly,
        })
    }

    /// Whether this was promised, and no reset has been begun that may have erased it.
    fn required(&self, write: &Entry) -> bool {
        let finished = |f: &Entry| matches!(f.what, What::Finish(_)) && write.before(f);
        let finished = self.entries().any(|(_, f)| finished(f) && f.done_by(self.point));
        (finished || self.history.promised(write, self.point)) && self.untouched(write)
    }

    /// Whether this finish was done and no reset has been begun that may have undone it.
    fn stands(&self, finish: &Entry) -> bool {
        finish.done_by(self.point) && self.untouched(finish)
    }

    fn untouched(&self, entry: &Entry) -> bool {
        self.resets().all(|reset| reset.before(entry))
    }

    /// Whether a reset that has returned erased this for certain.
    fn erased(&self, entry: &Entry) -> bool {
        let erases = |reset: &Entry| reset.done_by(self.point) && entry.before(reset);
        self.resets().any(erases)
    }

    /// Resets that can have had an effect on this zone.
    fn resets(&self) -> impl Iterator<Item = &Entry> {
        let usable = !self.history.base[self.zone].read_only;
        let entries = self.entries().map(|(_, e)| e);
        entries
            .filter(move |e| usable && matches!(e.what, What::Reset(_)) && e.begun_by(self.point))
    }

    fn entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let numbers = self.history.by_zone[self.zone].iter();
        numbers.map(|number| (*number, &self.history.entries[*number]))
    }

    fn id(&self, number: usize) -> u32 {
        self.history.first_id + u32::try_from(number).unwrap()
    }

    fn describe(&self) -> String {
        let zone = &self.seen.zones[self.zone];
        let tags = &self.seen.sectors[self.zone];
        let end = tags.iter().rposition(|t| *t != Tag::Zero).map_or(0, |n| n + 1);
        let mut text = format!(
            "  seen: {}, pointer {:?}, capacity {}, data {:?}\n  before: {:?}\n",
            zone.condition,
            self.seen.pointer(self.zone),
            self.seen.capacity(self.zone),
            &tags[..end],
            self.history.base[self.zone],
        );
        for (number, entry) in self.entries() {
            text += &format!("  request {}: {entry}\n", self.id(number));
        }
        text
    }
}
