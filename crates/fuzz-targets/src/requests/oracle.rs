//! What must be answered, and what must be there.

use super::naive::{Naive, Numbers};
use super::{Length, Place};
use block_backend::BlockBackend;
use block_core::{ErrorKind, Result, ZoneCondition, ZoneOp};
use zoned_file::GeometryConfig;

/// The naive model with the bytes beside it, as they are now and as they were last made durable.
pub(super) struct Oracle {
    block: u64,
    zone_size: u64,
    conventional_end: usize,
    now: State,
    durable: State,
    /// What the conventional zones held after each write since the last flush: nothing says which
    /// of it a crash leaves.
    since: Vec<Vec<u8>>,
}

#[derive(Clone)]
struct State {
    naive: Naive,
    bytes: Vec<u8>,
}

impl Oracle {
    pub(super) fn new(config: &GeometryConfig) -> Self {
        let naive = Naive::new(Numbers {
            size: config.size.into(),
            zone_size: config.zone_size.into(),
            capacity: config.zone_capacity.unwrap_or(config.zone_size).into(),
            conventional: config.conventional.into(),
            block: config.block_size.into(),
            max_open: config.max_open.into(),
            max_active: config.max_active.into(),
            max_append: 0,
        });
        let now = State { naive, bytes: vec![0; config.size as usize] };
        Self {
            block: config.block_size.into(),
            zone_size: config.zone_size,
            conventional_end: (config.conventional * config.zone_size).min(config.size) as usize,
            durable: now.clone(),
            now,
            since: Vec::new(),
        }
    }

    /// From places and lengths to numbers.
    pub(super) fn range(&self, place: Place, len: Length) -> (u64, u64) {
        let naive = &self.now.naive;
        let mark = |zone: u8, which: usize| {
            u64::try_from(naive.marks(usize::from(zone) % (naive.count() + 1))[which]).unwrap()
        };
        let at = match place {
            Place::Start(zone) => mark(zone, 0),
            Place::Pointer(zone) => mark(zone, 1),
            Place::NearPointer(zone, by) => mark(zone, 1).wrapping_add_signed(i64::from(by) * 256),
            Place::Capacity(zone) => mark(zone, 2),
            Place::Any(at) => at,
        };
        let len = match len {
            Length::Blocks(n) => u64::from(n % 10) * self.block,
            Length::Rest(more) => {
                let rest = u64::try_from(naive.rest(at)).unwrap_or(0);
                rest.saturating_add(u64::from(more % 2) * self.block)
            }
            Length::Zones(n) => u64::from(n % 4) * self.zone_size,
            Length::Any(len) => len,
        };
        (at, len)
    }

    pub(super) fn zone_range(&self, zone: u8) -> (u64, u64) {
        let [start, .., end] = self.now.naive.marks(usize::from(zone) % self.now.naive.count());
        (u64::try_from(start).unwrap(), u64::try_from(end - start).unwrap())
    }

    pub(super) fn write(&mut self, at: u64, data: &[u8], fua: bool, answer: Result<()>) -> bool {
        let len = data.len() as u64;
        if len == 0 && at.is_multiple_of(self.block) && at <= self.now.bytes.len() as u64 {
            // Nothing is asked, and nothing can be wrong with it.
            answer.unwrap_or_else(|e| panic!("a write of nothing: {e}"));
            return false;
        }
        let wanted = self.now.naive.start_write(at, len);
        self.landed(wanted, data, fua, answer.map(|()| at), at)
    }

    pub(super) fn append(&mut self, at: u64, data: &[u8], fua: bool, answer: Result<u64>) -> bool {
        let wanted = self.now.naive.start_append(at, data.len() as u64);
        self.landed(wanted, data, fua, answer, at)
    }

    fn landed(
        &mut self,
        wanted: Result<super::naive::Landed, ErrorKind>,
        data: &[u8],
        fua: bool,
        answer: Result<u64>,
        asked: u64,
    ) -> bool {
        let position = wanted.map(|(zone, position, len, _)| {
            self.now.naive.complete(zone, len);
            position
        });
        same(&answer, position.as_ref().copied(), asked);
        let Ok(position) = position else { return false };
        let start = position as usize;
        self.now.bytes[start..start + data.len()].copy_from_slice(data);
        if start < self.conventional_end {
            self.remember();
            if fua {
                // That write is durable, and says nothing about any other.
                for kept in self.since.iter_mut().chain([&mut self.durable.bytes]) {
                    kept[start..start + data.len()].copy_from_slice(data);
                }
            }
        } else if fua {
            self.flushed();
        }
        true
    }

    pub(super) fn manage(&mut self, op: ZoneOp, at: u64, len: u64, answer: Result<()>) -> bool {
        let wanted = self.now.naive.zone_range(at, len);
        let wanted = wanted.and_then(|(first, end)| {
            let changed = self.now.naive.manage(op, first, end)?;
            Ok((first, end, changed))
        });
        same(&answer.map(|()| 0), wanted.as_ref().map(|_| 0), at);
        let Ok((first, end, changed)) = wanted else { return false };
        match op {
            ZoneOp::Open | ZoneOp::Close => {}
            ZoneOp::Finish => self.flushed(),
            ZoneOp::Reset => {
                for state in [&mut self.now, &mut self.durable] {
                    // The zones are the same, so what one took the other takes.
                    let _ = state.naive.manage(op, first, end);
                    for zone in &changed {
                        let [start, .., end] = state.naive.marks(*zone as usize);
                        state.bytes[start as usize..end as usize].fill(0);
                    }
                }
            }
        }
        true
    }

    pub(super) fn read(&self, at: u64, len: usize, answer: Result<impl AsRef<[u8]>>) {
        let size = self.now.bytes.len() as u64;
        let fits = at.checked_add(len as u64).is_some_and(|end| end <= size);
        let aligned = at.is_multiple_of(self.block) && (len as u64).is_multiple_of(self.block);
        match answer {
            Ok(bytes) => {
                assert!(fits && aligned, "a read of {at:#x}+{len:#x} was done");
                let start = at as usize;
                assert!(bytes.as_ref() == &self.now.bytes[start..start + len], "at {at:#x}");
            }
            Err(e) => assert!(!fits || !aligned, "a read of {at:#x}+{len:#x}: {e}"),
        }
    }

    fn remember(&mut self) {
        let bytes = self.now.bytes[..self.conventional_end].to_vec();
        if self.since.last() != Some(&bytes) {
            self.since.push(bytes);
        }
    }

    /// Everything that is there is durable.
    pub(super) fn flushed(&mut self) {
        self.durable = self.now.clone();
        self.since.clear();
    }

    pub(super) fn restart(&mut self) {
        self.now.naive.restart();
        self.durable = self.now.clone();
    }

    /// What is there after a crash: what was durable, and nothing else of the sequential zones.
    pub(super) async fn crash(&mut self, backend: &BlockBackend) {
        let len = self.conventional_end;
        let seen = backend.read(0, len).await.unwrap();
        let block = self.block as usize;
        for at in (0..len).step_by(block) {
            let range = at..at + block;
            let was = self.since.iter().chain([&self.durable.bytes]);
            let known = was.map(|bytes| &bytes[range.clone()]).any(|b| *b == seen[range.clone()]);
            assert!(known, "a conventional block at {at:#x} holds what was never written");
        }
        self.now = self.durable.clone();
        self.now.bytes[..len].copy_from_slice(&seen);
        self.now.naive.restart();
        self.flushed();
    }

    /// All that can be seen.
    pub(super) async fn compare(&self, backend: &BlockBackend, when: &str) {
        let zones = backend.report_zones(0, usize::MAX).await.unwrap();
        let wanted = self.now.naive.report(0, usize::MAX);
        assert_eq!(zones, wanted, "{when}");
        assert!(zones.iter().all(|z| z.condition != ZoneCondition::Offline));
        let bytes = backend.read(0, self.now.bytes.len()).await.unwrap();
        let differs = bytes.iter().zip(&self.now.bytes).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{when}");
    }
}

/// The same answer: equal positions, or errors of one kind. Where more than one thing is wrong with
/// a request, which of them is told first is the backend's to choose.
fn same(answer: &Result<u64>, wanted: Result<u64, &ErrorKind>, asked: u64) {
    let formal = |kind: &ErrorKind| {
        matches!(kind, ErrorKind::Misaligned { .. } | ErrorKind::OutOfRange { .. })
    };
    match (answer, wanted) {
        (Ok(a), Ok(b)) if *a == b => {}
        (Err(a), Err(b)) if a.kind().name() == b.name() => {}
        (Err(a), Err(b)) if formal(a.kind()) && formal(b) => {}
        _ => panic!("at {asked:#x}: {answer:?}, and should be {wanted:?}"),
    }
}
