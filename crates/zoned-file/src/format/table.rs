//! Pages of the zone table.

use super::page::{Decoder, Encoder, PageFault, read_sequence, slot_of};
use zone_model::{SavedCondition, SavedZone};

const MAGIC: &[u8; 8] = b"ZBLKTABL";

/// Zones described by one page.
pub(crate) const ENTRIES_PER_PAGE: u64 = 253;
const ENTRIES: usize = 253;
const RESERVED: usize = 12;

/// The entries of one page, and its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TablePage {
    pub(crate) sequence: u64,
    /// As many as the page describes zones; the last page may have fewer than the others.
    pub(crate) entries: Vec<SavedZone>,
}

impl TablePage {
    pub(crate) fn encode(&self, short_id: u64, number: u64) -> Vec<u8> {
        let mut page = Encoder::new(MAGIC);
        page.u64(short_id);
        page.u64(self.sequence);
        page.u64(number);
        for entry in self.entries.iter().take(ENTRIES) {
            page.u64(entry.written);
            page.u64(u64::from(code(entry.condition)));
        }
        page.finish()
    }

    /// Reads page `number` with `zones` entries from slot 0 or 1.
    pub(crate) fn decode(
        page: &[u8],
        short_id: u64,
        number: u64,
        slot: usize,
        zones: usize,
    ) -> Result<Self, PageFault> {
        let mut fields = Decoder::new(page, MAGIC)?;
        if fields.u64() != short_id {
            return Err(PageFault::Image);
        }
        let sequence = read_sequence(&mut fields)?;
        if fields.u64() != number || slot_of(sequence) != slot {
            return Err(PageFault::Place);
        }
        let mut entries = Vec::with_capacity(zones);
        for _ in 0..zones.min(ENTRIES) {
            let written = fields.u64();
            let condition = condition(fields.u64()).ok_or(PageFault::Content)?;
            entries.push(SavedZone { written, condition });
        }
        if entries.len() != zones || !fields.rest_is_zero() {
            return Err(PageFault::Content);
        }
        Ok(Self { sequence, entries })
    }
}

const fn code(condition: SavedCondition) -> u8 {
    match condition {
        SavedCondition::Written => 0,
        SavedCondition::ReadOnly => 0x0D,
        SavedCondition::Full => 0x0E,
        SavedCondition::Offline => 0x0F,
    }
}

const fn condition(code: u64) -> Option<SavedCondition> {
    Some(match code {
        0 => SavedCondition::Written,
        0x0D => SavedCondition::ReadOnly,
        0x0E => SavedCondition::Full,
        0x0F => SavedCondition::Offline,
        _ => return None,
    })
}

const _: () = assert!(32 + ENTRIES * 16 + RESERVED + 4 == super::layout::PAGE_LEN);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn saved() -> impl Strategy<Value = SavedZone> {
        let condition = prop::sample::select(vec![
            SavedCondition::Written,
            SavedCondition::Full,
            SavedCondition::ReadOnly,
            SavedCondition::Offline,
        ]);
        (any::<u64>(), condition).prop_map(|(written, condition)| SavedZone { written, condition })
    }

    proptest! {
        #[test]
        fn a_page_reads_back_in_its_place_and_nowhere_else(
            sequence in 0..=u64::MAX / 2, number: u64, id: u64,
            entries in prop::collection::vec(saved(), 1..=ENTRIES),
        ) {
            let page = TablePage { sequence, entries };
            let bytes = page.encode(id, number);
            let zones = page.entries.len();
            let slot = slot_of(sequence);
            prop_assert_eq!(TablePage::decode(&bytes, id, number, slot, zones), Ok(page));
            prop_assert_eq!(TablePage::decode(&bytes, !id, number, slot, zones), Err(PageFault::Image));
            prop_assert_eq!(TablePage::decode(&bytes, id, !number, slot, zones), Err(PageFault::Place));
            prop_assert_eq!(TablePage::decode(&bytes, id, number, 1 - slot, zones), Err(PageFault::Place));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let _ = TablePage::decode(&bytes, 0, 0, 0, ENTRIES);
            bytes.splice(0..bytes.len().min(8), MAGIC.iter().copied());
            let _ = TablePage::decode(&bytes, 0, 0, 0, ENTRIES);
        }
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let page = TablePage { sequence: 4, entries: vec![SavedZone::EMPTY; 10] };
        let good = page.encode(1, 2);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(TablePage::decode(&bad, 1, 2, 0, 10).is_err(), "byte {at}");
        }
    }
}
