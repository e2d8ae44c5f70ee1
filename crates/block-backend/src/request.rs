//! The way of a request from the handle to the graph's root: through the gate, and through the line
//! of those that wait if there is a limit.

use crate::admission::{Admission, Scope};
use crate::backend::{BlockBackend, Inner};
use crate::gate::Pass;
use block_core::{Node, Request, Result, ZonedLimits};
use std::sync::Arc;

/// What a request asks for, as far as its way depends on it.
pub(crate) struct Asked {
    op: &'static str,
    range: Option<(u64, u64)>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Moves the range's bytes, which lie in one zone wherever order matters.
    Data,
    /// Changes a range without moving its bytes.
    Range,
    /// Belongs to no zone.
    Apart,
}

impl Asked {
    pub(crate) const fn data(op: &'static str, offset: u64, len: u64) -> Self {
        Self { op, range: Some((offset, len)), kind: Kind::Data }
    }

    pub(crate) const fn range(op: &'static str, offset: u64, len: u64) -> Self {
        Self { op, range: Some((offset, len)), kind: Kind::Range }
    }

    pub(crate) const fn apart(op: &'static str, range: Option<(u64, u64)>) -> Self {
        Self { op, range, kind: Kind::Apart }
    }

    /// How many bytes of memory belong to it.
    fn bytes(&self) -> u64 {
        if self.kind == Kind::Data { self.range.map_or(0, |(_, len)| len) } else { 0 }
    }

    fn scope(&self, zoned: Option<&ZonedLimits>) -> Scope {
        let zone = |at| zoned.map_or(0, |zoned| zoned.zone_index(at));
        match (self.kind, self.range) {
            (Kind::Apart, _) | (_, None) => Scope::APART,
            (Kind::Data, Some((offset, _))) => Scope::Lane(zone(offset)),
            (Kind::Range, Some((offset, len))) => {
                let last = offset.saturating_add(len).saturating_sub(1);
                match zone(offset) == zone(last) {
                    true => Scope::Lane(zone(offset)),
                    false => Scope::Wide,
                }
            }
        }
    }
}

/// Says that a request is inside the gate, wherever its work goes.
struct OwnPass(Arc<Inner>);

impl Drop for OwnPass {
    fn drop(&mut self) {
        self.0.gate.leave();
    }
}

impl BlockBackend {
    /// Sends a request that was checked to the root.
    #[expect(
        clippy::manual_async_fn,
        reason = "its future would have room for the arguments twice"
    )]
    pub(crate) fn request<T, C>(
        &self,
        asked: Asked,
        call: C,
    ) -> impl Future<Output = Result<T>> + Send
    where
        T: Send + 'static,
        C: for<'a> FnOnce(&'a Node) -> Request<'a, T> + Send + 'static,
    {
        async move {
            let pass = match self.0.gate.try_enter() {
                Some(pass) => pass,
                // In a box, so that it costs nothing where the gate is open.
                None => {
                    let entered = Box::pin(self.0.gate.enter()).await;
                    self.explain(entered, asked.op, asked.range)?
                }
            };
            match &self.0.admission {
                None => {
                    let result = call(&self.0.root).await;
                    drop(pass);
                    result
                }
                // In a box, so that nobody else pays for its size.
                Some(admission) => Box::pin(self.wait_in_line(admission, asked, pass, call)).await,
            }
        }
    }

    async fn wait_in_line<T, C>(
        &self,
        admission: &Admission,
        asked: Asked,
        pass: Pass<'_>,
        call: C,
    ) -> Result<T>
    where
        T: Send + 'static,
        C: for<'a> FnOnce(&'a Node) -> Request<'a, T> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        pass.stay();
        let own_pass = OwnPass(Arc::clone(&self.0));
        let call = Box::pin(async move { call(&inner.root).await });
        let scope = asked.scope(self.limits().zoned.as_ref());
        let result = admission.carry(scope, asked.bytes(), call, own_pass).await;
        self.explain(result, asked.op, asked.range)
    }
}
