//! What is printed, and how.

pub(crate) mod progress;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod tree;
pub(crate) mod units;

use crate::cli::{Global, When};
use crate::error::Result;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Where and in which form results go.
#[derive(Debug)]
pub(crate) struct Output {
    /// One JSON object instead of text.
    pub(crate) json: bool,
    color: When,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self { json: global.json, color: global.color }
    }

    /// Whether standard output is to be coloured.
    pub(crate) fn color(&self) -> bool {
        self.wants_color(io::stdout().is_terminal())
    }

    /// Whether standard error is to be coloured.
    pub(crate) fn color_errors(&self) -> bool {
        self.wants_color(io::stderr().is_terminal())
    }

    fn wants_color(&self, terminal: bool) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                terminal && !dumb && !is_set("NO_COLOR")
            }
        }
    }

    /// Prints the result of a command: its object with `--json`, else its text.
    pub(crate) fn result<T: Serialize>(
        &self,
        object: &T,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        let text = if self.json { json(object)? } else { text() };
        print(&text)
    }

    /// Tells what is wrong. If standard error is closed, nobody wants to know.
    pub(crate) fn complain(&self, message: &str) {
        let _ = writeln!(io::stderr().lock(), "zblk: {message}");
    }

    /// Tells of something that happened beside the result, where a complaint would be.
    pub(crate) fn remark<T: Serialize>(&self, object: &T, text: impl FnOnce() -> String) {
        match self.json {
            true => self.complain_json(object),
            false => self.complain(&text()),
        }
    }

    pub(crate) fn complain_json<T: Serialize>(&self, object: &T) {
        if let Ok(text) = json(object) {
            let _ = io::stderr().lock().write_all(text.as_bytes());
        }
    }
}

fn json<T: Serialize>(object: &T) -> Result<String> {
    let mut text = serde_json::to_string(object).map_err(io::Error::from)?;
    text.push('\n');
    Ok(text)
}

/// Prints a text as it is.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
