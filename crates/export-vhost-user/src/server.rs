//! The socket, and one front end at a time.

use crate::channel::Channel;
use crate::dialect::{self, Brought, Kind};
use crate::session::Session;
use crate::worker::Worker;
use block_core::{Error, ErrorKind, Result};
use block_export::{Announcements, Export, Heard};
use std::convert::Infallible;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream as UnixStreamOfTokio};
use tokio::sync::oneshot;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{BackendReqHandler, Error as VhostError, VhostUserBackendReqHandlerMut};

/// So long a passing shortage is waited out.
const PAUSE: Duration = Duration::from_millis(100);

/// How a device is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of virtqueues, each with a thread of its own; 1 to [`MAX_QUEUES`](Self::MAX_QUEUES).
    pub queues: u16,
    /// Make every write durable before it is answered, and offer the driver no flush: then even a
    /// guest that lives on when the server is killed finds all that it was answered.
    pub write_through: bool,
}

impl Settings {
    /// The most queues of a device. (The messages that start a queue number them in one byte.)
    pub const MAX_QUEUES: u16 = 64;
}

impl Default for Settings {
    fn default() -> Self {
        Self { queues: 1, write_through: false }
    }
}

/// Serves an export on a Unix socket.
///
/// The socket's file is removed when the server is dropped, unless somebody else has put another
/// one in its place.
#[derive(Debug)]
pub struct Server {
    export: Export,
    ear: Announcements,
    listener: UnixListener,
    socket: Socket,
    workers: Arc<[Worker]>,
    write_through: bool,
}

impl Server {
    /// Listens at `path`. The socket of a server that is gone is replaced. It wants a tokio runtime
    /// with I/O enabled.
    ///
    /// # Errors
    /// `Busy` if a server listens there; `InvalidOption` if the path exists and is no socket, or for
    /// a number of queues that is not possible; `Io`.
    pub fn bind(export: Export, path: &Path, settings: Settings) -> Result<Self> {
        if !(1..=Settings::MAX_QUEUES).contains(&settings.queues) {
            let most = Settings::MAX_QUEUES;
            let message = format!("{} queues: give a number from 1 to {most}", settings.queues);
            return Err(ErrorKind::InvalidOption(message).into());
        }
        let workers = (0..settings.queues).map(Worker::start).collect::<Result<Vec<_>>>()?;
        make_way(path)?;
        let listener = UnixListener::bind(path).map_err(|error| on(path, error))?;
        let socket = Socket::at(path)?;
        let write_through = settings.write_through;
        let ear = export.announcements();
        Ok(Self { export, ear, listener, socket, workers: workers.into(), write_through })
    }

    /// Serves front ends, one after the other, until the future is dropped. A front end that breaks
    /// the protocol, or that the device refuses, is left, and the next one is waited for. One that
    /// brought a channel for it is told when the device has become larger.
    ///
    /// # Errors
    /// `Io` if no connection can be taken any more.
    ///
    /// # Cancellation
    /// The front end is left, and its requests under way end in the background;
    /// [`close`](Self::close) waits for them.
    pub async fn serve(&mut self) -> Result<()> {
        loop {
            let stream = match self.accept().await {
                Ok((stream, _)) => stream,
                Err(error) if is_passing(&error) => {
                    tracing::warn!(target: "block", %error, "a front end could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(on(self.socket.path(), error)),
            };
            let stream = stream.into_std().and_then(|stream| {
                stream.set_nonblocking(false)?;
                Ok(stream)
            });
            let stream = stream.map_err(|error| on(self.socket.path(), error))?;
            tracing::info!(target: "block", "a front end is connected");
            let channel = Arc::new(Channel::default());
            let session = Session::new(
                self.export.clone(),
                Arc::clone(&self.workers),
                self.write_through,
                Arc::clone(&channel),
            );
            let served = tokio::select! {
                served = self.socket.serve(stream, session) => served,
                never = tell(&mut self.ear, &channel) => match never {},
            };
            if let Err(error) = served {
                // A passing shortage of descriptors or threads; the front end may come again.
                tracing::warn!(target: "block", %error, "a front end could not be served");
                tokio::time::sleep(PAUSE).await;
            }
            tracing::info!(target: "block", "the front end is gone");
        }
    }

    /// Waits for a front end; meanwhile there is nobody to be told anything.
    async fn accept(&mut self) -> io::Result<(UnixStreamOfTokio, SocketAddr)> {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => return accepted,
                announcement = self.ear.next() => {
                    announcement.answer(Ok(Heard::Later("no front end is connected")));
                }
            }
        }
    }

    /// Waits for all requests under way and ends the queues' threads.
    ///
    /// # Errors
    /// Whatever waiting for dropped requests can meet.
    pub async fn close(self) -> Result<()> {
        let Self { export, listener, mut socket, workers, .. } = self;
        drop(listener);
        socket.gone().await;
        // Threads that ended would take tasks of the graph with them.
        let settled = export.backend().settle().await;
        // It joins the threads, which have nothing left to do.
        drop(workers);
        settled
    }
}

/// Tells a front end of each new length.
async fn tell(ear: &mut Announcements, channel: &Arc<Channel>) -> Infallible {
    loop {
        let announcement = ear.next().await;
        let channel = Arc::clone(channel);
        // Whatever the front end has brought for a channel: it shall hold up no thread of the runtime.
        // And if it goes away meanwhile, that is an answer too.
        let told = tokio::task::spawn_blocking(move || announcement.answer(channel.tell()));
        // Only if the runtime ends is it not made; a dropped announcement says so.
        let _ = told.await;
    }
}

/// The socket's file, and the connection with a front end.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    /// To end it.
    stream: UnixStream,
    ended: oneshot::Receiver<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // One that is closed already needs no end.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Socket {
    fn at(path: &Path) -> Result<Self> {
        let meta = std::fs::symlink_metadata(path).map_err(|error| on(path, error))?;
        Ok(Self { path: path.to_owned(), id: (meta.dev(), meta.ino()), connection: None })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// Serves one front end until it goes away.
    async fn serve(&mut self, stream: UnixStream, session: Session) -> Result<()> {
        let (ended, end) = oneshot::channel();
        let [control, beside] = [stream.try_clone()?, stream.try_clone()?];
        // Messages are read, and queues stopped, with calls that block.
        thread::Builder::new().name("front end".to_owned()).spawn(move || {
            talk(stream, beside, session);
            // Who waited may have gone away.
            let _ = ended.send(());
        })?;
        self.connection = Some(Connection { stream: control, ended: end });
        self.over().await;
        Ok(())
    }

    /// Waits until the front end is gone and its requests ended.
    async fn over(&mut self) {
        if let Some(connection) = &mut self.connection {
            // The thread ends with the connection.
            let _ = (&mut connection.ended).await;
        }
        self.connection = None;
    }

    /// Leaves the front end, and waits for its requests.
    async fn gone(&mut self) {
        if let Some(connection) = &self.connection {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        self.over().await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.id);
        if ours {
            // One that cannot be removed is replaced by the next server.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Answers a front end's messages until it goes away or is left. `beside` is the same stream.
fn talk(stream: UnixStream, mut beside: UnixStream, session: Session) {
    let session = Arc::new(Mutex::new(session));
    let mut handler = BackendReqHandler::from_stream(stream, Arc::clone(&session));
    loop {
        let done = match dialect::next(&beside).filter(|kind| is_expected(*kind, &session)) {
            Some(kind) => take(&mut beside, kind, &session),
            None => handler.handle_request(),
        };
        match done {
            Ok(()) | Err(VhostError::SocketRetry(_)) => {}
            Err(VhostError::Disconnected) => return,
            Err(VhostError::SocketBroken(error))
                if error.kind() == io::ErrorKind::ConnectionReset =>
            {
                return;
            }
            // A refusal was told where it was made.
            Err(VhostError::FeatureMismatch) => return,
            Err(error) => {
                tracing::warn!(target: "block", "the front end is left: {error}");
                return;
            }
        }
    }
}

/// Whether such a message was agreed on; without that, it is refused like any other.
fn is_expected(kind: Kind, session: &Mutex<Session>) -> bool {
    let agreed = |session: &Session| session.agreed(VhostUserProtocolFeatures::BACKEND_REQ);
    kind == Kind::Memory || session.lock().is_ok_and(|session| agreed(&session))
}

/// Reads a message of the dialect, and does what it says.
fn take(
    stream: &mut UnixStream,
    kind: Kind,
    session: &Mutex<Session>,
) -> vhost::vhost_user::Result<()> {
    let (answer, brought) = dialect::read(stream, kind).map_err(VhostError::SocketBroken)?;
    let mut session = session.lock().map_err(|_| VhostError::BackendInternalError)?;
    let done = match brought {
        Brought::Channel(channel) => {
            session.hold_channel(channel);
            Ok(())
        }
        Brought::Memory(regions, files) => session.set_mem_table(&regions, files, None).map(drop),
    };
    if session.agreed(VhostUserProtocolFeatures::REPLY_ACK) {
        answer.give(stream, done.is_ok()).map_err(VhostError::SocketBroken)?;
    }
    done
}

/// Removes the socket of a server that is gone.
fn make_way(path: &Path) -> Result<()> {
    let busy = |message| Err(ErrorKind::Busy(message).into());
    let kind = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(on(path, error)),
    };
    if !kind.is_socket() {
        let message = format!("{} exists, and is no socket: give another path", path.display());
        return Err(ErrorKind::InvalidOption(message).into());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| on(path, error))
        }
        Err(error) => Err(on(path, error)),
        Ok(_) => busy(format!("another server listens at {}", path.display())),
    }
}

/// Whether taking a connection may work the next time.
fn is_passing(error: &io::Error) -> bool {
    use nix::libc::{ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(error.raw_os_error(), Some(ECONNABORTED | EMFILE | ENFILE | ENOMEM | ENOBUFS))
}

/// An error of the operating system, with its number, about the socket.
fn on(path: &Path, error: io::Error) -> Error {
    io::Error::new(error.kind(), OnSocket { path: path.to_owned(), source: error }).into()
}

#[derive(Debug, thiserror::Error)]
#[error("the socket {}: {source}", path.display())]
struct OnSocket {
    path: PathBuf,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn an_error_about_the_socket_keeps_its_kind_and_number() {
        let of = |errno: Errno| on(Path::new("a/s"), errno.into());
        let denied = of(Errno::EACCES);
        assert_eq!((denied.kind().name(), denied.errno()), ("io", Errno::EACCES as i32));
        assert_eq!(denied.to_string(), "the socket a/s: Permission denied (os error 13)");
        let full = of(Errno::ENOSPC);
        assert_eq!((full.kind().name(), full.errno()), ("no-space", Errno::ENOSPC as i32));
    }
}
