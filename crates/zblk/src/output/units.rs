//! Sizes as people read them.

const UNITS: [(&str, u32); 6] =
    [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// A number of bytes in the largest unit that it reaches: `16 MiB`, `1.5 GiB`, `512 B`. What does
/// not fit two decimals is cut and marked: `~1.33 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let Some((unit, shift)) = UNITS.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return format!("{bytes} B");
    };
    let whole = bytes >> shift;
    let rest = u128::from(bytes) & ((1_u128 << shift) - 1);
    let scaled = rest * 100;
    let hundredths = scaled >> shift;
    let about = if hundredths << shift == scaled { "" } else { "~" };
    match (hundredths / 10, hundredths % 10) {
        (0, 0) => format!("{about}{whole} {unit}"),
        (tenths, 0) => format!("{about}{whole}.{tenths} {unit}"),
        (tenths, hundredths) => format!("{about}{whole}.{tenths}{hundredths} {unit}"),
    }
}

/// A time in the unit that leaves it readable: `850 ns`, `12.3 us`, `1.50 s`.
pub(crate) fn duration_ns(ns: u64) -> String {
    let (unit, shift) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => ("us", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    let hundredths = (u128::from(ns) * 100) / shift;
    format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100)
}

/// A limit, of which 0 means none.
pub(crate) fn limit(value: u64, show: impl FnOnce(u64) -> String) -> String {
    match value {
        0 => "no limit".to_owned(),
        value => show(value),
    }
}

/// `1 zone`, `2 zones`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_readable_units() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (12_345, "12.34 us"),
            (1_000_000, "1.00 ms"),
            (90_000_000_000, "90.00 s"),
        ] {
            assert_eq!(duration_ns(ns), text);
        }
    }

    #[test]
    fn sizes_take_the_largest_unit_that_they_reach() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (16 << 20, "16 MiB"),
            (1536 << 20, "1.5 GiB"),
            ((1 << 20) + (1 << 18), "1.25 MiB"),
            ((1 << 20) + 1, "~1 MiB"),
            ((4 << 30) / 3, "~1.33 GiB"),
            (u64::MAX, "~15.99 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
