//! Making an image.

use crate::commit::{aligned, page_of};
use crate::format::{
    ENTRIES_PER_PAGE, HEADER_COPIES, Header, Layout, PAGE_LEN, STATE_SLOTS, StatePage, TablePage,
};
use crate::load::zones_in;
use block_core::{Child, ErrorKind, IoBuf, RequestFlags, Result};
use std::collections::BTreeMap;
use zone_model::{Geometry, GeometryConfig, SavedCondition, SavedZone};

/// What an image shall be.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Sizes and limits.
    pub geometry: GeometryConfig,
    /// Numbers of sequential zones that are made read-only, for tests.
    pub read_only_zones: Vec<u64>,
    /// Numbers of sequential zones that are made offline, for tests.
    pub offline_zones: Vec<u64>,
}

impl CreateOptions {
    /// An image of this shape with all zones empty.
    pub const fn new(geometry: GeometryConfig) -> Self {
        Self { geometry, read_only_zones: Vec::new(), offline_zones: Vec::new() }
    }

    /// Checks everything that can be checked without touching a file.
    ///
    /// # Errors
    /// `InvalidOption`, saying what is impossible and why.
    pub fn validate(&self) -> Result<()> {
        self.plan().map(drop)
    }

    fn plan(&self) -> Result<(Geometry, Layout, BTreeMap<u64, SavedZone>)> {
        let geometry = Geometry::new(&self.geometry)?;
        let layout = Layout::new(&geometry)?;
        let forced = forced_entries(&geometry, self)?;
        Ok((geometry, layout, forced))
    }
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// Number of zones.
    pub nr_zones: u64,
    /// Zones at the end that lie behind the longest file that the file system takes; writes to
    /// them will fail. Usually 0.
    pub unreachable_zones: u64,
}

/// Pages written in one piece.
const WRITE_PAGES: usize = 256;
/// Zeroes are written this many bytes at a time.
const ZEROES: u64 = 1 << 20;

/// Makes an image on a node, whatever the node holds, and makes it durable.
///
/// # Errors
/// `InvalidOption` for an impossible geometry, before anything is changed; `NoSpace`, `Io`.
///
/// # Cancellation
/// A dropped future leaves either no image or the whole one.
pub async fn create(child: &Child, options: &CreateOptions) -> Result<Created> {
    let (geometry, layout, forced) = options.plan()?;
    let (first, second) = HEADER_COPIES.into();
    let page = || aligned(&[0; PAGE_LEN]);
    // From here to the end there is no valid header.
    if child.length() > 0 {
        for place in [first, second] {
            if place < child.length() {
                child.write(place, page(), RequestFlags::empty()).await?;
            }
        }
        child.flush().await?;
    }
    let file_length = set_length(child, &geometry, &layout).await?;
    let header = Header { image_id: new_id()?, geometry, layout, file_length };
    clear_metadata(child, &layout).await?;
    clear_data(child, &header).await?;
    for slot in [1, 0] {
        // The page with number 1 lies in slot 1, that with number 2 in slot 0.
        write_table(child, &header, slot, &forced).await?;
        let state = StatePage { sequence: sequence_in(slot), clean: true };
        let [even, odd] = STATE_SLOTS;
        let place = if slot == 0 { even } else { odd };
        child
            .write(place, aligned(&state.encode(header.short_id())), RequestFlags::empty())
            .await?;
    }
    child.flush().await?;
    for place in [second, first] {
        child.write(place, aligned(&header.encode()), RequestFlags::empty()).await?;
    }
    child.flush().await?;
    let missing = layout.file_length.saturating_sub(file_length);
    Ok(Created {
        nr_zones: geometry.nr_zones(),
        unreachable_zones: missing.div_ceil(geometry.zone_size()),
    })
}

const fn sequence_in(slot: usize) -> u64 {
    if slot == 0 { 2 } else { 1 }
}

fn new_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| {
        ErrorKind::Io(std::io::Error::other(format!("no random numbers for the image id: {e}")))
    })?;
    Ok(id)
}

fn forced_entries(
    geometry: &Geometry,
    options: &CreateOptions,
) -> Result<BTreeMap<u64, SavedZone>> {
    let read_only = options.read_only_zones.iter().map(|z| (*z, SavedCondition::ReadOnly));
    let offline = options.offline_zones.iter().map(|z| (*z, SavedCondition::Offline));
    let mut entries = BTreeMap::new();
    for (zone, condition) in read_only.chain(offline) {
        if !geometry.span(zone).is_some_and(|span| span.zone_type.is_sequential()) {
            return Err(ErrorKind::InvalidOption(format!(
                "zone {zone} cannot be made read-only or offline: the sequential zones are {} to {}",
                geometry.conventional(),
                geometry.nr_zones().saturating_sub(1)
            ))
            .into());
        }
        entries.insert(zone, SavedZone { written: 0, condition });
    }
    Ok(entries)
}

/// Gives the file its length: all of it, or as many zones as the file system can hold in one file.
async fn set_length(child: &Child, geometry: &Geometry, layout: &Layout) -> Result<u64> {
    let refusal = match child.resize(layout.file_length).await {
        Ok(()) => return Ok(layout.file_length),
        Err(error) => match error.kind() {
            ErrorKind::NoSpace(_) => error,
            // A node of fixed size will do if it is large enough.
            ErrorKind::Unsupported(_) if child.length() >= layout.file_length => {
                return Ok(layout.file_length);
            }
            _ => return Err(error),
        },
    };
    // How many zones fit: at least the conventional ones, which cannot refuse a write, and one.
    let length_of =
        |zones: u64| layout.data(zones.saturating_mul(geometry.zone_size()).min(geometry.size()));
    let (mut fits, mut too_many) = (geometry.conventional(), geometry.nr_zones());
    while too_many.saturating_sub(fits) > 1 {
        let middle = fits.midpoint(too_many);
        if child.resize(length_of(middle)).await.is_ok() {
            fits = middle;
        } else {
            too_many = middle;
        }
    }
    if fits == geometry.conventional() {
        return Err(refusal);
    }
    child.resize(length_of(fits)).await?;
    Ok(length_of(fits))
}

/// Writes zeroes to the whole metadata area. Its pages alone would be islands in a sparse file, and
/// a file of more than a few extents makes each write that needs new space much slower: on ext4,
/// whose inode has room for four, one of 4 KiB took 1.6 times as long.
async fn clear_metadata(child: &Child, layout: &Layout) -> Result<()> {
    let zeroes = IoBuf::zeroed(usize::try_from(ZEROES).unwrap_or(PAGE_LEN));
    let mut at = 0;
    while at < layout.data_offset {
        let len = layout.data_offset.saturating_sub(at).min(ZEROES);
        let piece = zeroes.clone().split_to(usize::try_from(len).unwrap_or(PAGE_LEN));
        child.write(at, piece.into(), RequestFlags::empty()).await?;
        at = at.saturating_add(len);
    }
    Ok(())
}

/// Conventional zones read as zeroes; the space of all others is given back.
async fn clear_data(child: &Child, header: &Header) -> Result<()> {
    let conventional = header.geometry.conventional_end();
    if conventional > 0 {
        let place = header.layout.data(0);
        child.write_zeroes(place, conventional, RequestFlags::MAY_UNMAP).await?;
    }
    let rest = header.layout.data(conventional);
    let len = header.file_length.saturating_sub(rest);
    if len > 0
        && child.limits().discard
        && let Err(error) = child.discard(rest, len).await
    {
        tracing::debug!(%error, "the space of the data area could not be given back");
    }
    Ok(())
}

async fn write_table(
    child: &Child,
    header: &Header,
    slot: usize,
    forced: &BTreeMap<u64, SavedZone>,
) -> Result<()> {
    let numbers: Vec<u64> = (0..header.layout.pages).collect();
    for run in numbers.chunks(WRITE_PAGES) {
        let mut bytes = Vec::with_capacity(run.len().saturating_mul(PAGE_LEN));
        for number in run {
            let zones = usize::try_from(zones_in(header, *number)).unwrap_or(0);
            let mut entries = vec![SavedZone::EMPTY; zones];
            for (zone, entry) in forced {
                let at = usize::try_from(zone % ENTRIES_PER_PAGE).ok();
                let here = usize::try_from(*number) == Ok(page_of(*zone));
                if let Some(place) = at.filter(|_| here).and_then(|at| entries.get_mut(at)) {
                    *place = *entry;
                }
            }
            let page = TablePage { sequence: sequence_in(slot), entries };
            bytes.extend(page.encode(header.short_id(), *number));
        }
        let place = header.layout.table_page(slot, run.first().copied().unwrap_or(0));
        child.write(place, aligned(&bytes), RequestFlags::empty()).await?;
    }
    Ok(())
}
