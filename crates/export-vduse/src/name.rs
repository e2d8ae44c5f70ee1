//! A device's name.

use crate::sys::NAME_MAX;
use std::fmt;
use std::str::FromStr;

/// The name of a device: of its node, `/dev/vduse/NAME`, and on the vDPA bus. Letters, digits, `-`,
/// `_` and `.`, at most 255 of them, the first a letter or digit, and not `control`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || !text.chars().all(known) || text.len() > NAME_MAX {
            return Err(format!(
                "the name has 1 to {NAME_MAX} letters, digits, '-', '_' and '.', and begins with a \
                 letter or digit"
            ));
        }
        if text == "control" {
            return Err("'control' is the name of VDUSE's own node".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_file_names_are_refused() {
        for good in ["a", "disk0", "0", "a.b-c_d", &"x".repeat(255)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "..", ".x", "-x", "a b", "ä", "a\0", "control", &"x".repeat(256)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
