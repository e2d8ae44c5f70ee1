//! An image from one opening to the next: requests go in, and the log fills.

use crate::common;
use crate::log::{Log, Outcome, What};
use crate::observe::{Observed, observe};
use crate::oracle::{History, Known};
use crate::sectors::{SECTOR, data};
use crate::steps::Step;
use block_core::{Error, ErrorKind, IoBufMut, Node, RequestFlags, ZoneOp};
use power_cut::PowerCutDisk;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use zone_model::Geometry;

const S: u64 = SECTOR as u64;

/// An open image.
#[derive(Clone)]
pub struct Session {
    pub disk: PowerCutDisk,
    pub node: Arc<Node>,
    pub log: Log,
    /// The point from which on this session counts.
    pub since: usize,
    pub geometry: Geometry,
    /// A request may end with the runtime that carries it.
    pub mortal: bool,
}

impl Session {
    /// Opens the image on a disk.
    pub async fn open(disk: &PowerCutDisk, geometry: Geometry, id: u32) -> Result<Self, String> {
        let node = common::open(disk, false).await.map_err(|e| format!("open: {e}"))?;
        Ok(Self {
            disk: disk.clone(),
            node,
            log: Log::starting_at(id),
            since: disk.points(),
            geometry,
            mortal: false,
        })
    }

    pub async fn observe(&self, thorough: bool) -> Result<Observed, String> {
        observe(&self.node, thorough).await
    }

    /// What this session knew and asked.
    pub fn history(&self, base: Vec<Known>) -> History {
        History::new(base, self.log.entries(), self.log.first_id)
    }

    /// Carries a step out. Only an answer that no device may give is an error.
    pub async fn perform(&self, step: &Step) -> Result<(), String> {
        match step {
            Step::Together(steps) => self.together(steps).await,
            Step::Cancel(step, polls) => {
                let mut request = pin!(Box::pin(self.perform(step)));
                for _ in 0..*polls {
                    let polled = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx)));
                    if let Poll::Ready(result) = polled.await {
                        return result;
                    }
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Step::Append { zone, len, fua } => self.append(*zone, *len, *fua).await,
            Step::Write { zone, len, fua } => self.write(*zone, *len, false, *fua).await,
            Step::Zeroes { zone, len, fua } => self.write(*zone, *len, true, *fua).await,
            Step::Conventional { at, len, zeroes, fua } => {
                self.conventional(*at, *len, *zeroes, *fua).await
            }
            Step::Flush => {
                self.request(What::Flush, async |_| self.node.flush().await.map(|()| None)).await
            }
            Step::Manage(op, zones) => self.manage(*op, zones.clone()).await,
            Step::Read => {
                self.request(What::Other("read"), async |_| {
                    let len = self.node.length() as usize;
                    self.node.read(0, IoBufMut::zeroed(len).into()).await?;
                    Ok(None)
                })
                .await
            }
            Step::Settle => {
                let settle = async |_| self.node.settle().await.map(|()| None);
                self.request(What::Other("settle"), settle).await
            }
        }
    }

    async fn together(&self, steps: &[Step]) -> Result<(), String> {
        let mut requests: Vec<_> = steps.iter().map(|s| Box::pin(self.perform(s))).collect();
        let mut result = Ok(());
        poll_fn(|cx| {
            requests.retain_mut(|request| match request.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(error) => {
                    result = error;
                    false
                }
                Poll::Pending => true,
            });
            if requests.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        result
    }

    /// Does steps at the same time until the journal has grown by so many events, then stops in
    /// the middle.
    pub async fn some_of(&self, steps: &[Step], events: usize) -> Result<(), String> {
        let until = self.disk.points() + events;
        let mut work = pin!(self.together(steps));
        for _ in 0..300 {
            let polled = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
            if let Poll::Ready(result) = polled {
                return result;
            }
            if self.disk.points() >= until {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn append(&self, zone: usize, len: u64, fua: bool) -> Result<(), String> {
        let what = What::Write { zone, at: None, len, zeroes: false, fua };
        let start = self.start(zone);
        self.request(what, async |id| {
            let bufs = data(id, len).into();
            let position = self.node.append(start, bufs, flags(fua)).await?;
            Ok(Some((position - start) / S))
        })
        .await
    }

    /// A write at the pointer, wherever it stands.
    async fn write(&self, zone: usize, len: u64, zeroes: bool, fua: bool) -> Result<(), String> {
        let start = self.start(zone);
        let report = self.node.report_zones(start, 1).await;
        let report = report.map_err(|e| e.to_string())?;
        let Some(pointer) = report.first().and_then(|z| z.write_pointer) else {
            return Ok(());
        };
        // A backend would refuse what reaches past the end of the device.
        if pointer >= report[0].end() || pointer + len * S > self.node.length() {
            return Ok(());
        }
        let what = What::Write { zone, at: Some((pointer - start) / S), len, zeroes, fua };
        self.request(what, async |id| {
            self.write_at(pointer, len, zeroes, fua, id).await?;
            Ok(Some((pointer - start) / S))
        })
        .await
    }

    async fn conventional(&self, at: u64, len: u64, zeroes: bool, fua: bool) -> Result<(), String> {
        let what = What::Conventional { at, len, zeroes, fua };
        let write = async |id| self.write_at(at * S, len, zeroes, fua, id).await.map(|()| None);
        self.request(what, write).await
    }

    async fn write_at(
        &self,
        offset: u64,
        len: u64,
        zeroes: bool,
        fua: bool,
        id: u32,
    ) -> Result<(), Error> {
        if zeroes {
            let flags = flags(fua) | RequestFlags::MAY_UNMAP;
            self.node.write_zeroes(offset, len * S, flags).await
        } else {
            self.node.write(offset, data(id, len).into(), flags(fua)).await
        }
    }

    async fn manage(&self, op: ZoneOp, zones: Range<usize>) -> Result<(), String> {
        let what = match op {
            ZoneOp::Open => What::Other("open"),
            ZoneOp::Close => What::Other("close"),
            ZoneOp::Finish => What::Finish(zones.clone()),
            ZoneOp::Reset => What::Reset(zones.clone()),
        };
        let start = self.start(zones.start);
        let end = self.start(zones.end).min(self.node.length());
        let manage = async |_| self.node.manage_zones(op, start, end - start).await.map(|()| None);
        self.request(what, manage).await
    }

    fn start(&self, zone: usize) -> u64 {
        zone as u64 * self.geometry.zone_size()
    }

    async fn request(
        &self,
        what: What,
        call: impl AsyncFnOnce(u32) -> Result<Option<u64>, Error>,
    ) -> Result<(), String> {
        let id = self.log.begin(what.clone(), self.disk.points());
        let outcome = match call(id).await {
            Ok(position) => Outcome::Done(position),
            Err(error) => match error.kind() {
                ErrorKind::ZoneFull { .. }
                | ErrorKind::ZoneBoundary { .. }
                | ErrorKind::WritePointerMismatch { .. }
                | ErrorKind::TooManyActive { .. }
                | ErrorKind::TooManyOpen { .. }
                | ErrorKind::ZoneReadOnly { .. } => Outcome::Refused(error.kind().name()),
                ErrorKind::Io(_) if self.mortal => return Ok(()),
                _ => return Err(format!("{what:?}: {error}")),
            },
        };
        self.log.end(id, outcome, self.disk.points());
        Ok(())
    }
}

fn flags(fua: bool) -> RequestFlags {
    if fua { RequestFlags::FUA } else { RequestFlags::empty() }
}
