//! Which parts of a request land when it is torn.

use crate::dice::Dice;
use std::ops::Range;

/// Smallest piece that storage writes whole, in bytes, where the node below names none.
const SECTOR: u64 = 512;

/// The first bytes of `len`: as many as asked, or half, rounded down to `unit`.
pub(crate) fn first(len: u64, asked: Option<u64>, unit: u64) -> Range<u64> {
    let want = asked.unwrap_or(len / 2).min(len);
    0..floor(want, unit)
}

/// By chance how many of the first units, but never all.
pub(crate) fn any_first(len: u64, unit: u64, dice: &mut Dice) -> Range<u64> {
    let units = len.div_ceil(unit.max(1));
    0..dice.below(units).saturating_mul(unit)
}

/// By chance which units, neighbours in one piece; never all, and not none if there are several.
pub(crate) fn any(len: u64, unit: u64, dice: &mut Dice) -> Vec<Range<u64>> {
    let unit = unit.max(1);
    let units = len.div_ceil(unit);
    // These two are settled beforehand, all others by chance.
    let lost = dice.below(units);
    let landed = match units {
        0 | 1 => None,
        _ => {
            Some(lost.saturating_add(1).saturating_add(dice.below(units.saturating_sub(1))) % units)
        }
    };
    let mut parts: Vec<Range<u64>> = Vec::new();
    for number in 0..units {
        let by_chance = dice.roll() & 1 == 1;
        if number == lost || !(by_chance || landed == Some(number)) {
            continue;
        }
        let start = number.saturating_mul(unit);
        let end = start.saturating_add(unit).min(len);
        match parts.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => parts.push(start..end),
        }
    }
    parts
}

/// The unit in which a write is torn on a node with this request alignment.
pub(crate) const fn sector(alignment: u32) -> u64 {
    let alignment = alignment as u64;
    if alignment > SECTOR { alignment } else { SECTOR }
}

const fn floor(n: u64, unit: u64) -> u64 {
    match n.checked_rem(unit) {
        Some(rest) => n.saturating_sub(rest),
        None => n,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_short_request_keeps_to_whole_units() {
        assert_eq!(first(4096, None, 512), 0..2048);
        assert_eq!(first(1536, None, 512), 0..512);
        assert_eq!(first(4096, Some(1000), 512), 0..512);
        assert_eq!(first(4096, Some(9000), 512), 0..4096);
        assert_eq!(first(512, None, 512), 0..0);
        assert_eq!(first(100, Some(7), 1), 0..7);
    }

    #[test]
    fn some_of_a_torn_request_lands_and_some_does_not() {
        let mut seen = BTreeSet::new();
        for turn in 0..500 {
            let parts = any(4 * 512 + 100, 512, &mut Dice::of(1, "torn", turn));
            let landed: u64 = parts.iter().map(|p| p.end - p.start).sum();
            assert!(landed > 0 && landed < 4 * 512 + 100, "{parts:?}");
            assert!(parts.iter().all(|p| p.end <= 4 * 512 + 100 && p.start % 512 == 0));
            seen.insert(format!("{parts:?}"));
        }
        assert_eq!(seen.len(), 30, "of five sectors, all but all and none");
        assert_eq!(any(512, 512, &mut Dice::of(1, "torn", 0)), []);
        assert_eq!(any(0, 512, &mut Dice::of(1, "torn", 0)), []);
    }

    #[test]
    fn in_a_sequential_zone_the_first_units_land() {
        let ends: BTreeSet<u64> =
            (0..100).map(|turn| any_first(2048, 512, &mut Dice::of(1, "torn", turn)).end).collect();
        assert_eq!(ends, BTreeSet::from([0, 512, 1024, 1536]));
    }
}
