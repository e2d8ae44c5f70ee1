//! Numbers as users write them: `4096`, `0x1000`, `4k`, `1.5M`.

/// The largest number that is taken: what a file offset can express.
const MAX: u64 = i64::MAX.unsigned_abs();
/// Digits behind the point that can matter: more than 60 bits of them.
const MAX_FRACTION_DIGITS: usize = 19;

/// Reads an offset or a length: decimal or `0x…`, with a suffix `k M G T P E` (powers of 1024) or
/// `b`; decimals may have a fraction if there is a suffix.
///
/// # Errors
/// What to tell the user.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let not_a_number = || {
        format!("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {text}")
    };
    let too_large = || format!("Parsing error: argument too large -- {text}");
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if let Some(rest) = unsigned.strip_prefix('-') {
        // The same complaint as qemu-io's: below zero is out of range, too, if it has no suffix.
        let number = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
        return Err(if number { too_large() } else { not_a_number() });
    }
    let (radix, digits) = match strip_hex(unsigned) {
        Some(hex) => (16, hex),
        None => (10, unsigned),
    };
    let (digits, unit) = split_unit(digits, radix).ok_or_else(not_a_number)?;
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) if radix == 10 && unit.is_some_and(|u| u > 0) => {
            (whole, Some(fraction))
        }
        Some(_) => return Err(not_a_number()),
        None => (digits, None),
    };
    let all_digits = |s: &str| s.chars().all(|c| c.is_digit(radix));
    if !all_digits(whole) || !fraction.is_none_or(all_digits) {
        return Err(not_a_number());
    }
    if whole.is_empty() && fraction.is_none_or(str::is_empty) {
        return Err(not_a_number());
    }
    let factor = 1_u64.checked_shl(unit.unwrap_or(0)).ok_or_else(too_large)?;
    // All digits, so only their number can be too large.
    let whole = if whole.is_empty() { Ok(0) } else { u64::from_str_radix(whole, radix) };
    let whole = whole.map_err(|_| too_large())?;
    whole
        .checked_mul(factor)
        .and_then(|n| n.checked_add(scaled_fraction(fraction.unwrap_or(""), factor)))
        .filter(|&n| n <= MAX)
        .ok_or_else(too_large)
}

fn strip_hex(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

/// Parts the digits from the suffix: its shift, or `None` inside if there is no suffix. The
/// whole is `None` for a suffix that means nothing.
fn split_unit(text: &str, radix: u32) -> Option<(&str, Option<u32>)> {
    let (at, last) = text.char_indices().next_back()?;
    if last.is_digit(radix) || last == '.' {
        return Some((text, None));
    }
    let shift = match last.to_ascii_lowercase() {
        'b' => 0,
        'k' => 10,
        'm' => 20,
        'g' => 30,
        't' => 40,
        'p' => 50,
        'e' => 60,
        _ => return None,
    };
    Some((text.get(..at)?, Some(shift)))
}

/// `0.fraction × factor`, to the nearest whole number. The text is decimal digits only.
fn scaled_fraction(fraction: &str, factor: u64) -> u64 {
    let mut numerator = 0_u128;
    let mut denominator = 1_u128;
    for digit in fraction.chars().take(MAX_FRACTION_DIGITS).filter_map(|c| c.to_digit(10)) {
        numerator = numerator.saturating_mul(10).saturating_add(u128::from(digit));
        denominator = denominator.saturating_mul(10);
    }
    let doubled = numerator.saturating_mul(u128::from(factor)).saturating_mul(2);
    let rounded = doubled.saturating_add(denominator).checked_div(denominator.saturating_mul(2));
    rounded.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// Reads a plain number as C does: `0x…`, octal with a leading 0, decimal.
pub(crate) fn parse_plain(text: &str) -> Option<u64> {
    let (radix, digits) = match strip_hex(text) {
        Some(hex) => (16, hex),
        None if text.len() > 1 && text.starts_with('0') => (8, text),
        None => (10, text),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// Reads the byte that fills or verifies.
///
/// # Errors
/// What to tell the user.
pub(crate) fn parse_pattern(text: &str) -> Result<u8, String> {
    parse_plain(text)
        .and_then(|n| u8::try_from(n).ok())
        .ok_or_else(|| format!("{text} is not a valid pattern byte"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_that_qemu_io_takes() {
        for (text, n) in [
            ("0", 0),
            ("010", 10),
            ("+1", 1),
            ("1b", 1),
            ("0x1000", 4096),
            ("4k", 4096),
            ("4K", 4096),
            ("1.5k", 1536),
            (".5k", 512),
            ("1.k", 1024),
            ("0.1k", 102),
            ("0.0001k", 0),
            ("0.0005k", 1),
            ("0.0015k", 2),
            ("1.99999999k", 2048),
            ("7E", 7 << 60),
            ("9223372036854775807", MAX),
            ("0x4k", 4096),
        ] {
            assert_eq!(parse_bytes(text), Ok(n), "{text}");
        }
    }

    #[test]
    fn numbers_that_qemu_io_refuses() {
        for text in [
            "", "x", "k", "-", "+", "0x", "0xg", "1.5", "1.5b", "1kk", "1e3", "0x1_0", ".", ".k",
            "٣", "1٣", "--1", "0x1.5k", "1.2.3k", "-x", "-2M", "-1k", "-1.5", "-1x", "-",
        ] {
            let error = parse_bytes(text).unwrap_err();
            assert!(error.contains("non-numeric argument"), "{text}: {error}");
        }
        for text in ["-1", "8E", "9E", "16E", "99999999999999999999", "9223372036854775808"] {
            let error = parse_bytes(text).unwrap_err();
            assert!(error.contains("argument too large"), "{text}: {error}");
        }
    }

    #[test]
    fn patterns_are_bytes_in_any_base() {
        for (text, byte) in [("0", 0), ("0xcd", 0xcd), ("010", 8), ("255", 255)] {
            assert_eq!(parse_pattern(text), Ok(byte));
        }
        for text in ["", "256", "-1", "+1", "x", "0x1g", "09", "0x"] {
            assert_eq!(parse_pattern(text), Err(format!("{text} is not a valid pattern byte")));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,40}", digits in "[-+0-9a-fA-Fx.kMGTPEb]{0,30}") {
            for text in [text, digits] {
                let _ = (parse_bytes(&text), parse_plain(&text), parse_pattern(&text));
            }
        }

        #[test]
        fn every_number_reads_back(n in 0..=MAX) {
            prop_assert_eq!(parse_bytes(&n.to_string()), Ok(n));
            prop_assert_eq!(parse_bytes(&format!("{n:#x}")), Ok(n));
        }
    }
}
