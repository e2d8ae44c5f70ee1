//! Rules from code, while requests run.

use crate::carry::Shared;
use crate::rule::{Action, Intrusion, Place, Rule};
use crate::rules::RuleCounts;
use block_core::{ErrorKind, Result, ZoneCondition, ZonedLimits};
use std::sync::{Arc, Weak};

/// Adds and removes the rules of a [`FaultInject`](crate::FaultInject), and reads what they
/// counted. Clones are handles to the same filter; none keeps it alive.
#[derive(Clone, Debug)]
pub struct FaultHandle(Weak<Shared>);

impl FaultHandle {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }

    /// Adds a rule, to be asked after all that are there.
    ///
    /// # Errors
    /// `InvalidOption` for a name that is taken, a rule that can never hit anything, or one that
    /// speaks of zones over a child that has none; `Closed` if the filter is gone.
    pub fn add(&self, rule: Rule) -> Result<()> {
        let Some(shared) = self.0.upgrade() else {
            return Err(ErrorKind::Closed.into());
        };
        check(&rule, shared.child.limits().zoned.as_ref()).map_err(|message| {
            ErrorKind::InvalidOption(format!("rule '{}': {message}", rule.name))
        })?;
        shared.rules.add(rule)
    }

    /// Removes a rule and lets go of every request that hangs by it. Gives what the rule counted;
    /// `None` if there is no rule of that name.
    pub fn remove(&self, name: &str) -> Option<RuleCounts> {
        self.0.upgrade()?.rules.remove(name)
    }

    /// Removes all rules, and gives all zones back that were taken out of service.
    pub fn clear(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.rules.clear();
            shared.dead.clear();
        }
    }

    /// What a rule counted since it was added; `None` if there is no rule of that name.
    pub fn counts(&self, name: &str) -> Option<RuleCounts> {
        self.all_counts().into_iter().find(|(n, _)| n == name).map(|(_, counts)| counts)
    }

    /// All rules with what they counted, in the order in which they are asked.
    pub fn all_counts(&self) -> Vec<(String, RuleCounts)> {
        self.0.upgrade().map(|shared| shared.rules.counts()).unwrap_or_default()
    }

    /// Gives a zone back that an [`Action::Retire`] took out of service: the child's own condition
    /// counts again. Whether it was out of service.
    pub fn revive(&self, zone: u64) -> bool {
        self.0.upgrade().is_some_and(|shared| shared.dead.revive(zone))
    }
}

/// Says what is wrong with a rule.
fn check(rule: &Rule, zoned: Option<&ZonedLimits>) -> Result<(), String> {
    if rule.name.is_empty() {
        return Err("a rule needs a name".to_owned());
    }
    if rule.ops.is_empty() {
        return Err("it is for no operation".to_owned());
    }
    if !(rule.probability > 0.0 && rule.probability <= 1.0) {
        return Err(format!("a probability is above 0 and at most 1, not {}", rule.probability));
    }
    match &rule.place {
        Place::Bytes(range) if range.is_empty() => return Err("its range is empty".to_owned()),
        Place::Zone(zone) => check_zone(*zone, zoned)?,
        _ => {}
    }
    match rule.action {
        Action::Fail { error, .. } | Action::Short { error, .. } | Action::Torn { error }
            if error.is_of_zones() && zoned.is_none() =>
        {
            Err("its error is one of zones, and the node below has none".to_owned())
        }
        Action::Corrupt { bits } if bits == 0 || bits > 64 => {
            Err(format!("the number of bits is 1 to 64, not {bits}"))
        }
        Action::Intrude { change, zone } => {
            check_zone(zone.unwrap_or(0), zoned)?;
            if let Intrusion::Append(bytes) = change { check_append(bytes, zoned) } else { Ok(()) }
        }
        Action::Retire { condition, zone } => {
            if !matches!(condition, ZoneCondition::ReadOnly | ZoneCondition::Offline) {
                return Err(format!(
                    "a zone goes out of service read-only or offline, not {condition}"
                ));
            }
            check_zone(zone.unwrap_or(0), zoned)
        }
        _ => Ok(()),
    }
}

fn check_zone(zone: u64, zoned: Option<&ZonedLimits>) -> Result<(), String> {
    match zoned {
        None => Err("it speaks of zones, and the node below has none".to_owned()),
        Some(zoned) if zone >= zoned.nr_zones => Err(format!(
            "there is no zone {zone}: the zones are 0 to {}",
            zoned.nr_zones.saturating_sub(1)
        )),
        Some(_) => Ok(()),
    }
}

fn check_append(bytes: u64, zoned: Option<&ZonedLimits>) -> Result<(), String> {
    let (unit, most) = zoned.map_or((1, 0), |z| (u64::from(z.write_granularity), z.zone_size));
    if bytes == 0 || !bytes.is_multiple_of(unit.max(1)) || bytes > most {
        return Err(format!(
            "an append of {bytes:#x} bytes is not possible: give a positive multiple of {unit:#x}, \
             at most {most:#x}"
        ));
    }
    Ok(())
}
