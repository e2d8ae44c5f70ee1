//! Sizes, times and rates as qemu-io prints them.

use std::time::Duration;

const UNITS: [(&str, f64); 6] = [
    ("EiB", 1_152_921_504_606_846_976.0),
    ("PiB", 1_125_899_906_842_624.0),
    ("TiB", 1_099_511_627_776.0),
    ("GiB", 1_073_741_824.0),
    ("MiB", 1_048_576.0),
    ("KiB", 1024.0),
];

/// A number of bytes with its unit: `64 bytes`, `1.500 KiB`, `1 GiB`.
pub(crate) fn size(bytes: f64) -> String {
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{} {name}", cut_zeroes(format!("{:.3}", bytes / unit))),
        None => format!("{} bytes", cut_zeroes(format!("{bytes:.6}"))),
    }
}

/// A whole number of bytes with its unit.
pub(crate) fn byte_size(bytes: u64) -> String {
    size(as_f64(bytes))
}

/// Cuts a fraction that begins with three zeroes.
fn cut_zeroes(mut number: String) -> String {
    if let Some(at) = number.find(".000") {
        number.truncate(at);
    }
    number
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Two lines for people.
    Long,
    /// One line for programs (`-C`).
    Compact,
    /// Nothing (`-q`).
    Quiet,
}

/// What a transfer achieved, in the way that qemu-io says it.
pub(crate) fn transfer(
    style: Style,
    verb: &str,
    (offset, done): (u64, u64),
    spent: Duration,
) -> String {
    let seconds = spent.as_secs_f64().max(1e-9);
    let (rate, ops) = (as_f64(done) / seconds, 1.0 / seconds);
    match style {
        Style::Quiet => String::new(),
        Style::Compact => format!("{done},1,{},{rate:.3},{ops:.3}\n", clock(spent)),
        Style::Long => {
            let time = if spent.as_secs() == 0 {
                format!("00.{:02} sec", spent.subsec_millis() / 10)
            } else {
                clock(spent)
            };
            format!(
                "{verb} {done}/{done} bytes at offset {offset}\n{}, 1 ops; {time} ({}/sec and \
                 {ops:.4} ops/sec)\n",
                byte_size(done),
                size(rate),
            )
        }
    }
}

/// Hours, minutes, seconds and hundredths.
fn clock(time: Duration) -> String {
    let s = time.as_secs();
    let (minutes, seconds) = (s / 60 % 60, s % 60);
    format!("{}:{minutes:02}:{seconds:02}.{:02}", s / 3600, time.subsec_millis() / 10)
}

/// The nearest float: above 2^53 the last digits are lost, which no unit shows.
#[allow(clippy::cast_precision_loss)]
fn as_f64(n: u64) -> f64 {
    n as f64
}

/// The system's text for an errno, for example `Invalid argument`.
pub(crate) fn strerror(errno: i32) -> String {
    let mut text = std::io::Error::from_raw_os_error(errno).to_string();
    if let Some(at) = text.find(" (os error") {
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_up_to_three_digits_behind_the_point() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (511, "511 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.500 KiB"),
            (123_456, "120.562 KiB"),
            (1_049_600, "1.001 MiB"),
            (1_536_000, "1.465 MiB"),
            (16 << 20, "16 MiB"),
            (5 << 30, "5 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(byte_size(bytes), text);
        }
        assert_eq!(size(242.619_397), "242.619397 bytes");
        assert_eq!(size(0.000_284), "0 bytes");
    }

    #[test]
    fn transfers_are_printed_long_compact_or_not_at_all() {
        let time = Duration::from_millis(250);
        assert_eq!(
            transfer(Style::Long, "wrote", (512, 4096), time),
            "wrote 4096/4096 bytes at offset 512\n4 KiB, 1 ops; 00.25 sec (16 KiB/sec and 4.0000 \
             ops/sec)\n"
        );
        assert_eq!(
            transfer(Style::Compact, "wrote", (512, 4096), time),
            "4096,1,0:00:00.25,16384.000,4.000\n"
        );
        assert_eq!(transfer(Style::Quiet, "wrote", (512, 4096), time), "");
        let long = transfer(Style::Long, "read", (0, 1 << 30), Duration::from_millis(3_726_370));
        assert!(long.contains("1 GiB, 1 ops; 1:02:06.37 ("), "{long}");
        assert!(transfer(Style::Long, "read", (0, 0), Duration::ZERO).contains("0 bytes/sec"));
    }

    #[test]
    fn errnos_have_the_systems_text() {
        assert_eq!(strerror(22), "Invalid argument");
        assert_eq!(strerror(95), "Operation not supported");
    }
}
