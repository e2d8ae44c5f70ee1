//! A random workload on one disk, from the first opening of the image to its end.

use crate::common;
use crate::log::What;
use crate::oracle::{History, Known};
use crate::session::Session;
use crate::steps::{Big, Inventor, Step};
use crate::variants::Variant;
use block_core::ZoneCondition;
use power_cut::{Content, PowerCutDisk, Rng};
use tokio::runtime::{Builder, Runtime};
use zone_model::Geometry;

/// What happened, to be cut anywhere.
pub struct Story {
    pub disk: PowerCutDisk,
    /// Each session from its first point on, until the next one's.
    pub sessions: Vec<(usize, History)>,
    pub requests: usize,
    pub reopenings: usize,
}

/// A runtime that looks at what it is blocked on after each turn of a task, so that it can be
/// stopped at any event.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().event_interval(1).build().unwrap()
}

impl Story {
    /// The session that was current at a point.
    pub fn at(&self, point: usize) -> &History {
        let later = self.sessions.partition_point(|(since, _)| *since <= point);
        &self.sessions[later.max(1) - 1].1
    }
}

/// The steps that a seed stands for.
pub fn invent(variant: &Variant, seed: u64, steps: usize) -> Vec<Big> {
    let mut rng = Rng::new(seed);
    let geometry = variant.geometry();
    let zones = variant.zones(&mut rng);
    let mut inventor = Inventor { zones, rng, geometry: &geometry };
    (0..steps).map(|_| inventor.big()).collect()
}

/// Carries steps out, in several openings of the image. The seed is the disk's.
pub fn run(variant: &Variant, image: Content, seed: u64, steps: &[Big]) -> Result<Story, Failed> {
    let disk = PowerCutDisk::new(image, seed);
    let geometry = variant.geometry();
    let mut base = vec![Known::default(); usize::try_from(geometry.nr_zones()).unwrap()];
    for zone in &variant.read_only_zones {
        base[*zone as usize].read_only = true;
    }
    let mut teller = Teller {
        runtime: runtime(),
        story: Story { disk, sessions: Vec::new(), requests: 0, reopenings: 0 },
        base,
        geometry,
        next_id: 1,
    };
    let told = teller.tell(steps);
    let story = teller.story;
    match told {
        Ok(()) => Ok(story),
        Err(message) => Err(Failed { message, story }),
    }
}

/// A workload that went wrong before any cut.
pub struct Failed {
    pub message: String,
    pub story: Story,
}

struct Teller {
    runtime: Runtime,
    story: Story,
    base: Vec<Known>,
    geometry: Geometry,
    next_id: u32,
}

impl Teller {
    fn tell(&mut self, steps: &[Big]) -> Result<(), String> {
        let mut session = self.open()?;
        for step in steps {
            match step {
                Big::Small(step) => self.in_session(&session, session.perform(step))?,
                Big::Abandon(steps, events) => {
                    let other = runtime();
                    let mortal = Session { mortal: true, ..session.clone() };
                    let done = other.block_on(mortal.some_of(steps, *events));
                    drop(other);
                    self.keep_if_failed(&session, done)?;
                }
                Big::Kill(steps, events) => {
                    let mortal = Session { mortal: true, ..session.clone() };
                    let done = self.runtime.block_on(mortal.some_of(steps, *events));
                    self.keep_if_failed(&session, done)?;
                    drop((std::mem::replace(&mut self.runtime, runtime()), mortal));
                    self.story.disk.kill();
                    session = self.reopen(session)?;
                }
                Big::Reopen => {
                    self.close(&session)?;
                    session = self.reopen(session)?;
                }
            }
        }
        self.close(&session)?;
        self.end(&session);
        Ok(())
    }

    fn in_session(
        &self,
        session: &Session,
        step: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        let done = self.runtime.block_on(step);
        done.map_err(|e| format!("{e}\n{}", tail(session)))
    }

    fn keep_if_failed(&self, session: &Session, done: Result<(), String>) -> Result<(), String> {
        done.map_err(|e| format!("{e}\n{}", tail(session)))
    }

    fn open(&mut self) -> Result<Session, String> {
        let opening = Session::open(&self.story.disk, self.geometry, self.next_id);
        let session = self.runtime.block_on(opening)?;
        self.story.reopenings += 1;
        Ok(session)
    }

    /// What was asked is compared with what is seen as if the power had been cut now, without a
    /// loss.
    fn reopen(&mut self, old: Session) -> Result<Session, String> {
        let (log, since) = (old.log.clone(), old.since);
        self.next_id = log.next_id();
        self.story.requests += log.entries().len();
        drop(old);
        let base = std::mem::take(&mut self.base);
        let history = History::new(base, log.entries(), log.first_id);
        let opened = self.open();
        let seen = match &opened {
            Ok(session) => self.runtime.block_on(session.observe(true)),
            Err(error) => Err(error.clone()),
        };
        let known = seen.and_then(|seen| history.verify(&seen, self.story.disk.points()));
        self.story.sessions.push((since, history));
        self.base = known.map_err(|e| format!("opened again without a power cut: {e}"))?;
        opened
    }

    fn close(&mut self, session: &Session) -> Result<(), String> {
        self.in_session(session, session.perform(&Step::Settle))?;
        let all = session.log.begin(What::Flush, self.story.disk.points());
        self.runtime.block_on(session.node.close()).map_err(|e| format!("close: {e}"))?;
        let points = self.story.disk.points();
        session.log.end(all, crate::log::Outcome::Done(None), points);
        let copy = PowerCutDisk::new(self.story.disk.live(), 1);
        let report = self.runtime.block_on(common::check(&copy, false));
        let report = report.map_err(|e| format!("check: {e}"))?;
        if report.clean && report.findings.is_empty() {
            Ok(())
        } else {
            Err(format!("after a clean close: {report:?}\n{}", tail(session)))
        }
    }

    fn end(&mut self, session: &Session) {
        self.story.requests += session.log.entries().len();
        let history = session.history(std::mem::take(&mut self.base));
        self.story.sessions.push((session.since, history));
    }
}

fn tail(session: &Session) -> String {
    let entries = session.log.entries();
    let last = entries.iter().rev().take(12).rev();
    last.map(|e| format!("  {e}\n")).collect()
}

/// Whether a zone takes data.
pub fn is_writable(condition: ZoneCondition) -> bool {
    use ZoneCondition::{Closed, Empty, NotWritePointer};
    matches!(condition, Empty | Closed | NotWritePointer)
}
