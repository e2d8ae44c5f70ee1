//! Reading an image's metadata, copies and all.

use crate::commit::Table;
use crate::device::Device;
use crate::format::{
    ENTRIES_PER_PAGE, HEADER_COPIES, Header, HeaderFault, Layout, PAGE_LEN, PageFault, STATE_SLOTS,
    StatePage, TablePage, is_used_up,
};
use block_core::{Child, ErrorKind, IoBufMut, IoVecMut, Node, Result};
use std::sync::Arc;
use zone_model::{SavedCondition, SavedZone, ZoneModel};

/// Pages read in one piece.
const READ_PAGES: u64 = 256;

/// One page in both its slots.
pub(crate) type Slots<T> = [Result<T, PageFault>; 2];

/// Both copies of the header, as they were found.
pub(crate) type HeaderCopies = [Result<Header, HeaderFault>; 2];

/// Opens the image on a node.
///
/// For writing, everything that is there is made durable first: a process that was killed may have
/// left writes that the medium still holds in its cache. What is read here must not be lost once
/// something was built upon it.
///
/// # Errors
/// `InvalidImage`, saying what is wrong and what can be done.
pub(crate) async fn load(child: Child) -> Result<Arc<Device>> {
    if child.needs().write {
        child.flush().await?;
    }
    let header = usable_header(&read_headers(&child).await?, &child)?;
    let state = newest_state(&read_states(&child, &header).await?);
    let mut entries = Vec::new();
    let mut sequences = Vec::new();
    let mut unequal = Vec::new();
    for (number, slots) in (0..).zip(read_table(&child, &header).await?) {
        let equal = matches!(&slots, [Ok(a), Ok(b)] if a.entries == b.entries);
        if state.clean && !equal {
            tracing::warn!(
                page = number,
                "a copy of the zone table is damaged; the other one is used; run `zblk check --repair`"
            );
        }
        let Some(page) = newest(slots, |p| p.sequence) else {
            return Err(ErrorKind::InvalidImage(format!(
                "both copies of page {number} of the zone table are damaged, so where the data of \
                 zones {} to {} ends is unknown; `zblk check --repair` can make it readable",
                first_zone(number),
                first_zone(number)
                    .saturating_add(ENTRIES_PER_PAGE - 1)
                    .min(header.geometry.nr_zones().saturating_sub(1)),
            ))
            .into());
        };
        entries.extend(page.entries);
        sequences.push(page.sequence);
        unequal.push(!equal);
    }
    if child.needs().write
        && sequences.iter().chain([&state.sequence]).any(|number| is_used_up(*number))
    {
        return Err(ErrorKind::InvalidImage(
            "the sequence numbers of its pages are used up, which no image gets to by itself; open \
             it read-only and copy its data to a new image"
                .to_owned(),
        )
        .into());
    }
    let model = ZoneModel::restore(header.geometry, entries.iter().copied())?;
    if let Some(zone) = beyond_the_end(&header, &entries) {
        return Err(ErrorKind::InvalidImage(format!(
            "zone {zone} claims data behind {:#x}, where the file ends",
            header.file_length
        ))
        .into());
    }
    Ok(Device::new(child, header, model, Table::new(entries, sequences, unequal, state)))
}

/// The first zone whose data would lie behind the end of the file.
pub(crate) fn beyond_the_end(header: &Header, entries: &[SavedZone]) -> Option<u64> {
    let beyond = |zone: u64, entry: &SavedZone| {
        let start = header.geometry.span(zone).map_or(0, |span| span.start);
        let end = header.layout.data(start.saturating_add(entry.written));
        entry.written > 0 && end > header.file_length
    };
    (0..).zip(entries).find(|(zone, entry)| beyond(*zone, entry)).map(|(zone, _)| zone)
}

/// Reads both copies of the header.
pub(crate) async fn read_headers(node: &Node) -> Result<HeaderCopies> {
    let [a, b] = HEADER_COPIES;
    Ok([Header::decode(&read_page(node, a).await?), Header::decode(&read_page(node, b).await?)])
}

/// The header to go by, if there is one and the file is as long as it says.
pub(crate) fn usable_header(copies: &HeaderCopies, node: &Node) -> Result<Header> {
    let invalid = |message: String| Err(ErrorKind::InvalidImage(message).into());
    let header = match copies {
        [Ok(a), Ok(b)] if a == b => *a,
        [Ok(_), Ok(_)] => {
            return invalid("the two copies of the header are of different images".to_owned());
        }
        // A version above this program's beside a good copy is damage: an image has one version.
        [Ok(header), Err(fault)] | [Err(fault), Ok(header)] => {
            tracing::warn!(%fault, "a copy of the header is damaged; run `zblk check --repair`");
            *header
        }
        [_, Err(HeaderFault::NewerVersion(v))] | [Err(HeaderFault::NewerVersion(v)), _] => {
            return invalid(format!(
                "the image has format version {v}, which is newer than this program; update zblk"
            ));
        }
        [Err(HeaderFault::Page(PageFault::Magic)), Err(HeaderFault::Page(PageFault::Magic))] => {
            return invalid(
                "it is not the image of an emulated zoned device: the magic is missing".to_owned(),
            );
        }
        [Err(a), Err(b)] => {
            return invalid(format!(
                "both copies of the header are unusable: the first, {a}; the second, {b}"
            ));
        }
    };
    let length = node.length();
    if length < header.file_length {
        return invalid(format!(
            "the file is {length:#x} bytes long, but was made with {:#x}: its end is missing",
            header.file_length
        ));
    }
    Ok(header)
}

/// Reads the state page in both its slots.
pub(crate) async fn read_states(node: &Node, header: &Header) -> Result<Slots<StatePage>> {
    let [even, odd] = STATE_SLOTS;
    let id = header.short_id();
    Ok([
        StatePage::decode(&read_page(node, even).await?, id, 0),
        StatePage::decode(&read_page(node, odd).await?, id, 1),
    ])
}

/// The state that counts. If neither slot is valid, the image was not closed cleanly.
pub(crate) fn newest_state(slots: &Slots<StatePage>) -> StatePage {
    newest(*slots, |s| s.sequence).unwrap_or(StatePage { sequence: 0, clean: false })
}

/// Reads the zone table in both its slots, page by page.
pub(crate) async fn read_table(node: &Node, header: &Header) -> Result<Vec<Slots<TablePage>>> {
    let mut pages = Vec::new();
    let mut first = 0;
    while first < header.layout.pages {
        let count = READ_PAGES.min(header.layout.pages.saturating_sub(first));
        let even = read_run(node, &header.layout, 0, first, count).await?;
        let odd = read_run(node, &header.layout, 1, first, count).await?;
        let both = even.chunks(PAGE_LEN).zip(odd.chunks(PAGE_LEN));
        for (number, (even, odd)) in (first..).zip(both) {
            let zones = usize::try_from(zones_in(header, number)).unwrap_or(0);
            let decode =
                |page, slot| TablePage::decode(page, header.short_id(), number, slot, zones);
            pages.push([decode(even, 0), decode(odd, 1)]);
        }
        first = first.saturating_add(count);
    }
    Ok(pages)
}

async fn read_run(
    node: &Node,
    layout: &Layout,
    slot: usize,
    first: u64,
    count: u64,
) -> Result<Vec<u8>> {
    let len = usize::try_from(count).unwrap_or(0).saturating_mul(PAGE_LEN);
    read_at(node, layout.table_page(slot, first), len).await
}

async fn read_page(node: &Node, offset: u64) -> Result<Vec<u8>> {
    let whole = offset.checked_add(u64::try_from(PAGE_LEN).unwrap_or(0));
    if whole.is_none_or(|end| end > node.length()) {
        return Ok(Vec::new()); // Too short to hold the page: as good as damaged.
    }
    read_at(node, offset, PAGE_LEN).await
}

async fn read_at(node: &Node, offset: u64, len: usize) -> Result<Vec<u8>> {
    let bufs = IoVecMut::from(IoBufMut::zeroed(len));
    Ok(node.read(offset, bufs).await?.to_vec())
}

/// The valid one of two with the higher sequence number.
pub(crate) fn newest<T>(slots: Slots<T>, sequence: impl Fn(&T) -> u64) -> Option<T> {
    match slots {
        [Ok(a), Ok(b)] => Some(if sequence(&a) >= sequence(&b) { a } else { b }),
        [Ok(one), Err(_)] | [Err(_), Ok(one)] => Some(one),
        [Err(_), Err(_)] => None,
    }
}

pub(crate) const fn first_zone(page: u64) -> u64 {
    page.saturating_mul(ENTRIES_PER_PAGE)
}

/// How many zones a page of the table describes.
pub(crate) fn zones_in(header: &Header, page: u64) -> u64 {
    header.geometry.nr_zones().saturating_sub(first_zone(page)).min(ENTRIES_PER_PAGE)
}

/// Entries for zones that nothing is known of: readable as a whole, not writable.
pub(crate) fn readable_entries(header: &Header, page: u64) -> Vec<SavedZone> {
    let first = first_zone(page);
    let zones = first..first.saturating_add(zones_in(header, page));
    zones
        .map(|zone| match header.geometry.span(zone) {
            Some(span)
                if span.zone_type.is_sequential()
                    && header.layout.data(span.writable_end()) <= header.file_length =>
            {
                SavedZone { written: span.capacity, condition: SavedCondition::Full }
            }
            _ => SavedZone::EMPTY,
        })
        .collect()
}
