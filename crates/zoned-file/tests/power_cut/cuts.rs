//! Cuts: the disk after each is opened, compared, used, and cut again.

use crate::common;
use crate::oracle::Known;
use crate::session::Session;
use crate::steps::{Inventor, Step};
use crate::variants::Variant;
use crate::workload::{Story, is_writable, runtime};
use block_core::ZoneOp;
use power_cut::{PowerCutDisk, Rng};
use std::ops::AddAssign;
use tokio::runtime::Runtime;

/// What was done, for the end of the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub workloads: usize,
    pub points: usize,
    pub cuts: usize,
    pub double_cuts: usize,
    pub requests: usize,
    pub reopenings: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.workloads += other.workloads;
        self.points += other.points;
        self.cuts += other.cuts;
        self.double_cuts += other.double_cuts;
        self.requests += other.requests;
        self.reopenings += other.reopenings;
    }
}

/// Of so many cuts, one is followed by a second.
const SECOND: u64 = 8;

pub struct Cutter<'a> {
    pub variant: &'a Variant,
    pub rng: Rng,
    pub counts: Counts,
    runtime: Runtime,
}

impl<'a> Cutter<'a> {
    pub fn new(variant: &'a Variant, rng: Rng) -> Self {
        Self { variant, rng, counts: Counts::default(), runtime: runtime() }
    }

    /// Cuts a story at each of its points, from the first opening on.
    pub fn cut_everywhere(&mut self, story: &Story) -> Result<(), (usize, String)> {
        for point in 0..=story.disk.points() {
            self.counts.points += 1;
            for _ in 0..1 + u64::from(self.rng.chance(1, 3)) {
                self.cut(story, point).map_err(|e| (point, e))?;
            }
        }
        Ok(())
    }

    fn cut(&mut self, story: &Story, point: usize) -> Result<(), String> {
        let content = story.disk.after_cut(point, &mut self.rng);
        let disk = PowerCutDisk::new(content, self.rng.next());
        self.counts.cuts += 1;
        let history = story.at(point);
        self.check(&disk)?;
        let session = self.open(&disk, 1_000_000)?;
        let thorough = self.rng.chance(1, 8);
        let seen = self.runtime.block_on(session.observe(thorough))?;
        let base = history.verify(&seen, point)?;
        if self.rng.chance(1, SECOND) {
            self.go_on(session, base).map_err(|e| format!("after the cut: {e}"))?;
        }
        Ok(())
    }

    fn open(&mut self, disk: &PowerCutDisk, id: u32) -> Result<Session, String> {
        self.counts.reopenings += 1;
        let opening = Session::open(disk, self.variant.geometry(), id);
        self.runtime.block_on(opening)
    }

    /// Whatever a cut leaves is no loss, and an image with the mark of a clean close has two equal
    /// copies of its table.
    fn check(&mut self, disk: &PowerCutDisk) -> Result<(), String> {
        let report = self.runtime.block_on(common::check(disk, false));
        let report = report.map_err(|e| format!("check: {e}"))?;
        let loss = report.findings.iter().find(|f| {
            let in_table = f.problem.contains("the states of");
            !f.meaning.starts_with("nothing is lost") || (report.clean && in_table)
        });
        match loss {
            Some(loss) => Err(format!("check says, clean = {}: {loss:?}", report.clean)),
            None => Ok(()),
        }
    }

    /// The next operations work, in each kind of zone, and survive the next cut.
    fn go_on(&mut self, session: Session, base: Vec<Known>) -> Result<(), String> {
        self.counts.double_cuts += 1;
        let steps = self.next_steps(&session)?;
        for step in &steps {
            self.runtime.block_on(session.perform(step))?;
        }
        self.counts.requests += steps.len();
        let disk = session.disk.clone();
        let history = session.history(base);
        drop(session);
        // One of the cuts comes right after the opening.
        let last = disk.points() as u64;
        for point in [self.rng.below(6).min(last), self.rng.below(last + 1), last] {
            let point = usize::try_from(point).unwrap();
            let after = PowerCutDisk::new(disk.after_cut(point, &mut self.rng), self.rng.next());
            self.counts.cuts += 1;
            let again = self.open(&after, 2_000_000);
            let seen = again.and_then(|session| self.runtime.block_on(session.observe(false)));
            let verified = seen.and_then(|seen| history.verify(&seen, point));
            verified.map_err(|e| {
                let trace = disk.trace().join("\n    ");
                format!("second cut, at point {point}: {e}\n    {trace}")
            })?;
        }
        Ok(())
    }

    fn next_steps(&mut self, session: &Session) -> Result<Vec<Step>, String> {
        let zones = self.runtime.block_on(session.node.report_zones(0, usize::MAX));
        let zones = zones.map_err(|e| e.to_string())?;
        let geometry = self.variant.geometry();
        let mut inventor = Inventor {
            zones: self.variant.zones(&mut self.rng),
            rng: self.rng.fork(),
            geometry: &geometry,
        };
        // A reset comes first now and then: it is the one commit that flushes no data before.
        let mut steps = Vec::new();
        if self.rng.chance(1, 3) {
            let zone = inventor.zones[0];
            steps.push(Step::Manage(ZoneOp::Reset, zone..zone + 1));
        }
        steps.extend((0..3).map(|_| inventor.small()));
        let writable = zones.iter().zip(0..).filter(|(z, _)| is_writable(z.condition));
        let mut writable: Vec<usize> = writable.map(|(_, n)| n).collect();
        writable.retain(|n| *n as u64 >= geometry.conventional());
        if let Some(zone) = self.rng.pick(&writable) {
            let len = u64::from(geometry.block_size()) / 512;
            steps.push(Step::Append { zone: *zone, len, fua: false });
        }
        steps.extend([Step::Flush, Step::Read]);
        Ok(steps)
    }
}
