//! What a workload is made of.

use block_core::ZoneOp;
use power_cut::Rng;
use std::ops::Range;
use zone_model::Geometry;

/// A step of an open image. Lengths and the places of conventional writes are in sectors.
#[derive(Clone, Debug)]
pub enum Step {
    Append {
        zone: usize,
        len: u64,
        fua: bool,
    },
    /// At the zone's pointer.
    Write {
        zone: usize,
        len: u64,
        fua: bool,
    },
    Zeroes {
        zone: usize,
        len: u64,
        fua: bool,
    },
    Conventional {
        at: u64,
        len: u64,
        zeroes: bool,
        fua: bool,
    },
    Flush,
    Manage(ZoneOp, Range<usize>),
    Read,
    Settle,
    /// All at the same time.
    Together(Vec<Self>),
    /// A request that is given up after so many polls.
    Cancel(Box<Self>, u64),
}

/// A step of a workload.
#[derive(Clone, Debug)]
pub enum Big {
    Small(Step),
    /// A second runtime does these at the same time, and is shut down in the middle.
    Abandon(Vec<Step>, usize),
    /// The process is killed in the middle of these, and the image opened again.
    Kill(Vec<Step>, usize),
    /// The image is closed and opened again.
    Reopen,
}

/// Makes steps up, for a device.
pub struct Inventor<'a> {
    pub rng: Rng,
    pub geometry: &'a Geometry,
    /// Zones that are used; few, so that much happens to each.
    pub zones: Vec<usize>,
}

impl Inventor<'_> {
    pub fn big(&mut self) -> Big {
        match self.rng.below(60) {
            0 => Big::Reopen,
            1 | 2 => {
                let steps = self.several(4);
                Big::Abandon(steps, self.rng.below(20) as usize)
            }
            3 | 4 => {
                let steps = self.several(4);
                Big::Kill(steps, self.rng.below(20) as usize)
            }
            5..=17 => {
                let count = 2 + self.rng.below(4);
                Big::Small(Step::Together(self.several(count)))
            }
            18 | 19 => {
                let step = Box::new(self.small());
                Big::Small(Step::Cancel(step, self.rng.below(12)))
            }
            _ => Big::Small(self.small()),
        }
    }

    fn several(&mut self, count: u64) -> Vec<Step> {
        // Often in one zone, to meet each other.
        let one = self.zone();
        let together = self.rng.chance(1, 2);
        let all = self.zones.clone();
        if together {
            self.zones = vec![one];
        }
        let steps = (0..count).map(|_| self.small()).collect();
        self.zones = all;
        steps
    }

    pub fn small(&mut self) -> Step {
        let (zone, len, fua) = (self.zone(), self.len(), self.rng.chance(1, 6));
        match self.rng.below(40) {
            0..=10 => Step::Append { zone, len, fua },
            11..=15 => Step::Write { zone, len, fua },
            16 | 17 => Step::Zeroes { zone, len, fua },
            18..=21 => self.conventional(),
            22..=27 => Step::Flush,
            28..=31 => Step::Manage(ZoneOp::Reset, zone..zone + 1),
            32 => Step::Manage(ZoneOp::Reset, 0..self.geometry.nr_zones() as usize),
            33 => {
                let last = self.geometry.nr_zones() as usize;
                let end = (zone + 1 + self.rng.below(3) as usize).min(last);
                Step::Manage(ZoneOp::Reset, zone..end)
            }
            34 | 35 => Step::Manage(ZoneOp::Finish, zone..zone + 1),
            36 => Step::Manage(ZoneOp::Open, zone..zone + 1),
            37 => Step::Manage(ZoneOp::Close, zone..zone + 1),
            38 => Step::Read,
            _ => Step::Settle,
        }
    }

    fn conventional(&mut self) -> Step {
        let sectors = self.geometry.conventional_end() / 512;
        let block = self.block();
        if sectors == 0 {
            return Step::Flush;
        }
        let at = self.rng.below(sectors / block) * block;
        let len = self.len().min(sectors - at);
        Step::Conventional { at, len, zeroes: self.rng.chance(1, 5), fua: self.rng.chance(1, 5) }
    }

    fn zone(&mut self) -> usize {
        self.rng.pick(&self.zones).copied().unwrap()
    }

    fn block(&self) -> u64 {
        u64::from(self.geometry.block_size()) / 512
    }

    /// Mostly short, sometimes all that fits in a zone.
    fn len(&mut self) -> u64 {
        let blocks = self.geometry.zone_capacity() / 512 / self.block();
        let most = if self.rng.chance(1, 8) { blocks } else { blocks.div_ceil(4) };
        (1 + self.rng.below(most)) * self.block()
    }
}
