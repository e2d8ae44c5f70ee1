//! Commands from a pipe or a file.

use crate::error::{Failure, Result};
use std::io::{self, BufRead};

/// The lines of standard input.
#[derive(Debug, Default)]
pub(super) struct Lines(());

impl Lines {
    /// The next line, without its end.
    pub(super) async fn next(&mut self) -> Result<Option<String>> {
        // Off the async thread, so that requests in the background go on meanwhile.
        let line = tokio::task::spawn_blocking(|| {
            let mut bytes = Vec::new();
            let n = io::stdin().lock().read_until(b'\n', &mut bytes)?;
            Ok((n > 0).then_some(bytes))
        });
        let line = line.await.map_err(io::Error::other).and_then(|line| line);
        let line = line.map_err(|e| Failure::system("cannot read standard input", &e))?;
        Ok(line.map(|bytes| {
            let text = String::from_utf8_lossy(&bytes);
            text.trim_end_matches(['\n', '\r']).to_owned()
        }))
    }
}
