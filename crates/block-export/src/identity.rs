//! Which device this is, and what may be done to it.

use block_core::{ErrorKind, Result};

/// What a user chooses about an exported device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    serial: String,
    read_only: bool,
}

impl Identity {
    /// The longest serial number, in bytes: what virtio-blk's GET_ID has room for (virtio 1.3,
    /// 5.2.6).
    pub const MAX_SERIAL: usize = 20;

    /// A serial number, which may be empty, and whether everything that changes data is refused.
    ///
    /// # Errors
    /// `InvalidOption` if the serial number is longer than [`MAX_SERIAL`](Self::MAX_SERIAL) or
    /// holds anything but printable ASCII.
    pub fn new(serial: &str, read_only: bool) -> Result<Self> {
        if serial.len() > Self::MAX_SERIAL {
            let message = format!(
                "the serial number '{serial}' has {} bytes; it may have {}",
                serial.len(),
                Self::MAX_SERIAL
            );
            return Err(ErrorKind::InvalidOption(message).into());
        }
        if let Some(wrong) = serial.chars().find(|c| !matches!(c, ' '..='~')) {
            let message =
                format!("the serial number {serial:?} holds {wrong:?}: use printable ASCII");
            return Err(ErrorKind::InvalidOption(message).into());
        }
        Ok(Self { serial: serial.to_owned(), read_only })
    }

    /// The serial number: printable ASCII, at most [`MAX_SERIAL`](Self::MAX_SERIAL) bytes.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Whether everything that changes data is refused, even if the image could be written.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// The serial number as virtio-blk's GET_ID gives it: padded with NUL, and without one if it
    /// fills all 20 bytes.
    pub fn padded_serial(&self) -> [u8; Self::MAX_SERIAL] {
        let mut padded = [0; Self::MAX_SERIAL];
        for (to, from) in padded.iter_mut().zip(self.serial.bytes()) {
            *to = from;
        }
        padded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_fits_a_guest_or_is_refused() {
        let refusal = |serial: &str| Identity::new(serial, false).unwrap_err().to_string();
        assert_eq!(Identity::new("", false).unwrap(), Identity::default());
        let longest = Identity::new("12345678901234567890", true).unwrap();
        assert_eq!(&longest.padded_serial(), b"12345678901234567890");
        assert!(refusal("123456789012345678901").contains("has 21 bytes; it may have 20"));
        assert!(refusal("a\nb").contains("printable ASCII"));
        assert!(refusal("zoné").contains("printable ASCII"));
        assert_eq!(Identity::new("ab", false).unwrap().padded_serial()[..3], *b"ab\0");
    }
}
