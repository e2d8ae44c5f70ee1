//! What a case works with: a subject and helpers around it.

use crate::outcome::{Outcome, Stop, skip};
use crate::profile::Profile;
use crate::runner::Factory;
use crate::subject::{Fresh, OpenMode, Reopen, SetCondition};
use block_core::{Limits, Node, Zone, ZoneCondition, ZoneType, ZonedLimits};
use std::any::Any;
use std::sync::Arc;

/// More than this is not written to fill a zone.
const FILL_AT_MOST: u64 = 64 << 20;

/// As many units as a case may write to a zone before it has to look at the capacity.
const ROOM: u64 = 40;

/// A subject in the hands of a case.
pub(crate) struct Cx {
    pub(crate) node: Arc<Node>,
    pub(crate) profile: Arc<Profile>,
    factory: Factory,
    reopen: Option<Reopen>,
    set_condition: Option<SetCondition>,
    keep: Vec<Arc<dyn Any + Send + Sync>>,
}

/// What happens to a node before it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is settled and closed.
    Close,
    /// It is dropped just so.
    Drop,
}

/// A part of the node where data can be written from the start on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// Whether it takes writes anywhere and again, unlike a sequential zone.
    pub(crate) rewritable: bool,
}

impl Cx {
    pub(crate) async fn fresh(profile: Arc<Profile>, factory: Factory) -> Self {
        let Fresh { node, reopen, set_condition, keep } = factory().await;
        Self { node, profile, factory, reopen, set_condition, keep }
    }

    /// How a subject like this is made in another runtime.
    pub(crate) fn recipe(&self) -> (Arc<Profile>, Factory) {
        (Arc::clone(&self.profile), Arc::clone(&self.factory))
    }

    /// Ends the node's use and opens the same storage again.
    pub(crate) async fn reopen(mut self, end: End, mode: OpenMode) -> Outcome<Self> {
        let reopen = self.reopens()?;
        if end == End::Close {
            self.node.settle().await?;
            self.node.close().await?;
        }
        // The old node has to be gone before its locks are taken again.
        let Self { profile, factory, set_condition, .. } = &self;
        let rest = (Arc::clone(profile), Arc::clone(factory), set_condition.clone());
        let keep = std::mem::take(&mut self.keep);
        drop(self);
        let node = reopen(mode).await?;
        let (profile, factory, set_condition) = rest;
        Ok(Self { node, profile, factory, reopen: Some(reopen), set_condition, keep })
    }

    /// How the storage is opened again, if it can be.
    pub(crate) fn reopens(&self) -> Outcome<Reopen> {
        match &self.reopen {
            Some(reopen) => Ok(Arc::clone(reopen)),
            None => skip("the subject cannot be opened again"),
        }
    }

    /// Makes a zone read-only or offline by force.
    pub(crate) async fn set_condition(&self, zone: &Zone, to: ZoneCondition) -> Outcome {
        let Some(set) = &self.set_condition else {
            return skip("the subject cannot make a zone read-only or offline");
        };
        let index = self.zoned()?.zone_index(zone.start);
        Ok(set(Arc::clone(&self.node), index, to).await?)
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.node.limits()
    }

    /// The zones' limits; skips the case if there are no zones.
    pub(crate) fn zoned(&self) -> Outcome<ZonedLimits> {
        match self.limits().zoned {
            Some(zoned) => Ok(zoned),
            None => skip("the node has no zones"),
        }
    }

    /// Skips the case unless the node is a regular one.
    pub(crate) fn regular(&self) -> Outcome {
        match self.limits().zoned {
            Some(_) => skip("the node has zones"),
            None => Ok(()),
        }
    }

    /// The unit of everything that a case writes, in bytes: right for guests, requests and zones.
    pub(crate) fn unit(&self) -> u64 {
        let limits = self.limits();
        let zoned = limits.zoned.map_or(1, |z| z.write_granularity);
        u64::from(limits.block_size.max(limits.request_alignment).max(zoned))
    }

    /// The length in whole units.
    pub(crate) fn usable_length(&self) -> u64 {
        self.node.length() / self.unit() * self.unit()
    }

    /// All zones.
    pub(crate) async fn zones(&self) -> Outcome<Vec<Zone>> {
        self.zoned()?;
        Ok(self.node.report_zones(0, usize::MAX).await?)
    }

    /// One zone as it is now.
    pub(crate) async fn zone(&self, start: u64) -> Outcome<Zone> {
        match self.node.report_zones(start, 1).await?.first() {
            Some(zone) if zone.start == start => Ok(*zone),
            other => Err(Stop::Failed(format!(
                "a report of one zone from {start:#x} on gives {other:?}"
            ))),
        }
    }

    /// The first `count` empty zones of full size that can be active at once.
    pub(crate) async fn empty_zones(&self, count: usize) -> Outcome<Vec<Zone>> {
        let zoned = self.zoned()?;
        let limits = [zoned.max_open_zones, zoned.max_active_zones];
        if limits.iter().any(|&l| l != 0 && (l as usize) < count) {
            return skip(format!("fewer than {count} zones may be open at once"));
        }
        self.idle_zones(count).await
    }

    /// The first `count` empty zones of full size.
    pub(crate) async fn idle_zones(&self, count: usize) -> Outcome<Vec<Zone>> {
        let size = self.zoned()?.zone_size;
        let mut zones = self.zones().await?;
        zones.retain(|z| z.condition == ZoneCondition::Empty && z.length == size);
        zones.truncate(count);
        if zones.len() < count {
            return skip(format!("fewer than {count} empty zones"));
        }
        Ok(zones)
    }

    /// The first empty zone of full size, whose capacity can be filled in a test.
    pub(crate) async fn empty_zone(&self) -> Outcome<Zone> {
        let zone = self.empty_zones(1).await?[0];
        if zone.capacity > FILL_AT_MOST {
            return skip("the zones are too large to be filled in a test");
        }
        if zone.capacity < ROOM * self.unit() {
            return skip(format!("the zones hold fewer than {ROOM} blocks"));
        }
        Ok(zone)
    }

    /// How many zones to use where several are wanted: at most four.
    pub(crate) fn several(&self) -> Outcome<usize> {
        let zoned = self.zoned()?;
        let limits = [zoned.max_open_zones, zoned.max_active_zones];
        Ok(limits.iter().filter(|l| **l != 0).fold(4, |n, &l| n.min(l as usize)))
    }

    /// The conventional zones; skips the case if there are none.
    pub(crate) async fn conventional_zones(&self) -> Outcome<Vec<Zone>> {
        let mut zones = self.zones().await?;
        zones.retain(|z| z.zone_type == ZoneType::Conventional);
        if zones.is_empty() {
            return skip("there are no conventional zones");
        }
        Ok(zones)
    }

    /// Places for `want` bytes: the whole of a regular node; of a zoned one the conventional zones
    /// and an empty sequential one.
    pub(crate) async fn areas(&self, want: u64) -> Outcome<Vec<Area>> {
        let mut areas = Vec::new();
        if self.limits().zoned.is_none() {
            areas.push(Area { start: 0, len: self.usable_length(), rewritable: true });
        } else {
            let zones = self.zones().await?;
            let conventional = zones
                .iter()
                .skip_while(|z| z.zone_type != ZoneType::Conventional)
                .take_while(|z| z.zone_type == ZoneType::Conventional);
            areas.extend(conventional.clone().next().map(|first| Area {
                start: first.start,
                len: conventional.map(|z| z.length).sum(),
                rewritable: true,
            }));
            let empty = zones.iter().find(|z| z.condition == ZoneCondition::Empty);
            areas.extend(empty.map(|zone| Area {
                start: zone.start,
                len: zone.capacity,
                rewritable: false,
            }));
        }
        areas.retain(|area| area.len >= want);
        if areas.is_empty() {
            return skip(format!("there is no place for {want:#x} bytes"));
        }
        Ok(areas)
    }

    /// A place for `want` bytes that takes writes anywhere and again.
    pub(crate) async fn rewritable(&self, want: u64) -> Outcome<Area> {
        match self.areas(want).await?.into_iter().find(|a| a.rewritable) {
            Some(area) => Ok(area),
            None => skip("the node takes no writes in any order"),
        }
    }
}
