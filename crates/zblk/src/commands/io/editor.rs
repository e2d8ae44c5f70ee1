//! Commands from a terminal, with history and completion.

use crate::error::{Failure, Result};
use crate::output::style::{HEADER, paint};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Helper};
use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

const PROMPT: &str = "zblk> ";
/// Commands that are kept for the next time.
const HISTORY: usize = 1000;

/// A line editor whose history outlives the process, where there is a place for it.
pub(super) struct Editor {
    /// Away while a line is being typed.
    editor: Option<rustyline::Editor<Words, DefaultHistory>>,
    color: bool,
    history: Option<PathBuf>,
}

impl Editor {
    pub(super) fn new(color: bool) -> Self {
        Self { editor: None, color, history: history_path() }
    }

    /// The next command; none after Ctrl-D.
    pub(super) async fn next(&mut self) -> Result<Option<String>> {
        let mut editor = match self.editor.take() {
            Some(editor) => editor,
            None => self.start()?,
        };
        // Off the async thread, so that requests in the background go on meanwhile.
        let typed = tokio::task::spawn_blocking(move || {
            let line = loop {
                match editor.readline(PROMPT) {
                    // Ctrl-C gives up the line, not the session.
                    Err(ReadlineError::Interrupted) => {}
                    line => break line,
                }
            };
            (editor, line)
        });
        let (editor, line) =
            typed.await.map_err(|e| failed(&ReadlineError::Io(io::Error::other(e))))?;
        self.editor = Some(editor);
        match line {
            Ok(line) => {
                self.remember(&line);
                Ok(Some(line))
            }
            Err(ReadlineError::Eof) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    fn start(&self) -> Result<rustyline::Editor<Words, DefaultHistory>> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(HISTORY)
            .map_err(|error| failed(&error))?
            .history_ignore_space(true)
            .build();
        let mut editor = rustyline::Editor::with_config(config).map_err(|error| failed(&error))?;
        editor.set_helper(Some(Words { prompt: paint(self.color, HEADER, PROMPT) }));
        if let Some(path) = &self.history {
            // There is none yet the first time.
            let _ = editor.load_history(path);
        }
        Ok(editor)
    }

    /// Adds a line to the history. A history that cannot be kept is no reason to stop.
    fn remember(&mut self, line: &str) {
        let Some(editor) = &mut self.editor else {
            return;
        };
        if !matches!(editor.add_history_entry(line), Ok(true)) {
            return;
        }
        if let Some(path) = &self.history {
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = editor.append_history(path);
        }
    }
}

fn failed(error: &ReadlineError) -> Failure {
    Failure::system("cannot read from the terminal", &io::Error::other(error.to_string()))
}

/// `$XDG_STATE_HOME/zblk/history`, or its usual place below the home directory.
fn history_path() -> Option<PathBuf> {
    let directory = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = directory("XDG_STATE_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("zblk/history"))
}

/// Completes a command's first word.
struct Words {
    prompt: String,
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..position).unwrap_or_default();
        let word = typed.trim_start();
        if word.contains(char::is_whitespace) {
            return Ok((position, Vec::new()));
        }
        let start = typed.len().saturating_sub(word.len());
        let found = io_shell::completions(word).into_iter();
        Ok((start, found.map(|name| format!("{name} ")).collect()))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, _: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Borrowed(&self.prompt)
    }
}

impl Validator for Words {}
impl Helper for Words {}
