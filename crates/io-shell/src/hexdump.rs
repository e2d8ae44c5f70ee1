//! Bytes as hexadecimal and text, sixteen to a line.

use std::io::{self, Write};

/// Prints `bytes`, of which the first is at `offset`. Letters and digits show as they are, all
/// else as a point.
pub(crate) fn hexdump(out: &mut dyn Write, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut at = offset;
    for row in bytes.chunks(16) {
        let mut line = format!("{at:08x}:  ");
        for byte in row {
            line.push(hex_digit(byte >> 4));
            line.push(hex_digit(byte & 0xf));
            line.push(' ');
        }
        line.push(' ');
        line.extend(
            row.iter().map(|b| if b.is_ascii_alphanumeric() { char::from(*b) } else { '.' }),
        );
        line.push('\n');
        out.write_all(line.as_bytes())?;
        at = at.saturating_add(16);
    }
    Ok(())
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('?')
}

#[cfg(test)]
mod tests {
    use super::hexdump;

    #[test]
    fn a_short_last_row_is_not_padded() {
        let mut out = Vec::new();
        hexdump(&mut out, 1000, b"a!~ \"#$Z09\x7f\xffz_-aXY").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "000003e8:  61 21 7e 20 22 23 24 5a 30 39 7f ff 7a 5f 2d 61  a......Z09..z..a\n\
             000003f8:  58 59  XY\n"
        );
    }

    #[test]
    fn large_offsets_get_the_room_they_need() {
        let mut out = Vec::new();
        hexdump(&mut out, 0x12_3456_7890, &[0]).unwrap();
        assert_eq!(out, b"1234567890:  00  .\n");
    }
}
