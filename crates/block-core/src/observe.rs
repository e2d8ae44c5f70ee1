//! A driver's call with everything that a node adds to it: counts, a span, names in errors.
//!
//! Written as a future by hand, because it lies on every request's way once for each node: the
//! result passes through in place, and a call costs two atomic additions.

use crate::error::Result;
use crate::node::Node;
use crate::stats::{OpKind, Timer};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tracing::{Level, Span};

/// A driver's answer to come: what the methods of [`BlockDriver`](crate::BlockDriver) return. Most
/// drivers have it made by `async fn`; one that only forwards a request returns the child's,
/// [`boxed`](Request::boxed), and saves a future of its own.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A request to a node, under way. Nothing happens before it is polled.
#[must_use = "nothing happens before it is awaited"]
pub struct Request<'a, T> {
    node: &'a Node,
    kind: OpKind,
    offset: u64,
    len: u64,
    call: Call<'a, T>,
    stage: Stage,
}

enum Stage {
    New,
    Begun(Timer),
    Traced(Timer, Box<Span>),
    Over,
}

impl<'a, T> Request<'a, T> {
    #[inline]
    pub(crate) fn new(
        node: &'a Node,
        kind: OpKind,
        (offset, len): (u64, u64),
        call: Call<'a, T>,
    ) -> Self {
        Self { node, kind, offset, len, call, stage: Stage::New }
    }

    /// The request as a driver returns it.
    #[inline]
    pub fn boxed(self) -> Call<'a, T>
    where
        T: Send + 'a,
    {
        Box::pin(self)
    }

    #[cold]
    fn span(&self) -> Box<Span> {
        let zone = self.node.limits().zoned.map(|z| z.zone_index(self.offset));
        Box::new(tracing::trace_span!(
            target: "block", "request",
            node = self.node.name(), op = self.kind.name(), offset = self.offset, len = self.len,
            zone, outcome = tracing::field::Empty,
        ))
    }

    #[cold]
    fn failed(&self, result: Result<T>) -> Result<T> {
        self.node.stats().of(self.kind).fail();
        let range = (self.kind != OpKind::Flush).then_some((self.offset, self.len));
        result.map_err(|error| self.node.explain(error, self.kind.name(), range))
    }
}

impl<T> Future for Request<'_, T> {
    type Output = Result<T>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = &mut *self;
        let stats = this.node.stats().of(this.kind);
        if matches!(this.stage, Stage::New) {
            let timer = stats.start();
            this.stage = match tracing::enabled!(target: "block", Level::TRACE) {
                false => Stage::Begun(timer),
                true => Stage::Traced(timer, this.span()),
            };
        }
        let result = match &this.stage {
            Stage::Traced(_, span) => span.in_scope(|| this.call.as_mut().poll(cx)),
            _ => this.call.as_mut().poll(cx),
        };
        let result = ready!(result);
        let timer = match std::mem::replace(&mut this.stage, Stage::Over) {
            Stage::Traced(timer, span) => {
                let outcome = result.as_ref().err().map_or("ok", |e| e.kind().name());
                span.record("outcome", outcome);
                timer
            }
            Stage::Begun(timer) => timer,
            Stage::New | Stage::Over => Timer::NONE,
        };
        if result.is_ok() {
            stats.finish(timer, this.len);
            return Poll::Ready(result);
        }
        Poll::Ready(this.failed(result))
    }
}

impl<T> Drop for Request<'_, T> {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Begun(_) | Stage::Traced(..)) {
            self.node.stats().of(self.kind).abandon();
        }
    }
}

impl<T> fmt::Debug for Request<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("node", &self.node.name())
            .field("kind", &self.kind)
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
