//! One operation, with one fault at one of its steps, and everything that must hold afterwards.

use crate::crash::{Crash, Timeline};
use crate::faults::{Caller, Fault, RULE};
use crate::ops::{Failed, GEOMETRY, Op, S, ZONE, make_dirty, prepare};
use crate::seen::{Seen, look, resources};
use crate::stack::{Stack, Storage};
use block_core::{ErrorKind, Node, RequestFlags, Result as IoResult, ZoneCondition, ZoneOp};
use fault_inject::FaultHandle;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything takes here that is not stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the zones get to where the operation finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// All in one session.
    Used,
    /// The image was closed and opened again: it is marked as clean.
    Reopened,
    /// All in one session, and all flushed: nothing but the operation asks for a commit.
    Flushed,
}

/// What the operation does when nothing fails.
pub struct Reference {
    pub before: Vec<Seen>,
    pub after: Vec<Seen>,
    /// What is durable for certain before it.
    pub promised: Vec<Seen>,
}

pub struct Subject {
    pub storage: Storage,
    pub node: Arc<Node>,
    pub faults: FaultHandle,
}

pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| format!("{what} is stuck"))
}

pub async fn must<T>(what: &str, work: impl Future<Output = IoResult<T>>) -> Result<T, String> {
    in_time(what, work).await?.map_err(|e| format!("{what}: {e}"))
}

impl Subject {
    pub async fn new(stack: Stack, setup: Setup) -> Result<Self, String> {
        let storage = must("making the image", stack.storage(7)).await?;
        let (faults, node) = stack.open(&storage, None).await;
        let mut subject = Self { storage, node: node.map_err(|e| e.to_string())?, faults };
        must("the setup", prepare(&subject.node)).await?;
        if setup == Setup::Reopened {
            must("closing", subject.node.close()).await?;
            let (faults, node) = stack.open(&subject.storage, None).await;
            subject = Self { node: node.map_err(|e| e.to_string())?, faults, ..subject };
        }
        must("the setup", make_dirty(&subject.node)).await?;
        if setup == Setup::Flushed {
            must("the setup", subject.node.flush()).await?;
        }
        Ok(subject)
    }

    fn crash(&self) -> Option<Crash<'_>> {
        match &self.storage {
            Storage::Disk(disk) => Some(Crash::of(disk)),
            Storage::File(..) => None,
        }
    }
}

impl Reference {
    pub async fn new(stack: Stack, setup: Setup, op: &Op) -> Result<Self, String> {
        let subject = Subject::new(stack, setup).await?;
        let before = look(&subject.node).await?;
        let promised = match subject.crash().filter(|_| stack.is_image()) {
            Some(crash) => crash.durable().await?,
            None => Vec::new(),
        };
        must(op.name, op.run(&subject.node)).await?;
        Ok(Self { before, after: look(&subject.node).await?, promised })
    }
}

pub struct Trial<'a> {
    pub stack: Stack,
    pub setup: Setup,
    pub op: &'a Op,
    pub fault: &'a Fault,
    pub reference: &'a Reference,
    /// Whether the next request is a flush. Otherwise more is written before.
    pub flush_first: bool,
}

impl Trial<'_> {
    /// Whether the fault happened: if not, the operation has fewer steps.
    pub async fn at_step(&self, step: u64) -> Result<bool, String> {
        let subject = Subject::new(self.stack, self.setup).await?;
        let (node, faults) = (&subject.node, &subject.faults);
        faults.add(self.fault.rule(step)).map_err(|e| e.to_string())?;
        let result = in_time(self.op.name, self.perform(node, faults)).await?;
        let counts = faults.remove(RULE).ok_or("the rule is gone")?;
        if counts.fired == 0 {
            let Some(Ok(())) = result else {
                return Err(format!("nothing was injected, and yet: {result:?}"));
            };
            return Ok(false);
        }
        if let Some(Err(error)) = &result {
            let text = error.to_string();
            if error.kind().name() != self.fault.error
                || error.node() != Some("faults")
                || !text.contains("injected by the rule 'step'")
            {
                return Err(format!("the error is another one: {error}"));
            }
        }
        must("settling", node.settle()).await?;
        let now = look(node).await?;
        self.compare(result.as_ref(), &now)?;
        let done = matches!(result, Some(Ok(())));
        let crashes = subject.crash().filter(|_| self.stack.is_image());
        let mut timeline = Timeline::new(self.reference, self.op, done);
        if let Some(crash) = &crashes {
            crash.verify(&timeline).await.map_err(|e| format!("crash after it: {e}"))?;
        }
        if self.flush_first {
            must("a flush at once", node.flush()).await?;
            if let Some(crash) = &crashes {
                let durable = crash.durable().await?;
                same(&now, &durable).map_err(|e| format!("a flush at once lost it: {e}"))?;
            }
        }
        go_on(node).await?;
        let later = look(node).await?;
        timeline.go_on(&later);
        if let Some(crash) = &crashes {
            crash.verify(&timeline).await.map_err(|e| format!("crash after the next: {e}"))?;
        }
        must("the next flush", node.flush()).await?;
        if let Some(crash) = &crashes {
            let durable = crash.durable().await?;
            same(&later, &durable).map_err(|e| format!("the next flush lost it: {e}"))?;
        }
        probe_resources(node, &later).await?;
        must("settling", node.settle()).await?;
        must("closing", node.close()).await?;
        drop(subject.node);
        let report = must("checking", subject.storage.check(false)).await?;
        if !report.findings.is_empty() || !report.clean {
            return Err(format!("after the close, a check finds {report:?}"));
        }
        let (_, node) = self.stack.open(&subject.storage, None).await;
        let node = node.map_err(|e| format!("opening again: {e}"))?;
        same(&later, &look(&node).await?).map_err(|e| format!("after the close: {e}"))?;
        must("closing again", node.close()).await?;
        Ok(true)
    }

    /// The operation's result, or `None` if it was given up.
    async fn perform(&self, node: &Node, faults: &FaultHandle) -> Option<IoResult<()>> {
        if self.fault.caller == Caller::Stays {
            return Some(self.op.run(node).await);
        }
        let hangs = async {
            while faults.counts(RULE).is_none_or(|counts| counts.fired == 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            result = self.op.run(node) => Some(result),
            () = hangs => None,
        }
    }

    /// Whether the zones are what the result says.
    fn compare(&self, result: Option<&IoResult<()>>, now: &[Seen]) -> Result<(), String> {
        let failed = match (result, self.stack.is_image()) {
            (Some(Ok(())), _) => {
                return same(&self.reference.after, now).map_err(|e| format!("it succeeded: {e}"));
            }
            (None, false) => Failed::InAnyOrder,
            // What a child has done a filter cannot undo.
            (_, false) => Failed::Between,
            (None, true) => match self.op.failed {
                Failed::Between => Failed::Between,
                _ => Failed::Either,
            },
            (Some(Err(_)), true) => self.op.failed,
        };
        let both = self.reference.before.iter().zip(&self.reference.after);
        for (number, ((before, after), now)) in both.zip(now).enumerate() {
            let right = now.is_same_as(before)
                || match failed {
                    Failed::Nothing => false,
                    Failed::Either => now.is_same_as(after),
                    Failed::Between => now.is_same_as(after) || is_between(before, after, now),
                    Failed::InAnyOrder => {
                        now.is_same_as(after)
                            || is_between(before, after, now)
                            || is_some_of(before, after, now)
                    }
                };
            if !right {
                return Err(format!(
                    "after {result:?}, zone {number} is {now:?}; it was {before:?}, and would have \
                     become {after:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Whether each sector is the old or the new one, and neither a byte less than before is there nor
/// one more than after; or some of several requests were added, in their order.
fn is_between(before: &Seen, after: &Seen, now: &Seen) -> bool {
    if let (Some(added), Some(all)) =
        (now.data.strip_prefix(&before.data[..]), after.data.strip_prefix(&before.data[..]))
    {
        let mut all = all.chunks(S as usize);
        return added.chunks(S as usize).all(|sector| all.any(|other| other == sector));
    }
    now.data.len() >= before.data.len()
        && now.data.len() <= after.data.len()
        && (0..now.data.len() / S as usize)
            .all(|n| [before.sector(n), after.sector(n)].contains(&now.sector(n)))
}

/// Whether some of several requests were added, in any order.
fn is_some_of(before: &Seen, after: &Seen, now: &Seen) -> bool {
    let added = |seen: &Seen| -> Option<Vec<Vec<u8>>> {
        let added = seen.data.strip_prefix(&before.data[..])?;
        Some(added.chunks(S as usize).map(<[u8]>::to_vec).collect())
    };
    let (Some(mut all), Some(now)) = (added(after), added(now)) else { return false };
    now.iter().all(|sector| match all.iter().position(|other| other == sector) {
        Some(at) => {
            all.swap_remove(at);
            true
        }
        None => false,
    })
}

/// Whether data and fullness of all zones are the same.
pub fn same(expected: &[Seen], now: &[Seen]) -> Result<(), String> {
    if expected.len() != now.len() {
        return Err(format!("{} zones of {}", now.len(), expected.len()));
    }
    for (number, (expected, now)) in expected.iter().zip(now).enumerate() {
        if !now.is_same_as(expected) {
            return Err(format!("zone {number} is {now:?}, and should be {expected:?}"));
        }
    }
    Ok(())
}

/// Requests to all zones that the operation may have touched: what is refused is refused for the
/// right reason, and nothing hangs.
async fn go_on(node: &Node) -> Result<(), String> {
    let conventional = node.write(6 * S, vec![0xAC; S as usize].into(), RequestFlags::empty());
    must("a write to a conventional zone", conventional).await?;
    for zone in [2, 4, 3, 9, 6, 7, 254, 5, 8] {
        if zone * ZONE >= node.length() {
            continue;
        }
        let data = vec![0xA0 | (zone as u8 & 0xF); S as usize];
        let append = node.append(zone * ZONE, data.into(), RequestFlags::empty());
        match in_time("an append", append).await? {
            Ok(_) => {}
            Err(error) => match error.kind() {
                ErrorKind::ZoneFull { .. }
                | ErrorKind::TooManyActive { .. }
                | ErrorKind::TooManyOpen { .. } => {}
                _ => return Err(format!("append to zone {zone}: {error}")),
            },
        }
    }
    Ok(())
}

/// As many zones can be opened as the report says that there is room for, and no more.
async fn probe_resources(node: &Node, seen: &[Seen]) -> Result<(), String> {
    let (explicit, active) = resources(seen);
    let room = (GEOMETRY.max_open - explicit).min(GEOMETRY.max_active - active);
    let empty = seen.iter().filter(|s| s.zone.condition == ZoneCondition::Empty);
    let mut opened = Vec::new();
    for zone in empty.take(room as usize + 1) {
        let open = node.manage_zones(ZoneOp::Open, zone.zone.start, ZONE);
        match in_time("an open", open).await? {
            Ok(()) => opened.push(zone.zone.start),
            Err(error) => match error.kind() {
                ErrorKind::TooManyActive { .. } | ErrorKind::TooManyOpen { .. } => {}
                _ => return Err(format!("an open: {error}")),
            },
        }
    }
    if opened.len() != room as usize {
        return Err(format!(
            "{explicit} zones are open explicitly and {active} active, so {room} more can be \
             opened; but {} could",
            opened.len()
        ));
    }
    for start in opened {
        must("a close", node.manage_zones(ZoneOp::Close, start, ZONE)).await?;
    }
    Ok(())
}
