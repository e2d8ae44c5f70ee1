//! What a golden script is: read from text, and written back.

use std::fmt;
use std::path::Path;

/// A script: commands, what they print, and comments, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    pub parts: Vec<Part>,
}

/// A part of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A comment or an empty line, as it is.
    Text(String),
    /// A shell command that must succeed, or else the script is left out, and why.
    Condition {
        /// The command.
        command: String,
        /// What is missing if it fails.
        reason: String,
    },
    /// A command with its outcome.
    Step(Step),
}

/// A command and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// For the shell; may have several lines.
    pub command: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code.
    pub code: i32,
}

impl Script {
    /// Reads a script from a file.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        Self::parse(&text)
    }

    /// Reads a script.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for (line, number) in text.lines().zip(1..) {
            script.line(line).map_err(|what| format!("line {number}: {what}: {line}"))?;
        }
        Ok(script)
    }

    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        if line.is_empty() || line == "#" || mark == "# " {
            self.parts.push(Part::Text(line.to_owned()));
            return Ok(());
        }
        if let Some(condition) = line.strip_prefix("#? ") {
            let (command, reason) = condition.split_once(" ## ").ok_or("no ' ## reason'")?;
            let (command, reason) = (command.to_owned(), reason.to_owned());
            self.parts.push(Part::Condition { command, reason });
            return Ok(());
        }
        if mark == "$ " {
            self.parts.push(Part::Step(Step { command: rest.to_owned(), ..Step::default() }));
            return Ok(());
        }
        let Some(Part::Step(step)) = self.parts.last_mut() else {
            return Err("what a command prints must follow the command");
        };
        match mark.trim_end() {
            "+" => step.command.push_str(&format!("\n{rest}")),
            ">" => step.stdout.push_str(&format!("{rest}\n")),
            ">-" => step.stdout.push_str(rest.strip_prefix(' ').unwrap_or(rest)),
            "!" => step.stderr.push_str(&format!("{rest}\n")),
            "!-" => step.stderr.push_str(rest.strip_prefix(' ').unwrap_or(rest)),
            "=" => step.code = rest.parse().map_err(|_| "not an exit code")?,
            _ => return Err("lines begin with '#', '$', '+', '>', '!' or '='"),
        }
        Ok(())
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => writeln!(f, "{text}")?,
                Part::Condition { command, reason } => writeln!(f, "#? {command} ## {reason}")?,
                Part::Step(step) => step.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, mark) in
            self.command.split('\n').zip(std::iter::once("$").chain(std::iter::repeat("+")))
        {
            writeln!(f, "{mark} {line}")?;
        }
        printed(f, ">", &self.stdout)?;
        printed(f, "!", &self.stderr)?;
        match self.code {
            0 => Ok(()),
            code => writeln!(f, "= {code}"),
        }
    }
}

/// Output with a mark before each line; `-` after the mark of a line that does not end.
fn printed(f: &mut fmt::Formatter<'_>, mark: &str, text: &str) -> fmt::Result {
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some("") => writeln!(f, "{mark}")?,
            Some(line) => writeln!(f, "{mark} {line}")?,
            None => writeln!(f, "{mark}- {line}")?,
        }
    }
    Ok(())
}
