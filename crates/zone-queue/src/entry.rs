//! One request in a zone's queue.

use block_core::{Error, ErrorKind, InFlightGuard, IoVec, Result};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What a request writes.
#[derive(Clone, Debug)]
pub enum Payload {
    /// These bytes.
    Data(IoVec),
    /// This many zeroes.
    Zeroes(u64),
}

impl Payload {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Data(bufs) => u64::try_from(bufs.len()).unwrap_or(u64::MAX),
            Self::Zeroes(len) => *len,
        }
    }

    /// Whether it writes nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A write or an append that waits for its turn.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where the request must land; `None` for an append.
    pub(crate) at: Option<u64>,
    pub(crate) payload: Payload,
    reply: oneshot::Sender<Result<u64>>,
    /// The share of the zone's budget that the request holds until it ends.
    _budget: OwnedSemaphorePermit,
    _under_way: InFlightGuard,
}

impl Entry {
    pub(crate) fn new(
        at: Option<u64>,
        payload: Payload,
        budget: OwnedSemaphorePermit,
        under_way: InFlightGuard,
    ) -> (Self, oneshot::Receiver<Result<u64>>) {
        let (reply, receiver) = oneshot::channel();
        (
            Self {
                at,
                payload,
                reply,
                _budget: budget,
                _under_way: under_way,
            },
            receiver,
        )
    }

    /// Whether the caller went away. Only asked before the request's turn.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.reply.is_closed()
    }

    /// Tells the caller. A caller that went away does not hear it, which changes nothing.
    pub(crate) fn finish(self, result: Result<u64>) {
        let _ = self.reply.send(result);
    }
}

/// What a caller hears whose request was lost with the runtime that carried it.
pub(crate) fn runtime_gone() -> Error {
    ErrorKind::Io(std::io::Error::new(
        std::io::ErrorKind::Interrupted,
        "the async runtime that carried this zone's writes was shut down; whether the data landed \
         is unknown: look at the write pointer",
    ))
    .into()
}
