//! What a zoned node shows: the data and state of each zone.

use crate::ops::S;
use block_core::{IoBufMut, Node, Zone, ZoneCondition, ZoneType};
use std::fmt;

/// A zone as it was seen.
#[derive(Clone, PartialEq)]
pub struct Seen {
    pub zone: Zone,
    /// What can be read below the write pointer; of a full zone, without the zeroes at its end.
    pub data: Vec<u8>,
}

/// The condition, and the first byte of each sector.
impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.zone.condition)?;
        for sector in self.data.chunks(S as usize) {
            let mixed = sector.iter().any(|b| *b != sector[0]);
            write!(f, " {:02x}{}", sector[0], if mixed { "?" } else { "" })?;
        }
        Ok(())
    }
}

impl Seen {
    pub fn is_conventional(&self) -> bool {
        self.zone.zone_type == ZoneType::Conventional
    }

    pub fn sector(&self, number: usize) -> Option<&[u8]> {
        self.data.chunks(S as usize).nth(number)
    }

    pub fn is_full(&self) -> bool {
        self.zone.condition == ZoneCondition::Full
    }

    /// Whether data and fullness are the same, whatever is open or closed.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.data == other.data && self.is_full() == other.is_full()
    }
}

/// Looks at all zones, and that each is in order in itself.
pub async fn look(node: &Node) -> Result<Vec<Seen>, String> {
    let failed = |e: block_core::Error| format!("looking: {e}");
    let zones = node.report_zones(0, usize::MAX).await.map_err(failed)?;
    let mut seen = Vec::with_capacity(zones.len());
    for (number, zone) in zones.into_iter().enumerate() {
        let len = match zone.condition {
            // A device makes these zeroes up; what lies below them is looked at elsewhere.
            ZoneCondition::Empty => 0,
            _ => zone.length,
        };
        let bufs = IoBufMut::zeroed(len as usize).into();
        let mut data = node.read(zone.start, bufs).await.map_err(failed)?.to_vec();
        let in_order = keeps_the_rules(&zone, &mut data);
        in_order.map_err(|e| format!("zone {number}, {zone:?}: {e}"))?;
        seen.push(Seen { zone, data });
    }
    Ok(seen)
}

/// The rules between condition, pointer and content. Cuts the data at its end.
fn keeps_the_rules(zone: &Zone, data: &mut Vec<u8>) -> Result<(), String> {
    if zone.zone_type == ZoneType::Conventional {
        return Ok(());
    }
    let pointer = zone.write_pointer.ok_or("it has no pointer")?;
    let written = pointer.checked_sub(zone.start).ok_or("its pointer is below it")?;
    let right = match zone.condition {
        ZoneCondition::Empty => written == 0,
        ZoneCondition::ImplicitOpen | ZoneCondition::Closed => {
            written > 0 && written < zone.capacity
        }
        ZoneCondition::ExplicitOpen => written < zone.capacity,
        ZoneCondition::Full => written == zone.length,
        _ => false,
    };
    if !right {
        return Err("its condition and its pointer contradict each other".to_owned());
    }
    let end = match zone.condition {
        ZoneCondition::Full => data.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1),
        _ => (written as usize).min(data.len()),
    };
    let above = data.split_off(end);
    if above.iter().any(|b| *b != 0) {
        return Err("there is something above its pointer".to_owned());
    }
    Ok(())
}

/// Open and active zones of a report.
pub fn resources(seen: &[Seen]) -> (u32, u32) {
    let count = |which: fn(ZoneCondition) -> bool| {
        seen.iter().filter(|s| which(s.zone.condition)).count() as u32
    };
    (count(|c| c == ZoneCondition::ExplicitOpen), count(ZoneCondition::is_active))
}
