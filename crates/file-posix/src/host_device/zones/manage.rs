//! Open, close, finish and reset.
//!
//! The zones of a request are asked for first: a request that one of them refuses changes nothing,
//! and zones that are already what they are to be are left alone. Afterwards they are asked for
//! again, and that is what is known of them.

use super::device::Device;
use super::refusal;
use super::report;
use super::shape::Shape;
use crate::open_file::OpenFile;
use crate::sys;
use block_core::{Error, ErrorKind, Result, Zone, ZoneOp, ZonedLimits};
use std::ops::Range;
use std::sync::Arc;
use zone_queue::{ExclusiveZone, Sequencer};

/// Carries a management operation out, with the zones of the range to itself.
pub(super) async fn manage(queues: Sequencer<Device>, op: ZoneOp, zones: Range<u64>) -> Result<()> {
    let device = Arc::clone(queues.target());
    // Before the task, which begins whenever its runtime likes: what is asked later comes later.
    let places = queues.line_up(zones.clone())?;
    device
        .unstoppable(async move {
            let device = queues.target();
            let mut holds = Vec::with_capacity(places.len());
            for place in places {
                let hold = place.wait().await?;
                let mut state = device.track(hold.zone())?.state();
                state.touched = true;
                state.in_use = true;
                drop(state);
                holds.push(hold);
            }
            let work = Work { op, zones, shape: device.shape, limits: device.limits };
            let all = work.zones == (0..device.shape.count());
            let (result, after) = device.call(move |file| Ok(work.run(file, all))).await?;
            if let Some(after) = after {
                for (zone, hold) in after.iter().zip(holds) {
                    device.track(hold.zone())?.learn(zone);
                    ExclusiveZone::finished(hold);
                }
            }
            // Otherwise the zones are given back in doubt, and looked at before their next use.
            result
        })
        .await
}

struct Work {
    op: ZoneOp,
    zones: Range<u64>,
    shape: Shape,
    limits: ZonedLimits,
}

impl Work {
    /// Blocks. Gives the zones as they are afterwards, if that could be found out.
    fn run(&self, file: &OpenFile, all: bool) -> (Result<()>, Option<Vec<Zone>>) {
        let before = match self.report(file) {
            Ok(before) => before,
            Err(error) => return (Err(error), None),
        };
        let runs = match self.plan(&before, all) {
            Ok(runs) => runs,
            Err(refusal) => return (Err(refusal.into()), Some(before)),
        };
        if runs.is_empty() {
            return (Ok(()), Some(before));
        }
        file.durability.changed();
        let done = runs.into_iter().try_for_each(|run| {
            let len = run.end.saturating_sub(run.start);
            sys::manage_zones(file.fd(), self.op, run.start, len).map_err(Error::from)
        });
        match (done, self.report(file)) {
            (Ok(()), after) => (Ok(()), after.ok()),
            (Err(error), Ok(after)) => {
                let named =
                    refusal::of_management(&self.limits, &self.shape, self.op, &after, all, error);
                (Err(named), Some(after))
            }
            (Err(error), Err(_)) => (Err(error), None),
        }
    }

    fn report(&self, file: &OpenFile) -> Result<Vec<Zone>> {
        report::read(file, &self.shape, self.zones.clone())
    }

    /// The byte ranges to be changed.
    fn plan(&self, before: &[Zone], all: bool) -> Result<Vec<Range<u64>>, ErrorKind> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut skipped = false;
        for zone in before {
            match refusal::of_zone(&self.shape, zone) {
                Some(_) if all => {
                    skipped = true;
                    continue;
                }
                Some(refusal) => return Err(refusal),
                None => {}
            }
            if self.op == ZoneOp::Open && zone.condition == block_core::ZoneCondition::Full {
                let zone = self.shape.id(self.shape.index_of(zone.start));
                return Err(ErrorKind::ZoneFull { zone, needed: 0, remaining: 0 });
            }
            if refusal::changes(self.op, zone.condition) {
                match runs.last_mut() {
                    Some(last) if last.end == zone.start => last.end = zone.end(),
                    _ => runs.push(zone.start..zone.end()),
                }
            }
        }
        // Devices have one command that resets everything.
        if all && self.op == ZoneOp::Reset && !skipped && !runs.is_empty() {
            return Ok(std::iter::once(0..self.shape.length).collect());
        }
        Ok(runs)
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // One run is a list of one range.
mod tests {
    use super::*;
    use ZoneCondition::{Closed, Empty, ExplicitOpen, Full, NotWritePointer, Offline, ReadOnly};
    use block_core::{ZoneCondition, ZoneType, ZonedModel};

    const SIZE: u64 = 4096;

    fn plan(
        op: ZoneOp,
        all: bool,
        conditions: &[ZoneCondition],
    ) -> Result<Vec<Range<u64>>, &'static str> {
        let shape = Shape { zone_size: SIZE, length: SIZE * conditions.len() as u64 };
        let limits = ZonedLimits {
            model: ZonedModel::HostManaged,
            zone_size: SIZE,
            nr_zones: shape.count(),
            max_open_zones: 0,
            max_active_zones: 0,
            max_append_bytes: 0,
            write_granularity: 512,
        };
        let zone = |(index, condition): (u64, &ZoneCondition)| Zone {
            start: index * SIZE,
            length: SIZE,
            capacity: SIZE,
            write_pointer: None,
            zone_type: match condition {
                NotWritePointer => ZoneType::Conventional,
                _ => ZoneType::SequentialWriteRequired,
            },
            condition: *condition,
        };
        let before: Vec<Zone> = (0..).zip(conditions).map(zone).collect();
        let work = Work { op, zones: 0..shape.count(), shape, limits };
        let runs = work.plan(&before, all).map_err(|e| e.name())?;
        Ok(runs.into_iter().map(|r| r.start / SIZE..r.end / SIZE).collect())
    }

    #[test]
    fn only_zones_that_change_are_touched() {
        let zones = [Full, Empty, Closed, ExplicitOpen, Empty];
        assert_eq!(plan(ZoneOp::Reset, false, &zones), Ok(vec![0..1, 2..4]));
        assert_eq!(plan(ZoneOp::Close, false, &zones), Ok(vec![3..4]));
        assert_eq!(plan(ZoneOp::Finish, false, &zones), Ok(vec![1..5]));
        assert_eq!(plan(ZoneOp::Open, false, &zones[1..]), Ok(vec![0..2, 3..4]));
        assert_eq!(plan(ZoneOp::Open, false, &zones), Err("zone-full"));
    }

    #[test]
    fn one_zone_that_cannot_be_changed_refuses_the_range() {
        assert_eq!(plan(ZoneOp::Reset, false, &[Full, NotWritePointer]), Err("conventional-zone"));
        assert_eq!(plan(ZoneOp::Reset, false, &[Full, ReadOnly]), Err("zone-read-only"));
        assert_eq!(plan(ZoneOp::Close, false, &[Offline]), Err("zone-offline"));
    }

    #[test]
    fn everything_is_one_command_or_leaves_out_what_cannot_be_changed() {
        assert_eq!(plan(ZoneOp::Reset, true, &[Empty, Full, Empty]), Ok(vec![0..3]));
        assert_eq!(plan(ZoneOp::Reset, true, &[Empty, Empty]), Ok(vec![]));
        let mixed = [NotWritePointer, Full, ReadOnly, Closed, Offline, Closed];
        assert_eq!(plan(ZoneOp::Reset, true, &mixed), Ok(vec![1..2, 3..4, 5..6]));
        assert_eq!(plan(ZoneOp::Finish, true, &[Closed, Closed]), Ok(vec![0..2]));
    }
}
