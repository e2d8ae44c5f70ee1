//! Values that users write in their own way: sizes with suffixes, switches.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;

/// A number of bytes, written as a JSON number or as text: decimal or `0x…`, with an optional
/// suffix `k`, `M`, `G`, `T`, `P` (powers of 1024, either case).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a size: give bytes as a decimal or 0x number, with an optional suffix k, M, G \
     or T (powers of 1024), below 2^64"
)]
pub struct ParseSizeError(String);

/// Reads a number of bytes as [`ByteSize`] does.
///
/// # Errors
/// [`ParseSizeError`] for anything else, overflow included.
pub fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    let error = || ParseSizeError(text.to_owned());
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    let (digits, shift) = match digits.char_indices().next_back() {
        Some((at, suffix)) if !suffix.is_digit(radix) => {
            let shift = match suffix.to_ascii_lowercase() {
                'k' => 10_u32,
                'm' => 20,
                'g' => 30,
                't' => 40,
                'p' => 50,
                _ => return Err(error()),
            };
            (digits.get(..at).ok_or_else(error)?, shift)
        }
        _ => (digits, 0),
    };
    // `from_str_radix` takes a sign, a size does not.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return Err(error());
    }
    let number = u64::from_str_radix(digits, radix).map_err(|_| error())?;
    number.checked_mul(1_u64 << shift).ok_or_else(error)
}

impl std::str::FromStr for ByteSize {
    type Err = ParseSizeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_size(text).map(Self)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size in bytes, such as 4096, 0x1000, 64k or 1G")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<ByteSize, E> {
        u64::try_from(value)
            .map(ByteSize)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// A switch, written as a JSON boolean or as `on`, `off`, `true`, `false`, `yes`, `no`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OnOff(pub bool);

struct OnOffVisitor;

impl Visitor<'_> for OnOffVisitor {
    type Value = OnOff;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("on or off")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<OnOff, E> {
        Ok(OnOff(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OnOff, E> {
        match text {
            "on" | "true" | "yes" => Ok(OnOff(true)),
            "off" | "false" | "no" => Ok(OnOff(false)),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }
}

impl<'de> Deserialize<'de> for OnOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnOffVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_take_hex_and_suffixes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("0x1000", 4096),
            ("4k", 4096),
            ("0x4K", 4096),
            ("16M", 16 << 20),
            ("1G", 1 << 30),
            ("16T", 16 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "k",
            "-1",
            "+1",
            "1.5M",
            "1MB",
            "0x",
            "0xk",
            "99999999T",
            "1 k",
            "18446744073709551616",
            "٣",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,30}") {
            let _ = parse_size(&text);
        }

        #[test]
        fn every_number_reads_back(n: u64) {
            prop_assert_eq!(parse_size(&n.to_string()), Ok(n));
            prop_assert_eq!(parse_size(&format!("{n:#x}")), Ok(n));
        }
    }
}
