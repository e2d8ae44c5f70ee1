//! Zone management: open, close, finish and reset of one zone, several, or all.

use block_core::{ErrorKind, ZoneCondition, ZoneOp};
use std::ops::Range;

use crate::geometry::ZoneSpan;
use crate::model::{Slot, ZoneModel};
use crate::resources::Resources;
use crate::write::check_usable;

impl ZoneModel {
    /// Checks a management request on the zones of `range` (zone indices; see
    /// [`Geometry::zone_range`](crate::Geometry::zone_range) for bytes), and gives those that it
    /// would change, in ascending order. Changes nothing.
    ///
    /// The request is judged as if its zones were taken one after the other in ascending order, and
    /// fails as a whole with the first refusal. If the range is the whole device, conventional,
    /// read-only and offline zones are skipped.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`]: the range is empty or reaches past the last zone. Then for each
    /// zone, in this order:
    /// - [`ErrorKind::ConventionalZone`], [`ErrorKind::ZoneOffline`], [`ErrorKind::ZoneReadOnly`];
    /// - open of a full zone: [`ErrorKind::ZoneFull`];
    /// - open of a zone that is not explicitly open, finish of an empty zone:
    ///   [`ErrorKind::TooManyActive`] if the zone is empty and no active resource is left,
    ///   [`ErrorKind::TooManyOpen`] if all zones that may be open are explicitly open.
    pub fn check_manage(&self, op: ZoneOp, range: Range<u64>) -> Result<Vec<u64>, ErrorKind> {
        let whole = range == (0..self.geometry().nr_zones());
        if range.is_empty() || range.end > self.geometry().nr_zones() {
            return Err(self.geometry().out_of_range());
        }
        let mut resources = self.resources();
        let mut changed = Vec::new();
        for index in range {
            let Some(span) = self.geometry().span(index) else {
                return Err(self.geometry().out_of_range());
            };
            let slot = match self.slot(index) {
                Some(slot) => check_usable(&span, slot).map(|()| slot),
                None => Err(ErrorKind::ConventionalZone { zone: span.id() }),
            };
            let slot = match slot {
                Ok(slot) => slot,
                Err(_) if whole => continue,
                Err(refusal) => return Err(refusal),
            };
            if self.check_zone(op, &span, slot, &mut resources)? {
                changed.push(index);
            }
        }
        Ok(changed)
    }

    /// Whether the operation changes this zone; keeps account of the resources.
    fn check_zone(
        &self,
        op: ZoneOp,
        span: &ZoneSpan,
        slot: &Slot,
        resources: &mut Resources,
    ) -> Result<bool, ErrorKind> {
        let zone = span.id();
        let from = slot.condition;
        let to = match op {
            ZoneOp::Open => ZoneCondition::ExplicitOpen,
            ZoneOp::Close if from.is_open() => slot.when_closed(),
            ZoneOp::Close => from,
            ZoneOp::Finish => ZoneCondition::Full,
            ZoneOp::Reset => ZoneCondition::Empty,
        };
        match (op, from) {
            (ZoneOp::Open, ZoneCondition::Full) => {
                return Err(ErrorKind::ZoneFull { zone, needed: 0, remaining: 0 });
            }
            (ZoneOp::Open, ZoneCondition::ExplicitOpen) => {}
            (ZoneOp::Open, _) | (ZoneOp::Finish, ZoneCondition::Empty) => {
                resources.check(&self.limits(), zone, from)?;
            }
            _ => {}
        }
        resources.turn(from, to);
        Ok(from != to)
    }

    /// Does to one zone what [`check_manage`](Self::check_manage) allowed.
    ///
    /// To be called for each zone that the check gave, in that order, with no other change of the
    /// model in between but completions of writes. Does nothing to a zone that the operation
    /// cannot change.
    pub fn apply_manage(&mut self, op: ZoneOp, index: u64) {
        let Some(slot) = self.slot(index) else {
            return;
        };
        let (condition, closed) = (slot.condition, slot.when_closed());
        let usable = condition == ZoneCondition::Empty || condition.is_active();
        match op {
            ZoneOp::Open if condition == ZoneCondition::ImplicitOpen => {
                self.turn(index, ZoneCondition::ExplicitOpen);
            }
            ZoneOp::Open if usable && !condition.is_open() => {
                self.open(index, ZoneCondition::ExplicitOpen);
            }
            ZoneOp::Close if condition.is_open() => self.turn(index, closed),
            ZoneOp::Finish if usable => self.turn(index, ZoneCondition::Full),
            ZoneOp::Reset if usable || condition == ZoneCondition::Full => self.clear(index),
            _ => {}
        }
    }

    /// Checks a management request and does it, as a whole or not at all; gives the zones that it
    /// changed. Zones that are implicitly closed to make room are not among them.
    ///
    /// # Errors
    /// Those of [`check_manage`](Self::check_manage).
    pub fn manage(&mut self, op: ZoneOp, range: Range<u64>) -> Result<Vec<u64>, ErrorKind> {
        let changed = self.check_manage(op, range)?;
        for index in &changed {
            self.apply_manage(op, *index);
        }
        Ok(changed)
    }

    /// Puts a zone into a condition by force, as a failing device would, for tests and fault
    /// injection: empty (its data is lost), full, read-only or offline, from any condition.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`] if there is no such zone, [`ErrorKind::ConventionalZone`],
    /// [`ErrorKind::InvalidOption`] for any other condition.
    pub fn set_condition(&mut self, index: u64, to: ZoneCondition) -> Result<(), ErrorKind> {
        let Some(span) = self.geometry().span(index) else {
            return Err(self.geometry().out_of_range());
        };
        let zone = span.id();
        if !span.is_sequential() {
            return Err(ErrorKind::ConventionalZone { zone });
        }
        match to {
            ZoneCondition::Empty => self.clear(index),
            ZoneCondition::Full | ZoneCondition::ReadOnly | ZoneCondition::Offline => {
                self.turn(index, to);
            }
            ZoneCondition::NotWritePointer
            | ZoneCondition::ImplicitOpen
            | ZoneCondition::ExplicitOpen
            | ZoneCondition::Closed => {
                return Err(ErrorKind::InvalidOption(format!(
                    "{zone} cannot be made {to} by force: empty, full, read-only and offline can"
                )));
            }
        }
        Ok(())
    }
}
