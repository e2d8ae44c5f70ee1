//! The operations that a rule is for.

use block_core::ZoneOp;
use std::fmt;
use std::str::FromStr;

bitflags::bitflags! {
    /// A set of operations.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Ops: u16 {
        /// Reads.
        const READ = 1 << 0;
        /// Plain writes.
        const WRITE = 1 << 1;
        /// Zone appends.
        const APPEND = 1 << 2;
        /// Writes of zeroes.
        const WRITE_ZEROES = 1 << 3;
        /// Discards.
        const DISCARD = 1 << 4;
        /// Flushes. They concern the whole device and match no rule for a part of it.
        const FLUSH = 1 << 5;
        /// Changes of the length. They match no rule for a part of the device.
        const RESIZE = 1 << 6;
        /// Zone reports.
        const REPORT = 1 << 7;
        /// Explicit opens of zones.
        const ZONE_OPEN = 1 << 8;
        /// Closes of zones.
        const ZONE_CLOSE = 1 << 9;
        /// Finishes of zones.
        const ZONE_FINISH = 1 << 10;
        /// Resets of zones.
        const ZONE_RESET = 1 << 11;
        /// The four that change a zone's condition.
        const MANAGE = Self::ZONE_OPEN.bits() | Self::ZONE_CLOSE.bits()
            | Self::ZONE_FINISH.bits() | Self::ZONE_RESET.bits();
    }
}

/// Every name in options, groups last.
const NAMES: [(&str, Ops); 14] = [
    ("read", Ops::READ),
    ("write", Ops::WRITE),
    ("append", Ops::APPEND),
    ("write-zeroes", Ops::WRITE_ZEROES),
    ("discard", Ops::DISCARD),
    ("flush", Ops::FLUSH),
    ("resize", Ops::RESIZE),
    ("report", Ops::REPORT),
    ("open", Ops::ZONE_OPEN),
    ("close", Ops::ZONE_CLOSE),
    ("finish", Ops::ZONE_FINISH),
    ("reset", Ops::ZONE_RESET),
    ("manage", Ops::MANAGE),
    ("any", Ops::all()),
];

impl Ops {
    /// The operation that carries this out.
    pub const fn manage(op: ZoneOp) -> Self {
        match op {
            ZoneOp::Open => Self::ZONE_OPEN,
            ZoneOp::Close => Self::ZONE_CLOSE,
            ZoneOp::Finish => Self::ZONE_FINISH,
            ZoneOp::Reset => Self::ZONE_RESET,
        }
    }
}

/// A text that names no operations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is no operation; give one or more of {}, with '+' between them", names())]
pub struct ParseOpsError {
    given: String,
}

/// Reads names with `+` between them, for example `write+append`; `any` is all of them.
impl FromStr for Ops {
    type Err = ParseOpsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split('+').try_fold(Self::empty(), |all, name| {
            let known = NAMES.iter().find(|(n, _)| *n == name);
            let (_, ops) = known.ok_or_else(|| ParseOpsError { given: name.to_owned() })?;
            Ok(all | *ops)
        })
    }
}

fn names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

impl fmt::Display for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("any");
        }
        let named = NAMES.iter().take(12).filter(|(_, op)| self.contains(*op));
        let list: Vec<_> = named.map(|(name, _)| *name).collect();
        f.write_str(&list.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for op in Ops::all().iter() {
            assert_eq!(op.to_string().parse(), Ok(op));
        }
        assert_eq!("write+append".parse(), Ok(Ops::WRITE | Ops::APPEND));
        assert_eq!((Ops::APPEND | Ops::WRITE).to_string(), "write+append");
        assert_eq!("any".parse(), Ok(Ops::all()));
        assert_eq!(Ops::all().to_string(), "any");
        assert_eq!("manage".parse(), Ok(Ops::MANAGE));
    }

    #[test]
    fn what_is_no_operation_is_refused() {
        for text in ["", "wirte", "write+", "Write", "write,append"] {
            assert!(text.parse::<Ops>().is_err(), "{text}");
        }
    }
}
