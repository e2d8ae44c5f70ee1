//! The commit protocol: how write pointers become durable, never before their data.
//!
//! The steps and their reasons are in docs/src/image-format.md; the rules named here are its rules.

use crate::device::Device;
use crate::format::{ENTRIES_PER_PAGE, STATE_SLOTS, StatePage, TablePage, slot_of};
use block_core::{IoBuf, IoVec, RequestFlags, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedMutexGuard;
use zone_model::SavedZone;

/// What the medium holds, as far as it is known to be durable.
#[derive(Debug)]
pub(crate) struct Table {
    /// The committed entry of each zone.
    pub(crate) entries: Vec<SavedZone>,
    /// The sequence number that counts, for each page.
    pub(crate) sequences: Vec<u64>,
    /// Pages whose other slot does not hold the same entries.
    pub(crate) unequal: Vec<bool>,
    pub(crate) state: StatePage,
    /// The state page was written and not yet flushed.
    state_pending: bool,
    /// A write of the state page was begun and did not succeed: which one counts is unknown.
    state_unsure: bool,
    /// A commit was dropped in the middle: what it wrote may still be on its way.
    in_doubt: bool,
    /// Pages that a commit wrote and did not finish: their other slot may hold what was never
    /// adopted, and would count after a crash.
    unfinished: BTreeSet<usize>,
    /// Flushes up to this number were served, with this result.
    served: u64,
    served_result: Result<()>,
}

impl Table {
    pub(crate) fn new(
        entries: Vec<SavedZone>,
        sequences: Vec<u64>,
        unequal: Vec<bool>,
        state: StatePage,
    ) -> Self {
        Self {
            entries,
            sequences,
            unequal,
            state,
            state_pending: false,
            state_unsure: false,
            in_doubt: false,
            unfinished: BTreeSet::new(),
            served: 0,
            served_result: Ok(()),
        }
    }

    pub(crate) fn entry(&self, zone: u64) -> Option<SavedZone> {
        self.entries.get(usize::try_from(zone).ok()?).copied()
    }

    /// Whether the medium says for certain that the zone is empty.
    pub(crate) fn is_empty_for_certain(&self, zone: u64) -> bool {
        self.entry(zone) == Some(SavedZone::EMPTY) && !self.unfinished.contains(&page_of(zone))
    }
}

/// A page on its way to the medium.
struct NewPage {
    number: usize,
    page: TablePage,
}

/// The right to commit.
pub(crate) struct Commit<'a> {
    device: &'a Device,
    table: OwnedMutexGuard<Table>,
}

impl Device {
    /// Makes durable all data that has landed, and the pointers above it.
    ///
    /// Flushes that wait for one another are served by one commit.
    pub(crate) async fn flush(self: &Arc<Self>) -> Result<()> {
        let number = self.flushes.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let device = Arc::clone(self);
        self.unstoppable(async move {
            let mut commit = device.commit().await?;
            if commit.table.served >= number {
                return commit.table.served_result.clone();
            }
            let serves = device.flushes.load(Ordering::SeqCst);
            let result = commit.flush().await;
            commit.table.served = serves;
            commit.table.served_result = result.clone();
            result
        })
        .await
    }

    /// Waits for the right to commit, and for what an abandoned commit left under way.
    pub(crate) async fn commit(&self) -> Result<Commit<'_>> {
        let mut table = Arc::clone(&self.table).lock_owned().await;
        if table.in_doubt {
            self.child.settle().await?;
            // It took the marks of changed pages with it.
            self.dirty.iter().for_each(|d| d.store(true, Ordering::Release));
            table.in_doubt = false;
        }
        Ok(Commit { device: self, table })
    }
}

impl Commit<'_> {
    /// The committed entries.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Everything that has landed.
    async fn flush(&mut self) -> Result<()> {
        self.run(BTreeMap::new(), true).await
    }

    /// Commits these entries. With `data`, everything that has landed is made durable first and
    /// committed with them; without, all other entries stay as they were committed (which is right
    /// for a reset, whose entry covers no data).
    pub(crate) async fn run(
        &mut self,
        changes: BTreeMap<u64, SavedZone>,
        data: bool,
    ) -> Result<()> {
        self.table.in_doubt = true;
        let taken = if data { self.take_dirty() } else { Vec::new() };
        let result = self.steps(&changes, &taken, data).await;
        if result.is_err() {
            for page in taken {
                if let Some(dirty) = self.device.dirty.get(page) {
                    dirty.store(true, Ordering::Release);
                }
            }
        }
        self.table.in_doubt = false;
        result
    }

    async fn steps(
        &mut self,
        changes: &BTreeMap<u64, SavedZone>,
        dirty: &[usize],
        data: bool,
    ) -> Result<()> {
        // Step 1. What landed before this moment is covered by the flush of step 2.
        let pages = self.new_pages(changes, dirty, data);
        let touched = !pages.is_empty();
        if touched && self.table.state.clean {
            self.write_state(false).await?;
        }
        // Step 2 (rule 1). The withdrawn mark must be durable too before a slot is overwritten.
        if data || (touched && self.table.state_pending) {
            self.flush_child().await?;
        }
        if !touched {
            return Ok(());
        }
        // Steps 3 and 4.
        self.table.unfinished.extend(pages.iter().map(|p| p.number));
        self.write_pages(&pages).await?;
        self.flush_child().await?;
        self.adopt(pages, true);
        Ok(())
    }

    fn take_dirty(&self) -> Vec<usize> {
        let marks = self.device.dirty.iter().enumerate();
        marks.filter(|(_, d)| d.swap(false, Ordering::AcqRel)).map(|(page, _)| page).collect()
    }

    fn new_pages(
        &self,
        changes: &BTreeMap<u64, SavedZone>,
        dirty: &[usize],
        data: bool,
    ) -> Vec<NewPage> {
        let mut numbers: Vec<usize> = dirty.to_vec();
        numbers.extend(changes.keys().map(|zone| page_of(*zone)));
        numbers.extend(&self.table.unfinished);
        numbers.sort_unstable();
        numbers.dedup();
        let fresh = |number: usize| {
            let zones = self.zones_of(number);
            let model = self.device.model();
            let entry = |zone: u64| {
                let landed = if data { model.saved(zone) } else { None };
                let changed = changes.get(&zone).copied();
                changed.or(landed).or(self.table.entry(zone)).unwrap_or(SavedZone::EMPTY)
            };
            let entries: Vec<SavedZone> = zones.clone().map(entry).collect();
            let same = zones.zip(&entries).all(|(z, e)| self.table.entry(z) == Some(*e));
            let sequence = self.table.sequences.get(number).copied().unwrap_or(0);
            let page = TablePage { sequence: sequence.wrapping_add(1), entries };
            let finished = !self.table.unfinished.contains(&number);
            (!same || !finished).then_some(NewPage { number, page })
        };
        numbers.into_iter().filter_map(fresh).collect()
    }

    /// Writes pages to the slots that do not count (rule 3), neighbours in one piece.
    async fn write_pages(&self, pages: &[NewPage]) -> Result<()> {
        let header = &self.device.header;
        let mut rest = pages;
        while let Some(first) = rest.first() {
            let slot = slot_of(first.page.sequence);
            let run = rest
                .iter()
                .zip(first.number..)
                .take_while(|(p, number)| p.number == *number && slot_of(p.page.sequence) == slot)
                .count();
            let (now, later) = rest.split_at(run.max(1));
            let mut bytes = Vec::new();
            for NewPage { number, page } in now {
                bytes.extend(page.encode(header.short_id(), as_u64(*number)));
            }
            let place = header.layout.table_page(slot, as_u64(first.number));
            self.device.child.write(place, aligned(&bytes), RequestFlags::empty()).await?;
            rest = later;
        }
        Ok(())
    }

    /// From now on these pages count. `changed` says that their other slots hold older entries.
    fn adopt(&mut self, pages: Vec<NewPage>, changed: bool) {
        for NewPage { number, page } in pages {
            for (zone, entry) in self.zones_of(number).zip(page.entries) {
                let place = usize::try_from(zone).ok().and_then(|z| self.table.entries.get_mut(z));
                if let Some(place) = place {
                    *place = entry;
                }
            }
            if let Some(sequence) = self.table.sequences.get_mut(number) {
                *sequence = page.sequence;
            }
            self.table.unfinished.remove(&number);
            if let Some(unequal) = self.table.unequal.get_mut(number) {
                *unequal = changed;
            }
        }
    }

    async fn write_state(&mut self, clean: bool) -> Result<()> {
        let state = StatePage { sequence: self.table.state.sequence.wrapping_add(1), clean };
        let bytes = state.encode(self.device.header.short_id());
        let [even, odd] = STATE_SLOTS;
        let place = if slot_of(state.sequence) == 0 { even } else { odd };
        self.table.state_unsure = true;
        self.device.child.write(place, aligned(&bytes), RequestFlags::empty()).await?;
        self.table.state = state;
        self.table.state_unsure = false;
        self.table.state_pending = true;
        Ok(())
    }

    /// Leaves two equal copies of everything, and the mark of a clean close.
    pub(crate) async fn close(&mut self) -> Result<()> {
        self.run(BTreeMap::new(), true).await?;
        let unequal = self.table.unequal.iter().enumerate().filter(|(_, u)| **u);
        let numbers: Vec<usize> = unequal.map(|(number, _)| number).collect();
        if numbers.is_empty() && self.table.state.clean && !self.table.state_unsure {
            return Ok(());
        }
        self.table.in_doubt = true;
        let result = self.mirror(numbers).await;
        self.table.in_doubt = false;
        result
    }

    async fn mirror(&mut self, numbers: Vec<usize>) -> Result<()> {
        let again = |number: usize| {
            let entries = self.zones_of(number).filter_map(|z| self.table.entry(z)).collect();
            let sequence = self.table.sequences.get(number).copied().unwrap_or(0).wrapping_add(1);
            NewPage { number, page: TablePage { sequence, entries } }
        };
        let pages: Vec<NewPage> = numbers.into_iter().map(again).collect();
        self.write_pages(&pages).await?;
        self.flush_child().await?;
        self.adopt(pages, false);
        self.write_state(true).await?;
        self.flush_child().await
    }

    async fn flush_child(&mut self) -> Result<()> {
        self.device.child.flush().await?;
        self.table.state_pending = false;
        Ok(())
    }

    fn zones_of(&self, page: usize) -> Range<u64> {
        let first = as_u64(page).saturating_mul(ENTRIES_PER_PAGE);
        first..first.saturating_add(ENTRIES_PER_PAGE).min(self.device.geometry().nr_zones())
    }
}

pub(crate) fn page_of(zone: u64) -> usize {
    usize::try_from(zone / ENTRIES_PER_PAGE).unwrap_or(usize::MAX)
}

pub(crate) fn aligned(bytes: &[u8]) -> IoVec {
    IoBuf::copy_of(bytes).into()
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
