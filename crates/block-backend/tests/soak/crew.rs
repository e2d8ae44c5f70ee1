//! The tasks: each does whatever comes up, and compares what it hears with the ledger.

use crate::ledger::{Landed, Ledger};
use crate::record::{BLOCK, Id, record};
use block_backend::{BlockBackend, Error, ErrorKind, RequestFlags, Result as IoResult, ZoneOp};
use power_cut::Rng;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How often what happened.
pub type Counts = BTreeMap<&'static str, u64>;

pub struct Member {
    pub disk: BlockBackend,
    pub ledger: Arc<Ledger>,
    pub task: u64,
    pub rng: Rng,
    pub counts: Counts,
    pub zone_size: u64,
    pub zones: u64,
    next: u64,
}

impl Member {
    pub fn new(disk: &BlockBackend, ledger: &Arc<Ledger>, task: u64, rng: Rng) -> Self {
        let zoned = disk.limits().zoned.unwrap();
        Self {
            disk: disk.clone(),
            ledger: Arc::clone(ledger),
            task,
            rng,
            counts: Counts::new(),
            zone_size: zoned.zone_size,
            zones: zoned.nr_zones,
            next: 0,
        }
    }

    pub async fn work(mut self, until: Instant) -> Result<Counts, String> {
        while Instant::now() < until {
            self.one().await.map_err(|e| format!("task {}: {e}", self.task))?;
        }
        Ok(self.counts)
    }

    async fn one(&mut self) -> Result<(), String> {
        let zone = self.rng.below(self.zones);
        // Rare, because everybody waits for it.
        if self.rng.chance(1, 1000) {
            return self.drain().await;
        }
        match self.rng.below(100) {
            0..55 => self.append(zone).await,
            55..63 => self.write(zone).await,
            63..86 => self.read(zone).await,
            86..92 => {
                let flush = async { self.disk.flush().await };
                let result = given_up(&mut self.rng.fork(), flush).await;
                self.heard("flushes", result).map(drop)
            }
            _ => self.manage(zone).await,
        }
    }

    async fn drain(&mut self) -> Result<(), String> {
        let guard = self.disk.drain().await.map_err(|e| e.to_string())?;
        tokio::task::yield_now().await;
        drop(guard);
        self.count("drains");
        Ok(())
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Counts what became of a request. An error must be one that was injected, or what a zone may
    /// refuse.
    fn heard<T>(
        &mut self,
        what: &'static str,
        result: Option<IoResult<T>>,
    ) -> Result<Option<T>, String> {
        match result {
            None => self.count("given up"),
            Some(Ok(value)) => {
                self.count(what);
                return Ok(Some(value));
            }
            Some(Err(error)) if is_refusal(&error) => self.count("refused"),
            Some(Err(error)) if is_injected(&error) => self.count("failed by injection"),
            Some(Err(error)) => return Err(format!("{what}: {error}")),
        }
        Ok(None)
    }

    fn id(&mut self, zone: u64) -> Id {
        self.next += 1;
        let generation = self.ledger.generation(zone as usize);
        Id { generation, task: self.task, number: self.next }
    }

    async fn append(&mut self, zone: u64) -> Result<(), String> {
        let ledger = Arc::clone(&self.ledger);
        let _shared = ledger.locks[zone as usize].read().await;
        let (id, count) = (self.id(zone), 1 + self.rng.below(3));
        let fua = self.rng.chance(1, 10);
        let flags = if fua { RequestFlags::FUA } else { RequestFlags::empty() };
        let append = self.disk.append_with(zone * self.zone_size, record(id, count), flags);
        ledger.note(zone as usize, format!("append of {id:?} begins"));
        let result = given_up(&mut self.rng.fork(), append).await;
        ledger.note(zone as usize, format!("append of {id:?}, {count}: {}", outcome(&result)));
        if let Some(position) = self.heard("appends", result)? {
            ledger.landed(zone as usize, Landed { position, id, count })?;
        }
        Ok(())
    }

    /// A write at the pointer, which another may move first.
    async fn write(&mut self, zone: u64) -> Result<(), String> {
        let ledger = Arc::clone(&self.ledger);
        let _shared = ledger.locks[zone as usize].read().await;
        let report = self.disk.report_zones(zone * self.zone_size, 1).await;
        let seen = report.map_err(|e| e.to_string())?[0];
        // Behind a full zone begins the next one, which is not this task's to write.
        let Some(position) = seen.write_pointer.filter(|p| *p < seen.writable_end()) else {
            return Ok(());
        };
        let (id, count) = (self.id(zone), 1 + self.rng.below(2));
        let write = self.disk.write(position, record(id, count));
        let result = given_up(&mut self.rng.fork(), write).await;
        let outcome = outcome(&result);
        ledger
            .note(zone as usize, format!("write of {id:?}, {count}, at {position:#x}: {outcome}"));
        if self.heard("writes", result)?.is_some() {
            ledger.landed(zone as usize, Landed { position, id, count })?;
        }
        Ok(())
    }

    async fn read(&mut self, zone: u64) -> Result<(), String> {
        let ledger = Arc::clone(&self.ledger);
        let _shared = ledger.locks[zone as usize].read().await;
        let Some(landed) = ledger.any(zone as usize, self.rng.next()) else {
            return Ok(());
        };
        let read = self.disk.read(landed.position, landed.count as usize * BLOCK);
        let result = given_up(&mut self.rng.fork(), read).await;
        match self.heard("reads", result)? {
            Some(bytes) if bytes != record(landed.id, landed.count) => {
                Err(format!("{landed:?} is not what is read"))
            }
            _ => Ok(()),
        }
    }

    async fn manage(&mut self, zone: u64) -> Result<(), String> {
        let op = match self.rng.below(10) {
            0..6 => ZoneOp::Reset,
            6..8 => ZoneOp::Finish,
            8 => ZoneOp::Open,
            _ => ZoneOp::Close,
        };
        let ledger = Arc::clone(&self.ledger);
        let _alone = ledger.locks[zone as usize].write().await;
        let disk = self.disk.clone();
        let start = zone * self.zone_size;
        let manage = async {
            match op {
                ZoneOp::Open => disk.open_zones(start, self.zone_size).await,
                ZoneOp::Close => disk.close_zones(start, self.zone_size).await,
                ZoneOp::Finish => disk.finish_zones(start, self.zone_size).await,
                ZoneOp::Reset => disk.reset_zones(start, self.zone_size).await,
            }
        };
        ledger.note(zone as usize, format!("{op} begins"));
        let result = given_up(&mut self.rng.fork(), manage).await;
        ledger.note(zone as usize, format!("{op}: {}", outcome(&result)));
        let unknown = result.is_none();
        let done = self.heard(op.name(), result)?.is_some();
        if op != ZoneOp::Reset {
            return Ok(());
        }
        // Nobody else may write here now, so the zone says whether it was reset.
        if unknown {
            self.disk.settle().await.map_err(|e| e.to_string())?;
        }
        let report = self.disk.report_zones(start, 1).await.map_err(|e| e.to_string())?;
        ledger.note(zone as usize, format!("seen as {:?}", report[0]));
        let is_empty = report[0].write_pointer == Some(start);
        match (done, is_empty) {
            (true, false) => Err(format!(
                "zone {zone} was reset, and is {:?}\n  {}",
                report[0],
                ledger.history(zone as usize)
            )),
            (true, true) => {
                ledger.reborn(zone as usize);
                Ok(())
            }
            (false, true) if unknown => {
                ledger.reborn(zone as usize);
                Ok(())
            }
            (false, true) if !ledger.is_empty(zone as usize) => {
                Err(format!("the reset of zone {zone} failed, and yet its data is gone"))
            }
            (false, _) => Ok(()),
        }
    }
}

fn outcome<T: std::fmt::Debug>(result: &Option<IoResult<T>>) -> String {
    match result {
        None => "given up".to_owned(),
        Some(Ok(value)) => format!("ok {value:?}"),
        Some(Err(error)) => error.to_string(),
    }
}

/// Waits for a request, or not: some are dropped after a few polls, some by a time-out.
async fn given_up<T>(rng: &mut Rng, request: impl Future<Output = T>) -> Option<T> {
    match rng.below(10) {
        0 => {
            let mut polls = 1 + rng.below(4);
            let mut request = pin!(request);
            poll_fn(|cx| match request.as_mut().poll(cx) {
                Poll::Ready(value) => Poll::Ready(Some(value)),
                Poll::Pending => {
                    polls -= 1;
                    if polls == 0 { Poll::Ready(None) } else { Poll::Pending }
                }
            })
            .await
        }
        1 | 2 => {
            let time = Duration::from_micros(rng.below(4000));
            tokio::time::timeout(time, request).await.ok()
        }
        _ => Some(request.await),
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ZoneFull { .. }
            | ErrorKind::ZoneBoundary { .. }
            | ErrorKind::WritePointerMismatch { .. }
            | ErrorKind::TooManyOpen { .. }
            | ErrorKind::TooManyActive { .. }
    )
}

fn is_injected(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io(_) | ErrorKind::NoSpace(_))
        && error.to_string().contains("injected by the rule")
}
