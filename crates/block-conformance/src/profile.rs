//! What is expected of a subject.

use std::time::Duration;

/// What a subject does with what is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// It is storage: reads give what was written.
    Data,
    /// Reads give zeroes, whatever was written.
    Zeroes,
    /// Reads give anything.
    Nothing,
}

/// Where zoned devices may differ. The defaults are how this project's own behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneHabits {
    /// A close of an empty zone is an error, instead of a success without a change.
    pub close_of_empty_is_error: bool,
    /// A close of a full zone is an error, instead of a success without a change.
    pub close_of_full_is_error: bool,
    /// Reads above the write pointer give zeroes. A real device may give another pattern.
    pub reads_above_pointer_are_zero: bool,
    /// At the limit of open zones, an implicitly open zone is closed to make room.
    pub closes_implicitly: bool,
    /// A request over several zones is refused as a whole. A real device may have changed some.
    pub all_or_nothing: bool,
    /// Open zones come back closed after a reopen. A real device keeps them open.
    pub reopen_closes_zones: bool,
    /// The driver itself refuses what is misaligned or above the append limit, which is otherwise
    /// the backend's to do.
    pub checks_alignment: bool,
}

impl Default for ZoneHabits {
    fn default() -> Self {
        Self {
            close_of_empty_is_error: false,
            close_of_full_is_error: false,
            reads_above_pointer_are_zero: true,
            closes_implicitly: true,
            all_or_nothing: true,
            reopen_closes_zones: true,
            checks_alignment: false,
        }
    }
}

/// What is expected of a subject. Start from one of the constructors.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What becomes of written data.
    pub retention: Retention,
    /// Whether the node must have zones.
    pub zoned: bool,
    /// Whether the node's length can be changed. Otherwise a resize must be refused.
    pub resizes: bool,
    /// Where zoned devices may differ.
    pub zones: ZoneHabits,
    /// What the offsets in the node's errors are too high by, in bytes: a filter that shows a
    /// window passes on the errors of its child, which speak of the child's offsets.
    pub error_offset: u64,
    /// How long a case may take before it has failed as stuck.
    pub patience: Duration,
    only: Option<String>,
    left_out: Vec<(String, String)>,
}

impl Profile {
    /// A regular device that keeps its data and can be resized.
    pub fn regular() -> Self {
        Self {
            retention: Retention::Data,
            zoned: false,
            resizes: true,
            zones: ZoneHabits::default(),
            error_offset: 0,
            patience: Duration::from_secs(240),
            only: None,
            left_out: Vec::new(),
        }
    }

    /// A regular device of a fixed length that keeps its data.
    pub fn fixed() -> Self {
        Self { resizes: false, ..Self::regular() }
    }

    /// A regular device that forgets what is written and reads as zeroes.
    pub fn forgetful() -> Self {
        Self { retention: Retention::Zeroes, ..Self::regular() }
    }

    /// A zoned device of a fixed length that keeps its data.
    pub fn zoned() -> Self {
        Self { zoned: true, ..Self::fixed() }
    }

    /// Runs only the cases whose names contain this text.
    #[must_use]
    pub fn only(mut self, text: &str) -> Self {
        self.only = Some(text.to_owned());
        self
    }

    /// Leaves out one case, by its full name, for a reason that the report repeats.
    ///
    /// # Panics
    /// If there is no case of that name.
    #[must_use]
    pub fn leave_out(mut self, case: &str, reason: &str) -> Self {
        assert!(
            crate::case_names().any(|name| name == case),
            "there is no conformance case '{case}'"
        );
        self.left_out.push((case.to_owned(), reason.to_owned()));
        self
    }

    pub(crate) fn wants(&self, case: &str) -> bool {
        self.only.as_ref().is_none_or(|text| case.contains(text))
    }

    pub(crate) fn left_out(&self, case: &str) -> Option<&str> {
        let entry = self.left_out.iter().find(|(name, _)| name == case)?;
        Some(&entry.1)
    }
}
