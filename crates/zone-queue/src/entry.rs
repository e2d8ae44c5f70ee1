//! One request in a zone's queue.

use block_core::{Error, ErrorKind, InFlightGuard, IoVec, RequestFlags, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// What a request writes.
#[derive(Clone, Debug)]
pub enum Payload {
    /// These bytes.
    Data(IoVec),
    /// This many zeroes, with the flags that say how they may be written.
    Zeroes(u64, RequestFlags),
}

impl Payload {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Data(bufs) => u64::try_from(bufs.len()).unwrap_or(u64::MAX),
            Self::Zeroes(len, _) => *len,
        }
    }

    /// Whether it writes nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A write or an append that waits for its turn. Made in a box, because it moves from list to list on
/// its way.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where the request must land; `None` for an append.
    pub(crate) at: Option<u64>,
    pub(crate) payload: Payload,
    /// The runtime of the caller, which can carry the zone's task.
    pub(crate) runtime: Handle,
    reply: oneshot::Sender<Result<u64>>,
    _under_way: InFlightGuard,
}

impl Entry {
    pub(crate) fn new(
        at: Option<u64>,
        payload: Payload,
        runtime: Handle,
        under_way: InFlightGuard,
    ) -> (Box<Self>, oneshot::Receiver<Result<u64>>) {
        let (reply, receiver) = oneshot::channel();
        (Box::new(Self { at, payload, runtime, reply, _under_way: under_way }), receiver)
    }

    /// Tells the caller. A caller that went away does not hear it, which changes nothing.
    pub(crate) fn finish(self, result: Result<u64>) {
        let _ = self.reply.send(result);
    }
}

/// What a caller hears whose request had its turn when the zone's task was lost.
pub(crate) fn cut_off() -> Error {
    interrupted(
        "the task that carried this write ended in the middle, with its async runtime or by a \
         panic; whether the data landed is unknown: look at the write pointer",
    )
}

/// What a caller hears whose request still waited when the zone's task was lost.
pub(crate) fn never_begun() -> Error {
    interrupted(
        "the task that writes to this zone ended, with its async runtime or by a panic, before \
         this request's turn; nothing of it was written",
    )
}

fn interrupted(what: &str) -> Error {
    ErrorKind::Io(std::io::Error::new(std::io::ErrorKind::Interrupted, what.to_owned())).into()
}
