//! Carrying a request out, with whatever the rules have in mind for it.

use crate::dead::DeadZones;
use crate::hold::Hold;
use crate::parts;
use crate::request::{Answer, Request};
use crate::rule::{Intrusion, When};
use crate::rules::{Plan, Rules, Spoil, Verdict, ZoneChange};
use block_core::{
    Child, Error, ErrorKind, InFlight, IoBuf, IoVecMut, RequestFlags, Result, Zone, ZoneOp,
    ZoneType,
};
use std::sync::Arc;
use tokio::runtime::Handle;

/// What requests that outlive their callers share with the node.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) child: Child,
    pub(crate) rules: Rules,
    pub(crate) dead: DeadZones,
    pub(crate) in_flight: InFlight,
}

impl Shared {
    /// Carries a request out.
    pub(crate) async fn carry(self: &Arc<Self>, request: Request) -> Result<Answer> {
        if self.rules.is_empty() && self.dead.is_empty() {
            return request.pass(&self.child).await;
        }
        let plan = self.rules.plan(&request.shape(self.child.limits().zoned.as_ref()));
        if plan.before.is_empty() {
            return self.execute(request, plan).await;
        }
        // From here on it is in the hands of the filter, whether or not the caller stays.
        let runtime = Handle::try_current().map_err(|_| {
            Error::from(ErrorKind::Unsupported(
                "holding a request back outside a tokio runtime; call it from a task of one"
                    .to_owned(),
            ))
        })?;
        let (shared, under_way) = (Arc::clone(self), self.in_flight.start());
        let task = runtime.spawn(async move {
            let result = shared.execute(request, plan).await;
            drop(under_way);
            result
        });
        task.await.unwrap_or_else(|gone| Err(std::io::Error::other(gone).into()))
    }

    async fn execute(&self, request: Request, plan: Plan) -> Result<Answer> {
        wait(plan.before).await?;
        for (zone, change) in plan.changes {
            match change {
                ZoneChange::Retire(condition) => self.dead.retire(zone, condition),
                ZoneChange::Intrude(intrusion) => self.intrude(zone, intrusion).await,
            }
        }
        let result = match plan.verdict {
            None => self.pass(request).await,
            Some(verdict) => self.spoil(request, verdict).await,
        };
        wait(plan.after).await?;
        result
    }

    /// Passes a request on, unless a zone that is out of service forbids it.
    async fn pass(&self, request: Request) -> Result<Answer> {
        let Some(zoned) = self.child.limits().zoned.filter(|_| !self.dead.is_empty()) else {
            return request.pass(&self.child).await;
        };
        if let Request::Manage { op, offset: 0, len } = request
            && len == self.child.length()
        {
            return self.manage_all(op).await.map(|()| Answer::Done);
        }
        self.dead.check(&request, &zoned)?;
        let mut answer = request.pass(&self.child).await?;
        if let Answer::Zones(zones) = &mut answer {
            self.dead.amend(zones, &zoned);
        }
        Ok(answer)
    }

    /// A request over the whole device skips zones that are out of service, of which the child
    /// does not know: it is asked for the runs of zones between them.
    async fn manage_all(&self, op: ZoneOp) -> Result<()> {
        let mut zones = self.child.report_zones(0, usize::MAX).await?;
        if let Some(zoned) = &self.child.limits().zoned {
            self.dead.amend(&mut zones, zoned);
        }
        for run in Zone::manageable_runs(&zones) {
            let len = run.end.saturating_sub(run.start);
            self.child.manage_zones(op, run.start, len).await?;
        }
        Ok(())
    }

    async fn spoil(&self, request: Request, mut verdict: Verdict) -> Result<Answer> {
        let zoned = self.child.limits().zoned;
        let (offset, len) = request.named().unwrap_or_default();
        let rule = Arc::clone(&verdict.rule);
        let fail = |failure: crate::Failure| -> Result<Answer> {
            Err(failure.kind(&rule, (offset, len), self.child.length(), zoned.as_ref()).into())
        };
        match verdict.spoil {
            Spoil::Fail(failure, When::Before) => fail(failure),
            Spoil::Fail(failure, When::After) => {
                drop(self.pass(request).await?);
                fail(failure)
            }
            Spoil::Short(bytes, failure) => {
                let unit = self.unit(&request);
                self.pass_parts(&request, [parts::first(len, bytes, unit)]).await?;
                fail(failure)
            }
            Spoil::Torn(failure) => {
                let unit = self.unit(&request);
                if self.keeps_order(&request).await? {
                    let first = parts::any_first(len, unit, &mut verdict.dice);
                    self.pass_parts(&request, [first]).await?;
                } else {
                    let some = parts::any(len, unit, &mut verdict.dice);
                    self.pass_parts(&request, some).await?;
                }
                fail(failure)
            }
            Spoil::Corrupt(bits) => {
                let mut answer = self.pass(request).await?;
                if let Answer::Bufs(bufs) = &mut answer {
                    flip(bufs, bits, &mut verdict);
                }
                Ok(answer)
            }
        }
    }

    async fn pass_parts(
        &self,
        request: &Request,
        parts: impl IntoIterator<Item = std::ops::Range<u64>> + Send,
    ) -> Result<()> {
        let parts: Vec<_> = parts.into_iter().collect();
        for part in parts.iter().filter(|part| !part.is_empty()) {
            if let Some(piece) = request.part(part) {
                drop(self.pass(piece).await?);
            }
        }
        Ok(())
    }

    /// The unit in which a request can be cut, in bytes.
    fn unit(&self, request: &Request) -> u64 {
        let limits = self.child.limits();
        match (request, &limits.zoned) {
            (Request::Manage { .. }, Some(zoned)) => zoned.zone_size,
            (_, Some(zoned)) => u64::from(zoned.write_granularity).max(1),
            (_, None) => parts::sector(limits.request_alignment),
        }
    }

    /// Whether nothing but the first part of a request can land.
    async fn keeps_order(&self, request: &Request) -> Result<bool> {
        if self.child.limits().zoned.is_none() {
            return Ok(false);
        }
        Ok(match request {
            Request::Append { .. } | Request::Manage { .. } => true,
            Request::Write { offset, .. } | Request::WriteZeroes { offset, .. } => {
                let zone = self.child.report_zones(*offset, 1).await?;
                zone.first().is_some_and(|z| z.zone_type != ZoneType::Conventional)
            }
            _ => false,
        })
    }

    /// Changes a zone of the child, which nobody above knows of.
    async fn intrude(&self, zone: u64, intrusion: Intrusion) {
        let Some(zoned) = self.child.limits().zoned else { return };
        let start = zone.saturating_mul(zoned.zone_size);
        let len = zoned.zone_size.min(self.child.length().saturating_sub(start));
        let result = match intrusion {
            Intrusion::Append(bytes) => {
                let zeroes = IoBuf::zeroed(usize::try_from(bytes).unwrap_or(0));
                let append = self.child.append(start, zeroes.into(), RequestFlags::empty());
                append.await.map(drop)
            }
            Intrusion::Finish => self.child.manage_zones(ZoneOp::Finish, start, len).await,
            Intrusion::Reset => self.child.manage_zones(ZoneOp::Reset, start, len).await,
        };
        if let Err(error) = result {
            tracing::warn!(zone, %error, "the zone could not be changed behind the user's back");
        }
    }
}

async fn wait(holds: Vec<Hold>) -> Result<()> {
    for hold in holds {
        hold.wait().await?;
    }
    Ok(())
}

fn flip(bufs: &mut IoVecMut, bits: u32, verdict: &mut Verdict) {
    let mut bytes = bufs.to_vec();
    let all = u64::try_from(bytes.len()).unwrap_or(0).saturating_mul(8);
    let mut places = std::collections::BTreeSet::new();
    // Different ones, because a bit that is flipped twice is as it was.
    while u64::try_from(places.len()).is_ok_and(|n| n < u64::from(bits).min(all)) {
        places.insert(verdict.dice.below(all));
    }
    for place in places {
        if let Some(byte) = bytes.get_mut(usize::try_from(place / 8).unwrap_or(usize::MAX)) {
            *byte ^= 1 << (place % 8);
        }
    }
    bufs.copy_from_slice(&bytes);
}
