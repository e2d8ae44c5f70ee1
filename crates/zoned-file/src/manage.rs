//! Zone management: what changes on the medium is durable before the zone changes in memory.

use crate::device::Device;
use block_core::{ErrorKind, Result, ZoneCondition, ZoneId, ZoneOp};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use zone_model::{SavedCondition, SavedZone};
use zone_queue::{ExclusiveZone, Sequencer};

/// Carries a management operation out, with the zones of the range to itself.
pub(crate) async fn manage(queues: Sequencer<Device>, op: ZoneOp, zones: Range<u64>) -> Result<()> {
    let device = Arc::clone(queues.target());
    device
        .unstoppable(async move {
            let device = queues.target();
            let holds = hold(&queues, zones.clone()).await?;
            let result = match op {
                ZoneOp::Open | ZoneOp::Close => device.model().manage(op, zones).map(drop),
                ZoneOp::Finish => return release(holds, finish(device, zones).await),
                ZoneOp::Reset => return release(holds, reset(device, zones).await),
            };
            release(holds, result.map_err(Into::into))
        })
        .await
}

/// Puts a zone into a condition by force. See [`ZonedFile::set_zone_condition`].
///
/// [`ZonedFile::set_zone_condition`]: crate::ZonedFile::set_zone_condition
pub(crate) async fn set_condition(
    queues: Sequencer<Device>,
    zone: u64,
    to: ZoneCondition,
) -> Result<()> {
    let device = Arc::clone(queues.target());
    device
        .unstoppable(async move {
            let device = queues.target();
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
            let holds = hold(&queues, zone..zone.saturating_add(1)).await?;
            let result = force(device, zone, to, saved_as).await;
            release(holds, result)
        })
        .await
}

/// Takes the sequential zones of a range, in ascending order, so that two that overlap never wait
/// for each other.
async fn hold(queues: &Sequencer<Device>, zones: Range<u64>) -> Result<Vec<ExclusiveZone<Device>>> {
    let first = zones.start.max(queues.target().geometry().conventional());
    let mut holds = Vec::new();
    for zone in first..zones.end {
        holds.push(queues.exclusive(zone).await?);
    }
    Ok(holds)
}

fn release(holds: Vec<ExclusiveZone<Device>>, result: Result<()>) -> Result<()> {
    holds.into_iter().for_each(ExclusiveZone::finished);
    result
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
    let committed = |zone: &u64| commit.table().entry(*zone) != Some(SavedZone::EMPTY);
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
    let Some(span) = device.geometry().span(zone) else {
        return Err(ErrorKind::OutOfRange { length: device.geometry().size() }.into());
    };
    if !span.zone_type.is_sequential() {
        let zone = ZoneId { index: zone, start: span.start };
        return Err(ErrorKind::ConventionalZone { zone }.into());
    }
    let written = device.model().written(zone).unwrap_or(0);
    let mut commit = device.commit().await?;
    let entry = BTreeMap::from([(zone, SavedZone { written, condition: saved_as })]);
    commit.run(entry, true).await?;
    device.model().set_condition(zone, to)?;
    device.publish(zone);
    Ok(())
}
