//! What may be there after a power cut.

use crate::ops::{Op, S};
use crate::seen::{Seen, look};
use crate::stack::{Stack, Storage};
use crate::trial::{Reference, must};
use power_cut::{PowerCutDisk, Rng};

/// Cuts at one moment; so many of the outcomes are looked at.
const CUTS: u64 = 2;

/// A disk whose power is cut now.
pub struct Crash<'a>(&'a PowerCutDisk);

/// What each zone may have become, and what of it must be there.
pub struct Timeline {
    /// For each zone.
    zones: Vec<Vec<Possible>>,
}

struct Possible {
    /// The state, if nothing is lost.
    most: Seen,
    /// What is promised of it.
    least: Seen,
}

impl Timeline {
    /// Right after the operation; `done` if it succeeded.
    pub fn new(reference: &Reference, op: &Op, done: bool) -> Self {
        let Reference { before, after, promised } = reference;
        let zones = before.iter().zip(after).zip(promised).map(|((before, after), promised)| {
            let changed = !before.is_same_as(after);
            let durable = done && (op.durable || (op.own_durable && changed));
            let least = if durable { after.clone() } else { promise(promised, after) };
            let mut possible = vec![Possible { most: after.clone(), least }];
            if !durable {
                let least = promised.clone();
                possible.push(Possible { most: before.clone(), least });
            }
            possible
        });
        Self { zones: zones.collect() }
    }

    /// Anything between a state that is promised and one that more was added to.
    pub fn between(least: &[Seen], most: &[Seen]) -> Self {
        let zones = least
            .iter()
            .zip(most)
            .map(|(least, most)| vec![Possible { most: most.clone(), least: least.clone() }]);
        Self { zones: zones.collect() }
    }

    /// Whether this is what may be seen.
    pub fn explains(&self, seen: &[Seen]) -> Result<(), String> {
        for (number, (seen, possible)) in seen.iter().zip(&self.zones).enumerate() {
            if !is_explained(seen, possible) {
                let states: Vec<_> =
                    possible.iter().map(|p| format!("{:?}\n  of {:?}", p.least, p.most)).collect();
                return Err(format!(
                    "zone {number} is\n  {seen:?}\n  which is none of\n  {}",
                    states.join("\n  ")
                ));
            }
        }
        Ok(())
    }

    /// More was written, and not flushed.
    pub fn go_on(&mut self, later: &[Seen]) {
        for (possible, later) in self.zones.iter_mut().zip(later) {
            let stands = |least: &Seen| later.data.starts_with(&least.data);
            let least = possible.iter().find(|p| stands(&p.least));
            let least = least.map_or_else(|| nothing(later), |p| p.least.clone());
            possible.push(Possible { most: later.clone(), least });
        }
    }
}

/// What of a promise still stands when the zone has become this.
fn promise(promised: &Seen, now: &Seen) -> Seen {
    if now.is_conventional() || now.data.starts_with(&promised.data) {
        promised.clone()
    } else {
        nothing(now)
    }
}

fn nothing(zone: &Seen) -> Seen {
    let zone = block_core::Zone {
        condition: block_core::ZoneCondition::Empty,
        write_pointer: Some(zone.zone.start),
        ..zone.zone
    };
    Seen { zone, data: Vec::new() }
}

impl<'a> Crash<'a> {
    pub fn of(disk: &'a PowerCutDisk) -> Self {
        Self(disk)
    }

    /// What is there of all that is promised, and nothing else.
    pub async fn durable(&self) -> Result<Vec<Seen>, String> {
        let content = self.0.durable_at(self.0.points());
        let disk = PowerCutDisk::new(content, 1);
        see(&Storage::Disk(disk)).await
    }

    /// Cuts the power, and looks whether what is there can be explained.
    pub async fn verify(&self, timeline: &Timeline) -> Result<(), String> {
        for seed in 0..CUTS {
            let content = self.0.after_cut(self.0.points(), &mut Rng::new(seed));
            let storage = Storage::Disk(PowerCutDisk::new(content, seed));
            if seed == 0 {
                find_no_loss(&storage).await?;
            }
            let seen = see(&storage).await?;
            timeline.explains(&seen)?;
        }
        Ok(())
    }
}

/// Whatever a cut leaves is no loss.
async fn find_no_loss(storage: &Storage) -> Result<(), String> {
    let report = must("checking", storage.check(false)).await?;
    match report.findings.iter().find(|f| !f.meaning.starts_with("nothing is lost")) {
        Some(loss) => Err(format!("check finds {loss:?}")),
        None => Ok(()),
    }
}

async fn see(storage: &Storage) -> Result<Vec<Seen>, String> {
    let (_, node) = Stack::ImageOnDisk.open(storage, None).await;
    let node = node.map_err(|e| format!("opening: {e}"))?;
    look(&node).await
}

fn is_explained(seen: &Seen, possible: &[Possible]) -> bool {
    if !seen.is_conventional() {
        return possible.iter().any(|p| p.explains(seen));
    }
    // Each sector is that of one of the states, whichever the others are of.
    (0..seen.data.len() / S as usize).all(|number| {
        let states = possible.iter().flat_map(|p| [&p.least, &p.most]);
        states.filter_map(|s| s.sector(number)).any(|s| Some(s) == seen.sector(number))
    })
}

impl Possible {
    fn explains(&self, seen: &Seen) -> bool {
        let full = match (self.least.is_full(), self.most.is_full()) {
            (true, _) => seen.is_full(),
            (false, true) => true,
            (false, false) => !seen.is_full(),
        };
        full && seen.data.len() >= self.least.data.len() && self.most.data.starts_with(&seen.data)
    }
}
