//! Typed errors: what was asked, of which node, where, what was expected, what to do.

mod kind;

pub use kind::ErrorKind;

use std::fmt;
use std::sync::Arc;

/// The result of every call in the block layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed request.
///
/// [`kind`](Self::kind) tells cases apart; the rest says what was asked. A driver gives the kind
/// alone (`ErrorKind` converts by `?`), and the graph adds the request and the node as the error
/// passes: the node nearest to the cause is the one named.
///
/// Cloning is cheap: several callers may share the failure of one merged request.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Request {
    op: Option<&'static str>,
    node: Option<Arc<str>>,
    range: Option<(u64, u64)>,
}

struct Inner {
    kind: Arc<ErrorKind>,
    request: Request,
}

impl Error {
    /// An error of this kind, with nothing yet said about the request.
    pub fn new(kind: ErrorKind) -> Self {
        Self(Arc::new(Inner { kind: Arc::new(kind), request: Request::default() }))
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The Linux errno of the kind.
    pub fn errno(&self) -> i32 {
        self.0.kind.errno()
    }

    /// The operation that failed, for example `append`.
    pub fn op(&self) -> Option<&'static str> {
        self.0.request.op
    }

    /// The node nearest to the cause.
    pub fn node(&self) -> Option<&str> {
        self.0.request.node.as_deref()
    }

    /// Offset and length of the failed request on [`node`](Self::node), in bytes.
    pub fn range(&self) -> Option<(u64, u64)> {
        self.0.request.range
    }

    /// Says which operation, at which offset and length, failed; what was said before stays.
    #[must_use]
    pub fn with_request(self, op: &'static str, range: Option<(u64, u64)>) -> Self {
        self.update(|request| {
            if request.op.is_none() {
                request.op = Some(op);
                request.range = range;
            }
        })
    }

    /// Says which node failed; what was said before stays.
    #[must_use]
    pub fn with_node(self, node: &Arc<str>) -> Self {
        self.update(|request| {
            request.node.get_or_insert_with(|| Arc::clone(node));
        })
    }

    fn update(mut self, change: impl FnOnce(&mut Request)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(&mut inner.request);
            return self;
        }
        let mut request = self.0.request.clone();
        change(&mut request);
        Self(Arc::new(Inner { kind: Arc::clone(&self.0.kind), request }))
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(ErrorKind::from_io(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { op, node, range } = &self.0.request;
        if let Some(op) = op {
            f.write_str(op)?;
            match range {
                Some((offset, 0)) => write!(f, " at {offset:#x}")?,
                Some((offset, len)) => write!(f, " of {len:#x} bytes at {offset:#x}")?,
                None => {}
            }
            if let Some(node) = node {
                write!(f, " on node '{node}'")?;
            }
            f.write_str(": ")?;
        } else if let Some(node) = node {
            write!(f, "node '{node}': ")?;
        }
        write!(f, "{}", self.0.kind)?;
        match self.0.kind.advice() {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("request", &self.0.request)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::ZoneId;

    fn full() -> Error {
        ErrorKind::ZoneFull {
            zone: ZoneId { index: 3, start: 0x3000 },
            needed: 0x1000,
            remaining: 0,
        }
        .into()
    }

    #[test]
    fn a_message_says_what_was_asked_where_and_what_to_do() {
        let error =
            full().with_request("append", Some((0x3000, 0x1000))).with_node(&Arc::from("disk"));
        assert_eq!(
            error.to_string(),
            "append of 0x1000 bytes at 0x3000 on node 'disk': zone 3 at 0x3000 is full: \
             0x1000 bytes asked, 0x0 left of its capacity (reset the zone, or use another one)"
        );
        assert_eq!(error.errno(), 28);
    }

    #[test]
    fn the_node_nearest_to_the_cause_is_named() {
        let leaf: Arc<str> = Arc::from("leaf");
        let root: Arc<str> = Arc::from("root");
        let error = full().with_request("append", Some((1, 2))).with_node(&leaf);
        let error = error.with_request("write", Some((3, 4))).with_node(&root);
        assert_eq!(
            (error.node(), error.op(), error.range()),
            (Some("leaf"), Some("append"), Some((1, 2)))
        );
    }

    #[test]
    fn a_shared_error_can_be_told_apart_by_each_receiver() {
        let first = full();
        let second = first.clone().with_request("append", None);
        assert_eq!(first.op(), None);
        assert_eq!(second.op(), Some("append"));
        assert_eq!(second.kind().name(), first.kind().name());
    }

    #[test]
    fn an_error_that_was_wrapped_keeps_its_number() {
        #[derive(Debug, thiserror::Error)]
        #[error("a.img: {0}")]
        struct OnPath(#[source] std::io::Error);
        let missing = std::io::Error::from_raw_os_error(2);
        let wrapped = Error::from(std::io::Error::other(OnPath(missing)));
        assert_eq!(wrapped.errno(), 2);
    }

    #[test]
    fn a_full_disk_is_told_apart_from_other_io_errors() {
        let enospc = Error::from(std::io::Error::from_raw_os_error(28));
        assert_eq!((enospc.kind().name(), enospc.errno()), ("no-space", 28));
        let eio = Error::from(std::io::Error::from_raw_os_error(5));
        assert_eq!((eio.kind().name(), eio.errno()), ("io", 5));
    }
}
