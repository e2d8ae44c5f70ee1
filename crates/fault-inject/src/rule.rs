//! What a rule says.

use crate::failure::Failure;
use crate::ops::Ops;
use block_core::ZoneCondition;
use std::ops::Range;
use std::time::Duration;

/// Whether something happens before the request reaches the child, or after the child answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// The child has not seen the request yet.
    Before,
    /// The child has carried it out: the effect is there.
    After,
}

/// What the filter itself does to a zone, as another program with access to the device would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intrusion {
    /// Appends so many bytes of zeroes, as a multiple of the device's write granularity.
    Append(u64),
    /// Finishes the zone.
    Finish,
    /// Resets the zone.
    Reset,
}

/// What happens to a request that a rule hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It fails with this error: before it reaches the child, or although it was carried out.
    Fail {
        /// The error.
        error: Failure,
        /// Whether the effect is there all the same.
        when: When,
    },
    /// Its first bytes reach the child, then it fails. A request without a range fails at once, and
    /// so does a read, because nobody would see what it had read.
    Short {
        /// How many bytes, rounded down to what the device can take; `None` = half of them.
        bytes: Option<u64>,
        /// The error.
        error: Failure,
    },
    /// Some of its sectors reach the child, by chance and in any place, then it fails. In a
    /// sequential zone it is the first ones, by chance how many: nothing else can land there. A
    /// request without a range, and a read, fail at once.
    Torn {
        /// The error.
        error: Failure,
    },
    /// It takes longer.
    Delay {
        /// At least by so much.
        by: Duration,
        /// And by chance up to so much more.
        jitter: Duration,
        /// Whether the request or its answer is held back.
        when: When,
    },
    /// It does not end until the rule is removed, or the filter is dropped.
    Hang {
        /// Whether the request or its answer is held back.
        when: When,
    },
    /// A read succeeds with so many of its bits flipped, in places by chance. Such a rule is for no
    /// other requests.
    Corrupt {
        /// How many bits, at most 64.
        bits: u32,
    },
    /// Before the request reaches the child, the filter changes a zone behind everybody's back.
    Intrude {
        /// What it does. What the child refuses is logged, and the request goes on.
        change: Intrusion,
        /// The zone's index; `None` = that in which the request starts.
        zone: Option<u64>,
    },
    /// From this request on, a zone is read-only or offline: reports say so and requests are
    /// refused accordingly. The zone of the child stays as it is, and keeps its place among the
    /// child's open and active zones.
    Retire {
        /// [`ReadOnly`](ZoneCondition::ReadOnly) or [`Offline`](ZoneCondition::Offline).
        condition: ZoneCondition,
        /// The zone's index; `None` = that in which the request starts.
        zone: Option<u64>,
    },
}

/// Which part of the device a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of it, and requests that concern no part of it, such as flushes.
    Anywhere,
    /// Requests that touch a byte of this range. An append counts as touching its whole zone.
    Bytes(Range<u64>),
    /// Requests that touch the zone of this index.
    Zone(u64),
}

/// A rule: which requests are hit, and what then happens. See the [crate](crate) for how several
/// rules act together.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub(crate) name: String,
    pub(crate) ops: Ops,
    pub(crate) place: Place,
    pub(crate) skip: u64,
    pub(crate) times: Option<u64>,
    pub(crate) probability: f64,
    pub(crate) seed: u64,
    pub(crate) action: Action,
}

impl Rule {
    /// A rule that hits every request. The name appears in errors and is how the rule is removed.
    pub fn new(name: impl Into<String>, action: Action) -> Self {
        Self {
            name: name.into(),
            ops: Ops::all(),
            place: Place::Anywhere,
            skip: 0,
            times: None,
            probability: 1.0,
            seed: 0,
            action,
        }
    }

    /// Only these operations.
    #[must_use]
    pub fn on(mut self, ops: Ops) -> Self {
        self.ops = ops;
        self
    }

    /// Only this part of the device.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Not the first so many of the requests that match.
    #[must_use]
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// At most so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Each time with this probability: above 0, at most 1.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// The number from which all chance of this rule follows.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The rule's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
