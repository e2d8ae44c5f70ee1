//! Zone management: what changes on the medium is durable before the zone changes in memory.

use crate::device::Device;
use block_core::{ErrorKind, Result, ZoneCondition, ZoneId, ZoneOp};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use zone_model::{SavedCondition, SavedZone};
use zone_queue::{ExclusiveZone, Sequencer, Ticket};

/// Carries a management operation out, with the zones of the range to itself.
///
/// The places in line are taken at the first poll; from then on the work is done even if the
/// caller goes away.
pub(crate) async fn manage(
    queues: &Sequencer<Device>,
    op: ZoneOp,
    zones: Range<u64>,
) -> Result<()> {
    let device = Arc::clone(queues.target());
    let places = line_up(queues, zones.clone())?;
    let work = async move {
        let holds = wait(places).await?;
        let result = match op {
            ZoneOp::Open | ZoneOp::Close => {
                device.model().manage(op, zones).map(drop).map_err(Into::into)
            }
            ZoneOp::Finish => finish(&device, zones).await,
            ZoneOp::Reset => reset(&device, zones).await,
        };
        holds.into_iter().for_each(ExclusiveZone::finished);
        result
    };
    queues.target().unstoppable(work).await
}

/// Puts a zone into a condition by force. See [`ZonedFile::set_zone_condition`].
///
/// [`ZonedFile::set_zone_condition`]: crate::ZonedFile::set_zone_condition
pub(crate) async fn set_condition(
    queues: &Sequencer<Device>,
    zone: u64,
    to: ZoneCondition,
) -> Result<()> {
    let saved_as = match to {
        ZoneCondition::ReadOnly => SavedCondition::ReadOnly,
        ZoneCondition::Offline => SavedCondition::Offline,
        other => {
            return Err(ErrorKind::InvalidOption(format!(
                "a zone cannot be made {other} by force: read-only and offline can"
            ))
            .into());
        }
    };
    let device = Arc::clone(queues.target());
    let Some(span) = device.geometry().span(zone) else {
        return Err(ErrorKind::OutOfRange { length: device.geometry().size() }.into());
    };
    if !span.zone_type.is_sequential() {
        let zone = ZoneId { index: zone, start: span.start };
        return Err(ErrorKind::ConventionalZone { zone }.into());
    }
    let places = line_up(queues, zone..zone.saturating_add(1))?;
    let work = async move {
        let holds = wait(places).await?;
        let result = force(&device, zone, to, saved_as).await;
        holds.into_iter().for_each(ExclusiveZone::finished);
        result
    };
    queues.target().unstoppable(work).await
}

/// Takes places in the lines of the sequential zones of a range.
fn line_up(queues: &Sequencer<Device>, zones: Range<u64>) -> Result<Vec<Ticket<Device>>> {
    let first = zones.start.max(queues.target().geometry().conventional());
    queues.line_up(first..zones.end.max(first))
}

async fn wait(places: Vec<Ticket<Device>>) -> Result<Vec<ExclusiveZone<Device>>> {
    let mut holds = Vec::with_capacity(places.len());
    for place in places {
        holds.push(place.wait().await?);
    }
    Ok(holds)
}

async fn finish(device: &Arc<Device>, zones: Range<u64>) -> Result<()> {
    let changed = device.model().check_manage(ZoneOp::Finish, zones)?;
    let full = |zone| {
        let written = device.model().written(zone).unwrap_or(0);
        (zone, SavedZone { written, condition: SavedCondition::Full })
    };
    let entries = changed.iter().copied().map(full).collect();
    let mut commit = device.commit().await?;
    commit.run(entries, true).await?;
    let mut model = device.model();
    changed.into_iter().for_each(|zone| model.apply_manage(ZoneOp::Finish, zone));
    Ok(())
}

async fn reset(device: &Arc<Device>, zones: Range<u64>) -> Result<()> {
    let changed = device.model().check_manage(ZoneOp::Reset, zones)?;
    let mut commit = device.commit().await?;
    let committed = |zone: &u64| !commit.table().is_empty_for_certain(*zone);
    let entries: BTreeMap<u64, SavedZone> =
        changed.iter().filter(|z| committed(z)).map(|z| (*z, SavedZone::EMPTY)).collect();
    commit.run(entries, false).await?;
    {
        let mut model = device.model();
        changed.iter().for_each(|zone| model.apply_manage(ZoneOp::Reset, *zone));
    }
    changed.iter().for_each(|zone| device.publish(*zone));
    drop(commit);
    give_back(device, &changed).await;
    Ok(())
}

/// Gives the space of empty zones back to the storage below, neighbours in one piece. That it
/// cannot be given back changes nothing for the zones.
async fn give_back(device: &Device, zones: &[u64]) {
    if !device.child.limits().discard {
        return;
    }
    let neighbours = zones.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    for run in neighbours {
        let spans = run.first().zip(run.last());
        let spans =
            spans.and_then(|(a, b)| device.geometry().span(*a).zip(device.geometry().span(*b)));
        let Some((first, last)) = spans else { continue };
        let start = device.header.layout.data(first.start);
        let end = device.header.layout.data(last.start.saturating_add(last.length));
        let len = end.min(device.header.file_length).saturating_sub(start);
        if len == 0 {
            continue;
        }
        if let Err(error) = device.child.discard(start, len).await {
            if matches!(error.kind(), ErrorKind::Unsupported(_)) {
                return;
            }
            tracing::warn!(%error, "the space of reset zones could not be given back");
        }
    }
}

async fn force(
    device: &Arc<Device>,
    zone: u64,
    to: ZoneCondition,
    saved_as: SavedCondition,
) -> Result<()> {
    let written = device.model().written(zone).unwrap_or(0);
    let mut commit = device.commit().await?;
    let entry = BTreeMap::from([(zone, SavedZone { written, condition: saved_as })]);
    commit.run(entry, true).await?;
    device.model().set_condition(zone, to)?;
    device.publish(zone);
    Ok(())
}
