//! Verifying an image, and repairing what can be repaired without losing data.

use crate::commit::aligned;
use crate::format::{
    HEADER_COPIES, Header, HeaderFault, PageFault, STATE_SLOTS, StatePage, TablePage, is_used_up,
    slot_of,
};
use crate::load::{
    Slots, beyond_the_end, first_zone, newest, newest_state, read_headers, read_states, read_table,
    readable_entries, usable_header, zones_in,
};
use block_core::{Child, RequestFlags, Result};
use zone_model::ZoneModel;

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, in plain words.
    pub problem: String,
    /// What this means for the data.
    pub meaning: String,
    /// What was done about it, if anything was.
    pub repaired: Option<String>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Number of zones of the image.
    pub zones: u64,
    /// Pages of metadata that were verified, copies included.
    pub pages: u64,
    /// Whether the image was closed cleanly. An image that was not is sound all the same.
    pub clean: bool,
    /// Everything found, in the order of the file.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether nothing is wrong any more.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|f| f.repaired.is_some())
    }
}

/// Verifies the image on a node: headers, both copies of everything, checksums, the zones' states,
/// and that the file holds all data that they speak of.
///
/// With `repair`, writes good copies over bad ones, after everything that is there was made durable;
/// a repair that is cut off at any point can be done again, without loss. A page of which no good copy is left is
/// rewritten so that all of its zones can be read to their capacity. No data area byte is changed.
///
/// # Errors
/// `InvalidImage` if there is no usable header, or the file is too short, `Io`. Damage that has a
/// name is a finding, not an error.
pub async fn check(child: &Child, repair: bool) -> Result<CheckReport> {
    if repair {
        // A process that was killed may have left the good copy in the medium's cache.
        child.flush().await?;
    }
    let mut check = Check { child, repair, report: CheckReport::default() };
    let copies = read_headers(child).await?;
    let header = usable_header(&copies, child)?;
    check.report.zones = header.geometry.nr_zones();
    check.report.pages = header.layout.pages.saturating_mul(2).saturating_add(4);
    check.headers(&header, copies).await?;
    let states = read_states(child, &header).await?;
    let state = newest_state(&states);
    check.report.clean = state.clean;
    let table = read_table(child, &header).await?;
    check.table(&header, &table, state.clean).await?;
    // Last, because a state page that is rewritten may say that all is equal.
    check.states(&header, states).await?;
    if repair {
        child.flush().await?;
    }
    Ok(check.report)
}

struct Check<'a> {
    child: &'a Child,
    repair: bool,
    report: CheckReport,
}

impl Check<'_> {
    fn found(&mut self, problem: String, meaning: &str, repaired: Option<&str>) {
        self.report.findings.push(Finding {
            problem,
            meaning: meaning.to_owned(),
            repaired: repaired.map(str::to_owned),
        });
    }

    async fn write(&self, place: u64, page: &[u8]) -> Result<()> {
        self.child.write(place, aligned(page), RequestFlags::empty()).await
    }

    async fn headers(
        &mut self,
        header: &Header,
        copies: [Result<Header, HeaderFault>; 2],
    ) -> Result<()> {
        for (place, copy) in HEADER_COPIES.into_iter().zip(copies) {
            let Err(fault) = copy else { continue };
            let mut done = None;
            if self.repair {
                self.write(place, &header.encode()).await?;
                done = Some("it was written again from the other copy");
            }
            self.found(
                format!("the copy of the header at {place:#x} is damaged: {fault}"),
                "nothing is lost: the other copy is good",
                done,
            );
        }
        Ok(())
    }

    async fn states(&mut self, header: &Header, slots: Slots<StatePage>) -> Result<()> {
        let [even, odd] = STATE_SLOTS;
        let state = newest_state(&slots);
        self.room_for_more(state.sequence, "of the state page");
        let [first, second] = slots;
        for (place, slot, fault) in [(even, 0, first.err()), (odd, 1, second.err())] {
            let Some(fault) = fault else { continue };
            let mut done = None;
            if self.repair {
                // Never newer than the one that counts; if none does, the numbers 0 and 1.
                let older =
                    StatePage { sequence: older_in(slot, state.sequence.max(2)), clean: false };
                self.write(place, &older.encode(header.short_id())).await?;
                done = Some("it was written again");
            }
            self.found(
                format!("the state page at {place:#x} is damaged: {fault}"),
                "nothing is lost: it only says whether the image was closed cleanly",
                done,
            );
        }
        Ok(())
    }

    async fn table(
        &mut self,
        header: &Header,
        table: &[Slots<TablePage>],
        clean: bool,
    ) -> Result<()> {
        let mut entries = Vec::new();
        for (number, slots) in (0..).zip(table) {
            let good = match newest(slots.clone(), |p| p.sequence) {
                Some(good) => {
                    let zones = describe(header, number);
                    self.room_for_more(good.sequence, &format!("of the states of {zones}"));
                    self.copies(header, number, slots, &good, clean).await?;
                    good
                }
                None => self.lost_page(header, number, slots).await?,
            };
            entries.extend(good.entries);
        }
        if let Some(zone) = beyond_the_end(header, &entries) {
            self.found(
                format!(
                    "zone {zone} claims data behind {:#x}, where the file ends",
                    header.file_length
                ),
                "the image cannot be opened; nothing was changed",
                None,
            );
        }
        if let Err(kind) = ZoneModel::restore(header.geometry, entries) {
            self.found(
                format!("the zone table contradicts the geometry: {kind}"),
                "the image cannot be opened; nothing was changed",
                None,
            );
        }
        Ok(())
    }

    /// A sequence number has one after it.
    fn room_for_more(&mut self, sequence: u64, whose: &str) {
        if is_used_up(sequence) {
            self.found(
                format!("the sequence number {sequence:#x} {whose} is used up"),
                "no image gets there by itself; it can be read, and cannot be written to: copy its \
                 data to a new image",
                None,
            );
        }
    }

    /// A page with at least one good slot.
    async fn copies(
        &mut self,
        header: &Header,
        number: u64,
        slots: &Slots<TablePage>,
        good: &TablePage,
        clean: bool,
    ) -> Result<()> {
        let zones = describe(header, number);
        let meaning = if clean {
            "nothing is lost: both copies were equal when the image was closed"
        } else {
            "nothing is lost that a flush had promised, if the damage is from the interruption of \
             a commit; the image was not closed cleanly, so older and newer states cannot be told \
             apart"
        };
        let problem = match slots {
            [Err(fault), _] => {
                format!("the first copy of the states of {zones} is damaged: {fault}")
            }
            [_, Err(fault)] => {
                format!("the second copy of the states of {zones} is damaged: {fault}")
            }
            [Ok(a), Ok(b)] if clean && a.entries != b.entries => {
                format!("the two copies of the states of {zones} differ")
            }
            _ => return Ok(()),
        };
        let mut done = None;
        if self.repair && !is_used_up(good.sequence) {
            let again = TablePage {
                sequence: good.sequence.wrapping_add(1),
                entries: good.entries.clone(),
            };
            self.write_table_page(header, number, &again).await?;
            done = Some("it was written again from the other copy");
        }
        self.found(problem, meaning, done);
        Ok(())
    }

    /// A page without a good slot.
    async fn lost_page(
        &mut self,
        header: &Header,
        number: u64,
        slots: &Slots<TablePage>,
    ) -> Result<TablePage> {
        let faults: Vec<PageFault> = slots.iter().filter_map(|s| s.clone().err()).collect();
        let zones = describe(header, number);
        let said: Vec<String> = faults.iter().map(PageFault::to_string).collect();
        let mut done = None;
        let entries = readable_entries(header, number);
        if self.repair {
            for sequence in [1, 2] {
                let page = TablePage { sequence, entries: entries.clone() };
                self.write_table_page(header, number, &page).await?;
            }
            done = Some(
                "its zones were made full, so that everything in them can be read; reset each when \
                 you have looked at its data",
            );
        }
        self.found(
            format!("both copies of the states of {zones} are damaged: {}", said.join("; ")),
            "where the data of these zones ends is unknown; the data itself is untouched",
            done,
        );
        Ok(TablePage { sequence: 2, entries })
    }

    async fn write_table_page(&self, header: &Header, number: u64, page: &TablePage) -> Result<()> {
        let place = header.layout.table_page(slot_of(page.sequence), number);
        self.write(place, &page.encode(header.short_id(), number)).await
    }
}

fn describe(header: &Header, page: u64) -> String {
    let first = first_zone(page);
    let last = first.saturating_add(zones_in(header, page)).saturating_sub(1);
    format!("zones {first} to {last}")
}

/// A sequence number that lies in this slot and is below `than`.
const fn older_in(slot: usize, than: u64) -> u64 {
    let below = than.saturating_sub(1);
    if slot_of(below) == slot { below } else { below.saturating_sub(1) }
}
