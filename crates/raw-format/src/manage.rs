//! Management of all zones of a window.

use crate::driver::Raw;
use block_core::{ErrorKind, Result, Zone, ZoneCondition, ZoneId, ZoneOp};

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
        for run in Zone::manageable_runs(&zones) {
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
