//! From the kernel's descriptor of a request to a [`Request`], and from its outcome to the result.

use crate::doubt::{self, Doubts};
use block_core::{ErrorKind, IoBufMut, IoVecMut, Result, Zone};
use block_export::report::{DESCRIPTOR, linux};
use block_export::{Export, Reply, Request, SECTOR, status};
use libublk::io::UblkDev;
use libublk::sys;
use nix::sys::uio::{pread, pwrite};
use std::io;
use std::sync::Arc;

/// What the kernel asks for: `struct ublksrv_io_desc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub op: u32,
    pub flags: u32,
    /// Sectors, or zones for a report.
    pub count: u32,
    pub start_sector: u64,
}

impl Descriptor {
    /// As if the kernel had asked for a durable write, where one is asked for.
    fn with(self, durable: bool) -> Self {
        let fua = if durable { sys::UBLK_IO_F_FUA } else { 0 };
        Self { flags: self.flags | fua, ..self }
    }

    pub(crate) fn of(desc: &sys::ublksrv_io_desc) -> Self {
        Self {
            op: desc.op_flags & 0xff,
            flags: desc.op_flags & !0xff,
            count: desc.nr_sectors,
            start_sector: desc.start_sector,
        }
    }
}

/// What the kernel is told in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub tag: u16,
    /// Bytes, or a negative error number.
    pub result: i32,
    /// Where an append landed, in sectors.
    pub landed: Option<u64>,
}

/// What to do for a descriptor. Lengths are in bytes.
#[derive(Debug)]
enum Work {
    /// Data goes to the kernel.
    Read {
        offset: u64,
        len: usize,
    },
    /// Data comes from the kernel.
    Write {
        offset: u64,
        len: usize,
        fua: bool,
    },
    Append {
        zone_offset: u64,
        len: usize,
        fua: bool,
    },
    Report {
        offset: u64,
        max_zones: usize,
    },
    /// There is no data.
    Other(Request),
}

fn work(desc: Descriptor) -> Option<Work> {
    match desc.op {
        // Their position means nothing: a flush is at the last sector that can be numbered.
        sys::UBLK_IO_OP_FLUSH => return Some(Work::Other(Request::Flush)),
        sys::UBLK_IO_OP_ZONE_RESET_ALL => return Some(Work::Other(Request::ResetAll)),
        _ => {}
    }
    let offset = desc.start_sector.checked_mul(SECTOR)?;
    let bytes = u64::from(desc.count).checked_mul(SECTOR)?;
    let len = usize::try_from(bytes).ok()?;
    let fua = desc.flags & sys::UBLK_IO_F_FUA != 0;
    Some(match desc.op {
        sys::UBLK_IO_OP_READ => Work::Read { offset, len },
        sys::UBLK_IO_OP_WRITE => Work::Write { offset, len, fua },
        sys::UBLK_IO_OP_ZONE_APPEND => Work::Append { zone_offset: offset, len, fua },
        sys::UBLK_IO_OP_REPORT_ZONES => {
            Work::Report { offset, max_zones: usize::try_from(desc.count).ok()? }
        }
        sys::UBLK_IO_OP_DISCARD => Work::Other(Request::Discard { offset, len: bytes }),
        sys::UBLK_IO_OP_WRITE_ZEROES => {
            let unmap = desc.flags & sys::UBLK_IO_F_NOUNMAP == 0;
            Work::Other(Request::WriteZeroes { offset, len: bytes, unmap, fua })
        }
        sys::UBLK_IO_OP_ZONE_OPEN => Work::Other(Request::Open { offset }),
        sys::UBLK_IO_OP_ZONE_CLOSE => Work::Other(Request::Close { offset }),
        sys::UBLK_IO_OP_ZONE_FINISH => Work::Other(Request::Finish { offset }),
        sys::UBLK_IO_OP_ZONE_RESET => Work::Other(Request::Reset { offset }),
        _ => return None,
    })
}

/// Serves the requests of one queue.
pub(crate) struct Server {
    export: Export,
    data: Data,
    how: Serving,
}

/// How a device is served.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    /// Writes that an earlier server may have made.
    pub doubts: Arc<Doubts>,
    /// Every write is durable before it is answered.
    pub write_through: bool,
}

impl Server {
    pub(crate) fn new(export: Export, device: Arc<UblkDev>, queue: u16, how: Serving) -> Self {
        Self { export, data: Data { device, queue }, how }
    }

    /// Does what the kernel asks for.
    pub(crate) async fn serve(self: Arc<Self>, tag: u16, desc: Descriptor) -> Outcome {
        match self.carry_out(tag, desc).await {
            Ok((bytes, landed)) => Outcome { tag, result: bytes, landed },
            Err(error) => {
                tracing::debug!(%error, tag, ?desc, "a request failed");
                Outcome { tag, result: status::errno(&error).saturating_neg(), landed: None }
            }
        }
    }

    async fn carry_out(&self, tag: u16, desc: Descriptor) -> Result<(i32, Option<u64>)> {
        let Some(work) = work(desc.with(self.how.write_through)) else {
            let message = format!("operation {} of ublk", desc.op);
            return Err(ErrorKind::Unsupported(message).into());
        };
        if !matches!(work, Work::Read { .. } | Work::Report { .. }) {
            self.how.doubts.look(&self.export).await?;
        }
        match work {
            Work::Read { offset, len } => {
                let into = IoVecMut::from(self.export.backend().buffer(len));
                let reply = self.export.serve(Request::Read { offset, into }).await?;
                if let Reply::Read(filled) = reply {
                    self.give(tag, &filled)?;
                }
                Ok((count(len), None))
            }
            Work::Write { offset, len, fua } => {
                let data = self.take(tag, len)?.into();
                self.how.doubts.write(&self.export, offset, data, fua).await?;
                Ok((count(len), None))
            }
            Work::Append { zone_offset, len, fua } => {
                let data = self.take(tag, len)?.into();
                let reply = self.export.serve(Request::Append { zone_offset, data, fua }).await?;
                let landed = match reply {
                    Reply::Appended(position) => position.checked_div(SECTOR),
                    _ => None,
                };
                Ok((count(len), landed))
            }
            Work::Report { offset, max_zones } => {
                let reply = self.export.serve(Request::ReportZones { offset, max_zones }).await?;
                if let Reply::Zones(zones) = reply {
                    self.give(tag, &self.encode(&zones, max_zones))?;
                }
                // The kernel's buffer may be larger than these zones are: all of it is done, or
                // the rest would be asked for again.
                Ok((i32::MAX, None))
            }
            Work::Other(request) => {
                let reset = doubt::reset_by(&request);
                self.export.serve(request).await?;
                self.how.doubts.forget(&reset);
                Ok((0, None))
            }
        }
    }

    /// A report: what is behind its last zone is zeroes, which the kernel takes for its end.
    fn encode(&self, zones: &[Zone], max_zones: usize) -> IoVecMut {
        let mut buf = self.export.backend().buffer(max_zones.saturating_mul(DESCRIPTOR));
        buf.fill(0);
        if let Some(bytes) = buf.as_mut_slice() {
            for (to, zone) in bytes.chunks_exact_mut(DESCRIPTOR).zip(zones) {
                to.copy_from_slice(&linux::descriptor(zone));
            }
        }
        buf.into()
    }

    /// The data of a request of the kernel.
    fn take(&self, tag: u16, len: usize) -> Result<IoBufMut> {
        let mut buf = self.export.backend().buffer(len);
        if let Some(bytes) = buf.as_mut_slice() {
            self.data.read(tag, bytes).map_err(ErrorKind::Io)?;
        }
        self.count_copy(len);
        Ok(buf)
    }

    /// Gives the kernel the data that it asked for.
    fn give(&self, tag: u16, data: &IoVecMut) -> Result<()> {
        let mut at = 0;
        for bytes in data.segments().iter().filter_map(IoBufMut::as_slice) {
            self.data.write(tag, at, bytes).map_err(ErrorKind::Io)?;
            at = at.saturating_add(bytes.len());
        }
        self.count_copy(data.len());
        Ok(())
    }

    fn count_copy(&self, len: usize) {
        self.export.counters().count_copy(u64::try_from(len).unwrap_or(u64::MAX));
    }
}

/// The data of requests, behind `/dev/ublkcN` (`UBLK_F_USER_COPY`).
struct Data {
    device: Arc<UblkDev>,
    queue: u16,
}

impl Data {
    /// Fills `bytes` from the start of a request's data.
    fn read(&self, tag: u16, bytes: &mut [u8]) -> io::Result<()> {
        let fd = crate::sys::character_device(&self.device);
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match pread(fd, rest, position(self.queue, tag, done)?) {
                Ok(0) => return Err(short()),
                Ok(n) => done = done.saturating_add(n),
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Puts `bytes` into a request's data, from `at` on.
    fn write(&self, tag: u16, at: usize, bytes: &[u8]) -> io::Result<()> {
        let fd = crate::sys::character_device(&self.device);
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match pwrite(fd, rest, position(self.queue, tag, at.saturating_add(done))?) {
                Ok(0) => return Err(short()),
                Ok(n) => done = done.saturating_add(n),
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel's request has less data than it says")
}

/// Where a byte of a request's data lies in `/dev/ublkcN`.
fn position(queue: u16, tag: u16, at: usize) -> io::Result<i64> {
    let at = u64::try_from(at).ok().filter(|at| at >> sys::UBLK_IO_BUF_BITS == 0);
    let position = at.and_then(|at| {
        let slot = u64::from(queue) << sys::UBLK_QID_OFF | u64::from(tag) << sys::UBLK_TAG_OFF;
        i64::try_from(u64::from(sys::UBLKSRV_IO_BUF_OFFSET).checked_add(slot | at)?).ok()
    });
    position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

fn count(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(op: u32, flags: u32) -> Work {
        work(Descriptor { op, flags, count: 8, start_sector: 24 }).unwrap()
    }

    #[test]
    fn each_operation_becomes_its_request() {
        use sys as s;
        assert!(matches!(of(s::UBLK_IO_OP_READ, 0), Work::Read { offset: 12_288, len: 4096 }));
        assert!(matches!(
            of(s::UBLK_IO_OP_WRITE, 0),
            Work::Write { offset: 12_288, len: 4096, fua: false }
        ));
        assert!(matches!(
            of(s::UBLK_IO_OP_ZONE_APPEND, s::UBLK_IO_F_FUA),
            Work::Append { zone_offset: 12_288, len: 4096, fua: true }
        ));
        assert!(matches!(
            of(s::UBLK_IO_OP_REPORT_ZONES, 0),
            Work::Report { offset: 12_288, max_zones: 8 }
        ));
        let other = |op| match of(op, 0) {
            Work::Other(request) => request.kind().name(),
            work => panic!("{work:?}"),
        };
        assert_eq!(other(s::UBLK_IO_OP_FLUSH), "flush");
        assert_eq!(other(s::UBLK_IO_OP_DISCARD), "discard");
        assert_eq!(other(s::UBLK_IO_OP_ZONE_OPEN), "zone-open");
        assert_eq!(other(s::UBLK_IO_OP_ZONE_CLOSE), "zone-close");
        assert_eq!(other(s::UBLK_IO_OP_ZONE_FINISH), "zone-finish");
        assert_eq!(other(s::UBLK_IO_OP_ZONE_RESET), "zone-reset");
        assert_eq!(other(s::UBLK_IO_OP_ZONE_RESET_ALL), "zone-reset-all");
    }

    #[test]
    fn what_is_about_no_place_may_name_any() {
        let at = |op, start_sector| work(Descriptor { op, flags: 0, count: 0, start_sector });
        for place in [0, u64::MAX] {
            assert!(matches!(at(sys::UBLK_IO_OP_FLUSH, place), Some(Work::Other(Request::Flush))));
            let all = at(sys::UBLK_IO_OP_ZONE_RESET_ALL, place);
            assert!(matches!(all, Some(Work::Other(Request::ResetAll))));
        }
    }

    #[test]
    fn flags_reach_the_request() {
        assert!(matches!(
            of(sys::UBLK_IO_OP_WRITE, sys::UBLK_IO_F_FUA),
            Work::Write { fua: true, .. }
        ));
        let plain = Descriptor { op: sys::UBLK_IO_OP_WRITE, flags: 0, count: 8, start_sector: 0 };
        assert!(matches!(work(plain.with(true)), Some(Work::Write { fua: true, .. })));
        assert!(matches!(work(plain.with(false)), Some(Work::Write { fua: false, .. })));
        let zeroes = |flags| match of(sys::UBLK_IO_OP_WRITE_ZEROES, flags) {
            Work::Other(Request::WriteZeroes { offset: 12_288, len: 4096, unmap, fua }) => {
                (unmap, fua)
            }
            work => panic!("{work:?}"),
        };
        assert_eq!(zeroes(0), (true, false));
        assert_eq!(zeroes(sys::UBLK_IO_F_NOUNMAP | sys::UBLK_IO_F_FUA), (false, true));
    }

    #[test]
    fn what_cannot_be_meant_is_no_work() {
        let desc = |op, start_sector| Descriptor { op, flags: 0, count: 8, start_sector };
        assert!(work(desc(99, 0)).is_none());
        assert!(work(desc(sys::UBLK_IO_OP_WRITE_SAME, 0)).is_none());
        assert!(work(desc(sys::UBLK_IO_OP_READ, u64::MAX / 4)).is_none());
    }

    #[test]
    fn each_requests_data_has_a_place_of_its_own() {
        let base = i64::from(sys::UBLKSRV_IO_BUF_OFFSET);
        assert_eq!(position(0, 0, 0).unwrap(), base);
        assert_eq!(position(0, 1, 512).unwrap(), base + (1 << 25) + 512);
        assert_eq!(position(3, 4095, 0).unwrap(), base + (3 << 41) + (4095 << 25));
        assert!(position(0, 0, 1 << 25).is_err(), "this would be the next request's");
    }
}
