//! One request of each kind of load.

use crate::position::Positions;
use crate::workload::{Op, Workload, invalid};
use crate::zones::ZoneRing;
use block_backend::BlockBackend;
use block_core::{ErrorKind, IoBuf, IoBufMut, Result, ZoneType};

/// What every byte is that a bench writes.
const PATTERN: u8 = 0xbe;
/// How many zones are asked for at once while conventional ones are looked for.
const REPORT_PIECE: usize = 1024;

/// What one loop keeps from request to request.
#[derive(Default)]
pub(crate) struct Worker {
    buffer: Option<IoBufMut>,
}

/// A workload made ready for a backend.
pub(crate) struct Load {
    backend: BlockBackend,
    kind: Kind,
}

enum Kind {
    Read { positions: Positions, size: usize },
    Write { positions: Positions, data: IoBuf },
    ZoneWrite { zones: ZoneRing, data: IoBuf },
    Append { zones: ZoneRing, data: IoBuf },
    Report { offset: u64, max: usize },
}

impl Load {
    /// Looks at the backend and refuses what cannot work.
    pub(crate) async fn prepare(backend: &BlockBackend, workload: &Workload) -> Result<Self> {
        let size = match usize::try_from(workload.size) {
            Ok(size) => size,
            Err(_) => return invalid(format!("a size of {} bytes is too large", workload.size)),
        };
        if workload.op.destroys_data() && backend.limits().read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        let seed = matches!(workload.op, Op::RandRead | Op::RandWrite).then_some(workload.seed);
        let region = |end| Positions::new(workload.offset, end, workload.size, seed);
        let kind = match workload.op {
            Op::Read | Op::RandRead => Kind::Read { positions: region(backend.length())?, size },
            Op::Write => match ZoneRing::for_writes(backend, workload).await? {
                Some(zones) => Kind::ZoneWrite { zones, data: data(backend, size) },
                None => {
                    Kind::Write { positions: region(backend.length())?, data: data(backend, size) }
                }
            },
            Op::RandWrite => {
                let end = end_of_random_writes(backend, workload.offset).await?;
                Kind::Write { positions: region(end)?, data: data(backend, size) }
            }
            Op::Append => {
                let zones = ZoneRing::for_appends(backend, workload).await?;
                Kind::Append { zones, data: data(backend, size) }
            }
            Op::Report => {
                if backend.zoned().is_none() {
                    return Err(ErrorKind::NotZoned.into());
                }
                let max = match workload.zones {
                    0 => usize::MAX,
                    n => usize::try_from(n).unwrap_or(usize::MAX),
                };
                Kind::Report { offset: workload.offset, max }
            }
        };
        Ok(Self { backend: backend.clone(), kind })
    }

    /// Whether requests must start in the order of their positions.
    pub(crate) fn is_ordered(&self) -> bool {
        matches!(self.kind, Kind::ZoneWrite { .. })
    }

    /// Makes the request with this number.
    pub(crate) async fn request(&self, worker: &mut Worker, number: u64) -> Result<()> {
        match &self.kind {
            Kind::Read { positions, size } => {
                let buffer = match worker.buffer.take() {
                    Some(buffer) => buffer,
                    None => self.backend.buffer(*size),
                };
                let buffer = self.backend.read_buf(positions.of(number), buffer).await?;
                worker.buffer = Some(buffer);
                Ok(())
            }
            Kind::Write { positions, data } => {
                self.backend.write(positions.of(number), data.clone()).await
            }
            Kind::ZoneWrite { zones, data } => zones.write(&self.backend, data).await,
            Kind::Append { zones, data } => zones.append(&self.backend, data, number).await,
            Kind::Report { offset, max } => {
                self.backend.report_zones(*offset, *max).await.map(drop)
            }
        }
    }

    /// Makes durable what was written.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.backend.flush().await
    }
}

/// What all writes share: its memory is never written again, so that a request copies a handle.
fn data(backend: &BlockBackend, size: usize) -> IoBuf {
    let mut buffer = backend.buffer(size);
    buffer.fill(PATTERN);
    buffer.freeze()
}

/// The end of the region behind `offset` that takes writes in any order.
async fn end_of_random_writes(backend: &BlockBackend, offset: u64) -> Result<u64> {
    if backend.zoned().is_none() {
        return Ok(backend.length());
    }
    let mut end = offset;
    loop {
        let zones = backend.report_zones(end, REPORT_PIECE).await?;
        if zones.is_empty() {
            return Ok(end);
        }
        for zone in zones {
            if zone.zone_type == ZoneType::SequentialWriteRequired {
                if end > offset {
                    return Ok(end);
                }
                return Err(ErrorKind::Unsupported(
                    "random writes to sequential zones; choose an offset in a conventional zone, \
                     or write or append in order"
                        .to_owned(),
                )
                .into());
            }
            end = zone.end();
        }
    }
}
