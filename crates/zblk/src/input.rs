//! Standard input, read ahead in pieces of bounded memory.

use crate::error::{Failure, Result};
use block_backend::{BlockBackend, ErrorKind, IoBuf, IoVec};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek};
use std::os::fd::AsFd;
use std::thread;
use tokio::sync::mpsc;

/// Input up to this long is read as a whole before anything is done with it, so that what is wrong
/// with it is known before anything is changed.
const LOOK_AHEAD: u64 = 8 << 20;
/// Pieces that wait to be written.
const QUEUE: usize = 2;

/// Standard input, of which the beginning is in memory.
#[derive(Debug)]
pub(crate) struct Input {
    first: VecDeque<IoBuf>,
    /// What follows; `None` if the beginning is all.
    rest: Option<mpsc::Receiver<io::Result<IoBuf>>>,
    /// The length, if it is known: because the input was short, or comes from a file.
    length: Option<u64>,
}

impl Input {
    /// Reads the beginning. All pieces but the last are `piece` bytes long.
    ///
    /// Empty input is refused: nobody means that, and a program that failed in front of the pipe
    /// leaves it.
    pub(crate) async fn open(backend: &BlockBackend, piece: u64) -> Result<Self> {
        if io::stdin().is_terminal() {
            let message = "standard input is a terminal; give the data from a file (… < piece) or \
                           from another program (head -c 1M /dev/urandom | …)";
            return Err(Failure::Usage(message.to_owned()));
        }
        let length = length_of_file();
        let piece = usize::try_from(piece).unwrap_or(usize::MAX);
        let mut rest = start_reader(backend.clone(), piece)?;
        let mut first = VecDeque::new();
        let mut ahead = 0_u64;
        while ahead < LOOK_AHEAD {
            let Some(piece) = receive(&mut rest).await? else {
                if ahead == 0 {
                    return Err(empty());
                }
                return Ok(Self { first, rest: None, length: Some(ahead) });
            };
            ahead = ahead.saturating_add(len(&piece));
            first.push_back(piece);
        }
        Ok(Self { first, rest: Some(rest), length })
    }

    /// The length, if it is known.
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// All of the input in one, if it was short.
    pub(crate) fn into_whole(self) -> Result<IoVec, Self> {
        match self.rest {
            None => Ok(self.first.into_iter().collect()),
            Some(_) => Err(self),
        }
    }

    /// The next piece.
    pub(crate) async fn next(&mut self) -> Result<Option<IoBuf>> {
        match (self.first.pop_front(), &mut self.rest) {
            (Some(piece), _) => Ok(Some(piece)),
            (None, Some(rest)) => receive(rest).await,
            (None, None) => Ok(None),
        }
    }
}

/// The length of a piece.
pub(crate) fn len(piece: &IoBuf) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}

async fn receive(from: &mut mpsc::Receiver<io::Result<IoBuf>>) -> Result<Option<IoBuf>> {
    let piece = from.recv().await.transpose();
    piece.map_err(|error| Failure::system("cannot read standard input", &error))
}

fn empty() -> Failure {
    let kind = ErrorKind::Misaligned { what: "length", given: 0, required: 1 };
    Failure::of(&kind, "standard input is empty, so nothing was written".to_owned())
}

/// What is left of a regular file; other kinds of file do not know.
fn length_of_file() -> Option<u64> {
    let mut file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    let found = file.metadata().ok()?;
    let position = file.stream_position().ok()?;
    // Files in /proc say 0, whatever they hold.
    let known = found.is_file() && found.len() > 0;
    known.then(|| found.len().saturating_sub(position))
}

/// A thread, not a task: it may wait for input for as long as the process lives.
fn start_reader(backend: BlockBackend, piece: usize) -> Result<mpsc::Receiver<io::Result<IoBuf>>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let read_all = move || {
        while let Some(result) = read_piece(&backend, piece).transpose() {
            let failed = result.is_err();
            if sender.blocking_send(result).is_err() || failed {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read_all)
        .map_err(|error| Failure::system("cannot start a thread", &error))?;
    Ok(receiver)
}

/// Reads as much as a piece holds, or as there is.
fn read_piece(backend: &BlockBackend, len: usize) -> io::Result<Option<IoBuf>> {
    let mut buffer = backend.buffer(len);
    let mut filled = 0;
    let mut rest = buffer.as_mut_slice().unwrap_or_default();
    let mut stdin = io::stdin().lock();
    while !rest.is_empty() {
        match stdin.read(rest) {
            Ok(0) => break,
            Ok(n) => {
                filled += n;
                rest = rest.split_at_mut(n).1;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((filled > 0).then(|| buffer.split_to(filled).freeze()))
}
