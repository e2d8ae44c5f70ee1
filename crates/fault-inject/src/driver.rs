//! The node: every request goes the same way.

use crate::carry::Shared;
use crate::handle::FaultHandle;
use crate::request::Request;
use async_trait::async_trait;
use block_core::{
    BlockDriver, Child, Counter, InFlight, IoVec, IoVecMut, Limits, RequestFlags, Result,
    ZonedDriver,
};
use std::sync::Arc;

pub(crate) const NAME: &str = "fault-inject";

/// A filter that makes its child fail by rules.
#[derive(Debug)]
pub struct FaultInject {
    pub(crate) shared: Arc<Shared>,
}

impl FaultInject {
    /// A filter without rules over `child`, and the handle that gives it some. A child that was
    /// attached without the right to write makes the node read-only.
    pub fn new(child: Child) -> (Self, FaultHandle) {
        let shared = Arc::new(Shared {
            child,
            rules: Default::default(),
            dead: Default::default(),
            in_flight: InFlight::default(),
        });
        let handle = FaultHandle::new(&shared);
        (Self { shared }, handle)
    }

    /// Another handle to the rules.
    pub fn handle(&self) -> FaultHandle {
        FaultHandle::new(&self.shared)
    }

    async fn done(&self, request: Request) -> Result<()> {
        self.shared.carry(request).await.map(drop)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlockDriver for FaultInject {
    fn driver_name(&self) -> &'static str {
        NAME
    }

    fn limits(&self) -> Limits {
        let mut limits = *self.shared.child.limits();
        limits.read_only |= !self.shared.child.needs().write;
        limits
    }

    fn length(&self) -> u64 {
        self.shared.child.length()
    }

    fn children(&self) -> Vec<&Child> {
        vec![&self.shared.child]
    }

    fn counters(&self) -> Vec<Counter> {
        vec![Counter { name: "faults_injected", value: self.shared.rules.fired() }]
    }

    fn zoned(&self) -> Option<&dyn ZonedDriver> {
        self.shared.child.limits().zoned.is_some().then_some(self)
    }

    async fn read(&self, offset: u64, bufs: IoVecMut) -> Result<IoVecMut> {
        self.shared.carry(Request::Read { offset, bufs }).await?.bufs()
    }

    async fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Result<()> {
        self.done(Request::Write { offset, bufs, flags }).await
    }

    async fn flush(&self) -> Result<()> {
        self.done(Request::Flush).await
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.done(Request::Discard { offset, len }).await
    }

    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        self.done(Request::WriteZeroes { offset, len, flags }).await
    }

    async fn resize(&self, length: u64) -> Result<()> {
        self.done(Request::Resize { length }).await
    }

    async fn refresh(&self) -> Result<()> {
        // It changes nothing that a rule could spoil.
        self.shared.child.refresh().await
    }

    async fn settle(&self) -> Result<()> {
        self.shared.in_flight.settle().await;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        for (rule, counts) in self.shared.rules.counts() {
            tracing::info!(rule, counts.matched, counts.fired, "faults injected");
        }
        Ok(())
    }
}

impl Drop for FaultInject {
    fn drop(&mut self) {
        // Requests that hang hold the child: without this nobody would ever let them go.
        self.shared.rules.clear();
    }
}
