//! The rules in force: which of them hit a request, and what they counted.

use crate::dice::Dice;
use crate::failure::Failure;
use crate::hold::Hold;
use crate::ops::Ops;
use crate::request::Shape;
use crate::rule::{Action, Intrusion, Place, Rule, When};
use block_core::{ErrorKind, Result, ZoneCondition};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What a rule counted since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounts {
    /// Requests that the rule is for, those included that it let pass.
    pub matched: u64,
    /// How often it hit one.
    pub fired: u64,
}

/// What decides the outcome of a request.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) rule: Arc<str>,
    pub(crate) spoil: Spoil,
    pub(crate) dice: Dice,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Spoil {
    Fail(Failure, When),
    Short(Option<u64>, Failure),
    Torn(Failure),
    Corrupt(u32),
}

/// What happens to a zone before the request reaches the child.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ZoneChange {
    Intrude(Intrusion),
    Retire(ZoneCondition),
}

/// Everything that the rules have in mind for one request.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) before: Vec<Hold>,
    pub(crate) changes: Vec<(u64, ZoneChange)>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) after: Vec<Hold>,
}

#[derive(Debug)]
struct Entry {
    rule: Rule,
    name: Arc<str>,
    gate: Arc<Semaphore>,
    counts: RuleCounts,
}

#[derive(Debug, Default)]
pub(crate) struct Rules {
    entries: Mutex<Vec<Entry>>,
    /// Whether there are any: the one thing that a request asks when there are none.
    any: AtomicBool,
    /// How often any rule fired, also one that is gone.
    fired: AtomicU64,
}

impl Rules {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    pub(crate) fn add(&self, rule: Rule) -> Result<()> {
        let mut entries = self.entries();
        if entries.iter().any(|e| e.rule.name == rule.name) {
            let message = format!("there is a rule named '{}' already", rule.name);
            return Err(ErrorKind::InvalidOption(message).into());
        }
        entries.push(Entry {
            name: rule.name.as_str().into(),
            rule,
            gate: Arc::new(Semaphore::new(0)),
            counts: RuleCounts::default(),
        });
        self.any.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> Option<RuleCounts> {
        let mut entries = self.entries();
        let at = entries.iter().position(|e| e.rule.name == name)?;
        let entry = entries.remove(at);
        self.any.store(!entries.is_empty(), Ordering::Release);
        entry.gate.close();
        Some(entry.counts)
    }

    pub(crate) fn clear(&self) {
        let mut entries = self.entries();
        self.any.store(false, Ordering::Release);
        entries.drain(..).for_each(|entry| entry.gate.close());
    }

    /// Names and counts, in the order in which the rules are asked.
    pub(crate) fn counts(&self) -> Vec<(String, RuleCounts)> {
        self.entries().iter().map(|e| (e.rule.name.clone(), e.counts)).collect()
    }

    /// How many faults there were since the node was opened.
    pub(crate) fn fired(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }

    /// Asks the rules about a request, which thereby counts.
    pub(crate) fn plan(&self, shape: &Shape) -> Plan {
        let mut plan = Plan::default();
        for entry in self.entries().iter_mut() {
            let Some(dice) = entry.hits(shape) else { continue };
            self.fired.fetch_add(1, Ordering::Relaxed);
            tracing::info!(
                rule = &*entry.name, op = %shape.op, offset = shape.start, len = shape.len(),
                "fault injected"
            );
            if entry.put_into(&mut plan, shape, dice) {
                break;
            }
        }
        plan
    }
}

impl Entry {
    /// Whether this rule hits this request; if so, with the dice for all that it leaves to chance.
    fn hits(&mut self, shape: &Shape) -> Option<Dice> {
        let rule = &self.rule;
        let is_for = match rule.action {
            // Nothing else gives bytes back.
            Action::Corrupt { .. } => rule.ops & Ops::READ,
            _ => rule.ops,
        };
        if !is_for.contains(shape.op) || !is_at(&rule.place, shape) {
            return None;
        }
        self.counts.matched = self.counts.matched.saturating_add(1);
        if self.counts.matched <= rule.skip || rule.times.is_some_and(|t| self.counts.fired >= t) {
            return None;
        }
        let mut dice = Dice::of(rule.seed, &rule.name, self.counts.matched);
        if rule.probability < 1.0 && !dice.happens(rule.probability) {
            return None;
        }
        self.counts.fired = self.counts.fired.saturating_add(1);
        Some(dice)
    }

    /// Adds the rule's action to the plan; whether it decides the outcome.
    fn put_into(&self, plan: &mut Plan, shape: &Shape, mut dice: Dice) -> bool {
        let spoil = match self.rule.action {
            Action::Fail { error, when } => Spoil::Fail(error, when),
            Action::Short { bytes, error } => Spoil::Short(bytes, error),
            Action::Torn { error } => Spoil::Torn(error),
            Action::Corrupt { bits } => Spoil::Corrupt(bits),
            Action::Delay { by, jitter, when } => {
                let more = dice.below(u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX));
                plan.hold(when, Hold::For(by.saturating_add(Duration::from_nanos(more))));
                return false;
            }
            Action::Hang { when } => {
                plan.hold(when, Hold::UntilRemoved(Arc::clone(&self.gate)));
                return false;
            }
            Action::Intrude { change, zone } => {
                let zone = zone.or(shape.zone);
                plan.changes.extend(zone.map(|z| (z, ZoneChange::Intrude(change))));
                return false;
            }
            Action::Retire { condition, zone } => {
                let zone = zone.or(shape.zone);
                plan.changes.extend(zone.map(|z| (z, ZoneChange::Retire(condition))));
                return false;
            }
        };
        plan.verdict = Some(Verdict { rule: Arc::clone(&self.name), spoil, dice });
        true
    }
}

impl Plan {
    fn hold(&mut self, when: When, hold: Hold) {
        match when {
            When::Before => self.before.push(hold),
            When::After => self.after.push(hold),
        }
    }
}

fn is_at(place: &Place, shape: &Shape) -> bool {
    let touches = |range: &std::ops::Range<u64>| {
        shape.range.as_ref().is_some_and(|r| r.start < range.end && range.start < r.end)
    };
    match place {
        Place::Anywhere => true,
        Place::Bytes(range) => touches(range),
        Place::Zone(zone) => shape.zone_size.is_some_and(|size| {
            let start = zone.saturating_mul(size);
            touches(&(start..start.saturating_add(size)))
        }),
    }
}
