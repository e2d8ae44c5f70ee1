//! Management of all zones of a window.

use crate::driver::Raw;
use block_core::{ErrorKind, Result, Zone, ZoneCondition, ZoneId, ZoneOp, ZoneType};
use std::ops::Range;

impl Raw {
    /// Changes all zones of the window, as a request over a whole device does: conventional,
    /// read-only and offline zones are skipped.
    ///
    /// For the child the window is a range like any other, in which such zones are errors. So it is
    /// asked for the runs of zones between them. Each run is all or nothing; where skipped zones
    /// split the window into several, a refusal of a later one leaves the earlier ones changed.
    pub(crate) async fn manage_all(&self, op: ZoneOp) -> Result<()> {
        let zones = self.report_below(0, usize::MAX).await?;
        // The one refusal that can be seen before anything is changed.
        if op == ZoneOp::Open
            && let Some(full) = zones.iter().find(|z| z.condition == ZoneCondition::Full)
        {
            return Err(
                ErrorKind::ZoneFull { zone: self.id_below(full), needed: 0, remaining: 0 }.into()
            );
        }
        for run in runs(&zones) {
            let len = run.end.saturating_sub(run.start);
            self.child.manage_zones(op, run.start, len).await?;
        }
        Ok(())
    }

    /// The name of a zone in the child.
    fn id_below(&self, zone: &Zone) -> ZoneId {
        let zoned = self.child.limits().zoned;
        ZoneId { index: zoned.map_or(0, |z| z.zone_index(zone.start)), start: zone.start }
    }
}

/// The ranges of adjacent zones that can be managed.
fn runs(zones: &[Zone]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for zone in zones.iter().filter(|zone| is_manageable(zone)) {
        match runs.last_mut() {
            Some(run) if run.end == zone.start => run.end = zone.end(),
            _ => runs.push(zone.start..zone.end()),
        }
    }
    runs
}

fn is_manageable(zone: &Zone) -> bool {
    zone.zone_type != ZoneType::Conventional
        && !matches!(zone.condition, ZoneCondition::ReadOnly | ZoneCondition::Offline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_zones_split_the_window_into_runs() {
        use ZoneCondition::{Closed, Empty, Full, NotWritePointer, Offline, ReadOnly};
        let conditions = [NotWritePointer, Empty, Full, ReadOnly, Closed, Offline, Offline, Empty];
        let zones: Vec<_> = (0_u64..)
            .zip(conditions)
            .map(|(i, condition)| Zone {
                start: i * 100,
                length: if i == 7 { 50 } else { 100 },
                capacity: 50,
                write_pointer: None,
                zone_type: match condition {
                    NotWritePointer => ZoneType::Conventional,
                    _ => ZoneType::SequentialWriteRequired,
                },
                condition,
            })
            .collect();
        assert_eq!(runs(&zones), [100..300, 400..500, 700..750]);
        assert_eq!(runs(&zones[..1]), []);
    }
}
