//! libublk's errors in words that say what was being done.

use block_core::{Error, ErrorKind};
use libublk::UblkError;
use std::io;

/// The same as an error of the operating system.
pub(crate) fn to_io(error: UblkError) -> io::Error {
    match error {
        UblkError::IOError(error) => error,
        UblkError::UringIOError(number) | UblkError::OtherError(number) => {
            io::Error::from_raw_os_error(number.saturating_abs())
        }
        other => io::Error::other(other.to_string()),
    }
}

/// A failed step.
pub(crate) fn failed(doing: &str, error: &io::Error) -> Error {
    ErrorKind::Io(io::Error::new(error.kind(), format!("{doing}: {error}"))).into()
}

/// A failed step of libublk.
pub(crate) fn ublk_failed(doing: &str, error: UblkError) -> Error {
    failed(doing, &to_io(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_number_is_kept_whatever_its_sign() {
        for error in [UblkError::UringIOError(-16), UblkError::OtherError(16)] {
            assert_eq!(to_io(error).raw_os_error(), Some(16));
        }
        let error = ublk_failed("starting /dev/ublkb0", UblkError::UringIOError(-22));
        assert!(error.to_string().starts_with("starting /dev/ublkb0: Invalid argument"), "{error}");
    }
}
