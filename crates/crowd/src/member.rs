//! The tasks: each does whatever comes up, and compares what it hears with the ledger.

use crate::impatience::{given_up, within};
use crate::ledger::{Landed, Ledger, Place};
use crate::record::{BLOCK, Id, record};
use crate::{Counts, Expects};
use block_backend::{BlockBackend, Error, ErrorKind, RequestFlags, Result as IoResult, ZoneOp};
use power_cut::Rng;
use std::sync::Arc;
use std::time::Instant;

pub(crate) struct Member {
    disk: BlockBackend,
    ledger: Arc<Ledger>,
    task: u64,
    rng: Rng,
    counts: Counts,
    next: u64,
    expects: Expects,
    /// What it does now.
    doing: &'static str,
}

impl Member {
    pub(crate) fn new(
        disk: &BlockBackend,
        ledger: &Arc<Ledger>,
        expects: Expects,
        task: u64,
        rng: Rng,
    ) -> Self {
        Self {
            disk: disk.clone(),
            ledger: Arc::clone(ledger),
            task,
            rng,
            counts: Counts::new(),
            next: 0,
            expects,
            doing: "nothing",
        }
    }

    /// Works until then.
    pub(crate) async fn work(mut self, until: Instant) -> Result<Counts, String> {
        let ledger = Arc::clone(&self.ledger);
        while Instant::now() < until {
            let number = self.rng.below(ledger.places().len() as u64) as usize;
            let place = &ledger.places()[number];
            let step = within(self.expects.patience, self.one(place)).await;
            let failed = match step {
                Some(Ok(())) => continue,
                Some(Err(e)) => e,
                None => format!("stuck: {}{}", self.doing, place.history()),
            };
            return Err(format!("task {}, the zone at {:#x}: {failed}", self.task, place.start));
        }
        Ok(self.counts)
    }

    async fn one(&mut self, place: &Place) -> Result<(), String> {
        // Rare, because everybody waits for it.
        match self.rng.below(1000) {
            0 => return self.drain().await,
            1..4 => return self.settle().await,
            _ => {}
        }
        match self.rng.below(100) {
            0..55 => self.append(place).await,
            55..63 => self.write(place).await,
            63..86 => self.read(place).await,
            86..92 => self.flush().await,
            _ => self.manage(place).await,
        }
    }

    async fn drain(&mut self) -> Result<(), String> {
        self.doing = "drains";
        let result = given_up(&mut self.rng.fork(), self.disk.drain()).await;
        tokio::task::yield_now().await;
        self.heard(result).map(drop)
    }

    async fn settle(&mut self) -> Result<(), String> {
        self.doing = "settles";
        let result = given_up(&mut self.rng.fork(), self.disk.settle()).await;
        self.heard(result).map(drop)
    }

    async fn flush(&mut self) -> Result<(), String> {
        self.doing = "flushes";
        let result = given_up(&mut self.rng.fork(), self.disk.flush()).await;
        self.heard(result).map(drop)
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Counts what became of a request. An error must be one that is expected, or what a zone may
    /// refuse.
    fn heard<T>(&mut self, result: Option<IoResult<T>>) -> Result<Option<T>, String> {
        match result {
            None => self.count("given up"),
            Some(Ok(value)) => {
                self.count(self.doing);
                return Ok(Some(value));
            }
            Some(Err(error)) if is_refusal(&error) => self.count("refused"),
            Some(Err(error)) if (self.expects.failure)(&error) => self.count("failed as expected"),
            Some(Err(error)) => return Err(format!("{}: {error}", self.doing)),
        }
        Ok(None)
    }

    fn id(&mut self, place: &Place) -> Id {
        self.next += 1;
        Id { generation: place.generation(), task: self.task, number: self.next }
    }

    /// How many blocks a record has: mostly few.
    fn blocks(&mut self) -> u64 {
        1 + if self.rng.chance(1, 30) { self.rng.below(24) } else { self.rng.below(3) }
    }

    async fn append(&mut self, place: &Place) -> Result<(), String> {
        self.doing = "appends";
        let _shared = place.lock.read().await;
        let (id, count) = (self.id(place), self.blocks());
        let fua = self.rng.chance(1, 10);
        let flags = if fua { RequestFlags::FUA } else { RequestFlags::empty() };
        let append = self.disk.append_with(place.start, record(id, count), flags);
        place.note(format!("append of {id:?} begins"));
        let result = given_up(&mut self.rng.fork(), append).await;
        place.note(format!("append of {id:?}, {count}: {}", outcome(&result)));
        match self.heard(result)? {
            Some(position) => place.landed(Landed { position, id, count }),
            None => Ok(()),
        }
    }

    /// A write at the pointer, which another may move first.
    async fn write(&mut self, place: &Place) -> Result<(), String> {
        self.doing = "writes";
        let _shared = place.lock.read().await;
        let seen = self.disk.report_zones(place.start, 1).await.map_err(|e| e.to_string())?[0];
        // Behind a full zone begins the next one, which is not this task's to write.
        let Some(position) = seen.write_pointer.filter(|p| *p < seen.writable_end()) else {
            return Ok(());
        };
        // Over the end of its zone, if it comes to that, but not over that of the device.
        let room = (self.disk.length() - position) / BLOCK as u64;
        let (id, count) = (self.id(place), self.blocks().min(room));
        let write = self.disk.write(position, record(id, count));
        let result = given_up(&mut self.rng.fork(), write).await;
        place.note(format!("write of {id:?}, {count}, at {position:#x}: {}", outcome(&result)));
        match self.heard(result)? {
            Some(()) => place.landed(Landed { position, id, count }),
            None => Ok(()),
        }
    }

    async fn read(&mut self, place: &Place) -> Result<(), String> {
        self.doing = "reads";
        let _shared = place.lock.read().await;
        let Some(landed) = place.any(self.rng.next()) else {
            return Ok(());
        };
        let read = self.disk.read(landed.position, landed.count as usize * BLOCK);
        let result = given_up(&mut self.rng.fork(), read).await;
        match self.heard(result)? {
            Some(bytes) if bytes != record(landed.id, landed.count) => {
                Err(format!("{landed:?} is not what is read{}", place.history()))
            }
            _ => Ok(()),
        }
    }

    async fn manage(&mut self, place: &Place) -> Result<(), String> {
        let op = match self.rng.below(10) {
            0..6 => ZoneOp::Reset,
            6..8 => ZoneOp::Finish,
            8 => ZoneOp::Open,
            _ => ZoneOp::Close,
        };
        self.doing = op.name();
        let _alone = place.lock.write().await;
        place.note(format!("{op} begins"));
        let manage = self.disk.manage_zones(op, place.start, place.length);
        let result = given_up(&mut self.rng.fork(), manage).await;
        place.note(format!("{op}: {}", outcome(&result)));
        let unknown = result.is_none();
        let done = self.heard(result)?.is_some();
        if op == ZoneOp::Reset { self.after_reset(place, done, unknown).await } else { Ok(()) }
    }

    /// Nobody else may write here now, so the zone says whether it was reset.
    async fn after_reset(
        &mut self,
        place: &Place,
        done: bool,
        unknown: bool,
    ) -> Result<(), String> {
        if unknown {
            self.disk.settle().await.map_err(|e| e.to_string())?;
        }
        let seen = self.disk.report_zones(place.start, 1).await.map_err(|e| e.to_string())?[0];
        place.note(format!("seen as {seen:?}"));
        let is_empty = seen.write_pointer == Some(place.start);
        match (done, is_empty) {
            (true, false) => Err(format!("it was reset, and is {seen:?}{}", place.history())),
            (false, true) if !unknown && !place.is_empty() => {
                Err(format!("its reset failed, and yet its data is gone{}", place.history()))
            }
            (true, true) => {
                place.reborn();
                Ok(())
            }
            (false, true) if unknown => {
                place.reborn();
                Ok(())
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

/// Whether zones refuse by their nature.
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
