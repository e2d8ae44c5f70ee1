//! What a run of the battery found.

use std::fmt;

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The contract was kept.
    Passed,
    /// The subject does not have what the case needs; says what.
    Skipped(String),
    /// The contract was broken; says how.
    Failed(String),
}

/// One case and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// The case's name, `theme::what_must_hold`.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
}

/// The results of all cases, in the order in which they ran.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One entry for each case.
    pub cases: Vec<CaseResult>,
}

impl Report {
    /// How many cases passed.
    pub fn passed(&self) -> usize {
        let passed = |case: &&CaseResult| case.verdict == Verdict::Passed;
        self.cases.iter().filter(passed).count()
    }

    /// The cases that were skipped, with the reasons.
    pub fn skipped(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.cases.iter().filter_map(|case| match &case.verdict {
            Verdict::Skipped(why) => Some((case.name, why.as_str())),
            _ => None,
        })
    }

    /// The cases that failed, with what was found.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.cases.iter().filter_map(|case| match &case.verdict {
            Verdict::Failed(why) => Some((case.name, why.as_str())),
            _ => None,
        })
    }

    /// Prints the count; `subject` says of what.
    ///
    /// # Panics
    /// With a list of the failed cases, if there are any, or if no case passed.
    pub fn check(&self, subject: &str) {
        println!("{subject}: {self}");
        assert!(self.failed().next().is_none() && self.passed() > 0, "{subject}: {self:#}");
    }
}

/// One line with the counts; with `{:#}` the failed and skipped cases too, one a line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} conformance cases passed", self.passed())?;
        write!(f, ", {} failed", self.failed().count())?;
        write!(f, ", {} skipped", self.skipped().count())?;
        if f.alternate() {
            for (name, why) in self.failed() {
                write!(f, "\n  FAILED  {name}: {why}")?;
            }
            for (name, why) in self.skipped() {
                write!(f, "\n  skipped {name}: {why}")?;
            }
        }
        Ok(())
    }
}
