//! The kinds of fault that are tried.

use fault_inject::{Action, Failure, Ops, Rule, When};

/// What becomes of the caller while the fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Waits for the result.
    Stays,
    /// Goes away while the request hangs; it is let go afterwards.
    GivesUp,
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub name: &'static str,
    action: Action,
    ops: Ops,
    once: bool,
    pub caller: Caller,
    /// The error that reaches the caller, if one does.
    pub error: &'static str,
}

const fn fault(name: &'static str, action: Action, error: &'static str) -> Fault {
    Fault { name, action, ops: Ops::all(), once: true, caller: Caller::Stays, error }
}

const fn fail(error: Failure, when: When) -> Action {
    Action::Fail { error, when }
}

/// Everything that takes space.
const GROWS: Ops = Ops::WRITE.union(Ops::WRITE_ZEROES).union(Ops::RESIZE).union(Ops::APPEND);

pub const FAULTS: [Fault; 10] = [
    fault("EIO", fail(Failure::IO, When::Before), "io"),
    fault("ENOSPC", fail(Failure::NoSpace, When::Before), "no-space"),
    fault("EIO after the effect", fail(Failure::IO, When::After), "io"),
    fault("short, EIO", Action::Short { bytes: None, error: Failure::IO }, "io"),
    fault("short, ENOSPC", Action::Short { bytes: None, error: Failure::NoSpace }, "no-space"),
    fault("torn, EIO", Action::Torn { error: Failure::IO }, "io"),
    Fault { once: false, ..fault("EIO from then on", fail(Failure::IO, When::Before), "io") },
    Fault {
        once: false,
        ops: GROWS,
        ..fault("full from then on", fail(Failure::NoSpace, When::Before), "no-space")
    },
    Fault {
        caller: Caller::GivesUp,
        ..fault("given up before", Action::Hang { when: When::Before }, "")
    },
    Fault {
        caller: Caller::GivesUp,
        ..fault("given up after", Action::Hang { when: When::After }, "")
    },
];

pub const RULE: &str = "step";

impl Fault {
    /// The rule that hits the `step`-th request from now on, counted from 0.
    pub fn rule(&self, step: u64) -> Rule {
        let rule = Rule::new(RULE, self.action).on(self.ops).skip(step).seed(step);
        if self.once { rule.times(1) } else { rule }
    }
}
