//! The zoned half.

use crate::driver::FaultInject;
use crate::request::Request;
use async_trait::async_trait;
use block_core::{IoVec, RequestFlags, Result, Zone, ZoneOp, ZonedDriver};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ZonedDriver for FaultInject {
    async fn report_zones(&self, offset: u64, max: usize) -> Result<Vec<Zone>> {
        self.shared.carry(Request::Report { offset, max }).await?.zones()
    }

    async fn manage_zones(&self, op: ZoneOp, offset: u64, len: u64) -> Result<()> {
        self.shared.carry(Request::Manage { op, offset, len }).await.map(drop)
    }

    async fn append(&self, zone_start: u64, bufs: IoVec, flags: RequestFlags) -> Result<u64> {
        self.shared.carry(Request::Append { zone_start, bufs, flags }).await?.position()
    }
}
