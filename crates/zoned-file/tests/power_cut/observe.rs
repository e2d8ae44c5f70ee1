//! What an opened image shows.

use crate::sectors::{SECTOR, Tag, tags};
use block_core::{IoBufMut, Node, Zone, ZoneCondition};

/// Everything that can be seen of a device.
pub struct Observed {
    pub zones: Vec<Zone>,
    /// The content of each zone.
    pub sectors: Vec<Vec<Tag>>,
}

/// Looks at everything; `thorough` reads empty zones too, of which a device makes up the zeroes.
pub async fn observe(node: &Node, thorough: bool) -> Result<Observed, String> {
    let failed = |e: block_core::Error| e.to_string();
    let zones = node.report_zones(0, usize::MAX).await.map_err(failed)?;
    let mut sectors = Vec::with_capacity(zones.len());
    for zone in &zones {
        let len = usize::try_from(zone.length).unwrap();
        if zone.condition == ZoneCondition::Empty && !thorough {
            sectors.push(vec![Tag::Zero; len / SECTOR]);
            continue;
        }
        let bytes = node.read(zone.start, IoBufMut::zeroed(len).into()).await;
        sectors.push(tags(&bytes.map_err(failed)?.into_bytes()));
    }
    Ok(Observed { zones, sectors })
}

impl Observed {
    /// Sectors from the zone's start to its pointer, where the pointer says it.
    pub fn pointer(&self, zone: usize) -> Option<u64> {
        let zone = &self.zones[zone];
        match zone.condition {
            ZoneCondition::Full => None,
            _ => Some((zone.write_pointer? - zone.start) / SECTOR as u64),
        }
    }

    pub fn capacity(&self, zone: usize) -> u64 {
        self.zones[zone].capacity / SECTOR as u64
    }
}
