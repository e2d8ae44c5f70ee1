//! What can go wrong between this process and the kernel.

use std::io;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was tried, why it failed, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}: {why}{}{advice}", if advice.is_empty() { "" } else { "; " })]
pub struct Error {
    doing: String,
    #[source]
    why: io::Error,
    advice: &'static str,
}

impl Error {
    pub(crate) fn new(doing: impl Into<String>, why: impl Into<io::Error>) -> Self {
        Self { doing: doing.into(), why: why.into(), advice: "" }
    }

    /// For what is wrong without a system call that says so.
    pub(crate) fn because(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(doing, io::Error::other(why.into()))
    }

    #[must_use]
    pub(crate) fn advise(mut self, advice: &'static str) -> Self {
        self.advice = advice;
        self
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        self.why.raw_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let error = Error::new("open x", Errno::ENOENT).advise("make it");
        assert_eq!(
            error.to_string(),
            "cannot open x: No such file or directory (os error 2); make it"
        );
        assert_eq!(error.errno(), Some(2));
        let error = Error::because("use y", "it is odd");
        assert_eq!((error.to_string().as_str(), error.errno()), ("cannot use y: it is odd", None));
    }
}
