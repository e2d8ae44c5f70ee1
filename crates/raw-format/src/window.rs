//! The part of the child that a raw node shows.

use block_core::{ErrorKind, Limits, Result};
use std::fmt;

/// A part of a child, in bytes. The default is the whole child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Where the window starts in the child.
    pub offset: u64,
    /// How long it is; `None` = up to the child's end, also when that moves.
    pub size: Option<u64>,
}

impl Window {
    /// Whether this is the whole child, whatever its length.
    pub(crate) const fn is_whole(&self) -> bool {
        self.offset == 0 && self.size.is_none()
    }

    /// How much of the window there is on a child of this length.
    pub(crate) fn length(&self, child: u64) -> u64 {
        let rest = child.saturating_sub(self.offset);
        self.size.map_or(rest, |size| size.min(rest))
    }

    /// Checks the window against the child, at open.
    pub(crate) fn check(&self, limits: &Limits, child: u64) -> Result<()> {
        if self.is_whole() {
            return Ok(());
        }
        if self.offset >= child {
            return Err(invalid(
                "offset",
                self.offset,
                &format!("is not below the child's length, {child:#x}"),
            ));
        }
        let size = self.length(child);
        if let Some(asked) = self.size {
            if asked == 0 {
                return Err(invalid("size", asked, "leaves nothing of the child"));
            }
            if asked > size {
                return Err(invalid(
                    "size",
                    asked,
                    &format!(
                        "reaches past the child's end: from offset {:#x} on there are {size:#x} \
                         bytes",
                        self.offset
                    ),
                ));
            }
        }
        let block = u64::from(limits.request_alignment.max(limits.block_size)).max(1);
        self.check_steps(size, child, block, "the child's block size is")?;
        match &limits.zoned {
            Some(zoned) => self.check_steps(
                size,
                child,
                zoned.zone_size.max(1),
                "it would cut a zone; the zone size is",
            ),
            None => Ok(()),
        }
    }

    /// Checks that the window starts on a multiple of `step`, and ends on one or with the child.
    fn check_steps(&self, size: u64, child: u64, step: u64, why: &str) -> Result<()> {
        if !self.offset.is_multiple_of(step) {
            let mut near = nearest(self.offset, step, u64::MAX);
            near.retain(|offset| *offset < child);
            return Err(invalid("offset", self.offset, &advice(why, step, &near)));
        }
        let rest = child.saturating_sub(self.offset);
        if size != rest && !size.is_multiple_of(step) {
            // A window up to the child's end is allowed too.
            let mut near = nearest(size, step, rest);
            near.retain(|size| *size > 0);
            return Err(invalid("size", size, &advice(why, step, &near)));
        }
        Ok(())
    }
}

/// The multiples of `step` next to `value`; `limit` in place of one that is above it.
fn nearest(value: u64, step: u64, limit: u64) -> Vec<u64> {
    let down = value.saturating_sub(value.checked_rem(step).unwrap_or(0));
    vec![down, down.saturating_add(step).min(limit)]
}

fn advice(why: &str, step: u64, near: &[u64]) -> String {
    let near: Vec<_> = near.iter().map(|n| format!("{n:#x}")).collect();
    format!("{why} {step:#x}, so use {}", near.join(" or "))
}

fn invalid(option: &str, value: u64, message: &str) -> block_core::Error {
    ErrorKind::InvalidOption(format!("driver 'raw', option '{option}' = {value:#x}: {message}"))
        .into()
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset={:#x}", self.offset)?;
        match self.size {
            Some(size) => write!(f, ",size={size:#x}"),
            None => Ok(()),
        }
    }
}
