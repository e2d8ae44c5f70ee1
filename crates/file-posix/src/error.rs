//! Errors of the operating system, told with the words that their reader needs.

use block_core::{Error, ErrorKind};
use std::fmt;
use std::io;

/// An operating system error with a message of ours. The original stays its source.
#[derive(Debug)]
struct Described {
    message: String,
    source: io::Error,
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Described {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// `what` followed by the system's own words, as the kind that a caller can act on.
///
/// Unlike [`ErrorKind::from_io`] it keeps a read-only file system apart from a read-only node.
pub(crate) fn described(what: &str, source: io::Error) -> Error {
    let message = format!("{what}: {source}");
    match ErrorKind::from_io(io::Error::from(source.kind())) {
        ErrorKind::NoSpace(_) => ErrorKind::NoSpace(message),
        _ => ErrorKind::Io(io::Error::new(source.kind(), Described { message, source })),
    }
    .into()
}

/// An option that cannot be, with the reason.
pub(crate) fn invalid(message: String) -> Error {
    ErrorKind::InvalidOption(message).into()
}

/// Whether the kernel or the file system does not know an operation at all.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_survives_the_description() {
        let error = described("cannot open 'x'", io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "cannot open 'x': No such file or directory (os error 2)");
        assert!(matches!(error.kind(), ErrorKind::Io(e) if e.kind() == io::ErrorKind::NotFound));
        for full in [28, 27, 122] {
            let error = described("cannot grow 'x'", io::Error::from_raw_os_error(full));
            assert_eq!(error.kind().name(), "no-space");
        }
    }

    #[test]
    fn a_read_only_file_system_is_no_read_only_node() {
        let error = described("cannot open 'x'", io::Error::from_raw_os_error(30));
        assert_eq!(error.kind().name(), "io");
    }

    #[test]
    fn unknown_operations_are_recognized() {
        for unknown in [95, 38] {
            assert!(is_unsupported(&io::Error::from_raw_os_error(unknown)));
        }
        assert!(!is_unsupported(&io::Error::from_raw_os_error(22)));
    }
}
