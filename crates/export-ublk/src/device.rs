//! The handle of a running device.

use crate::control::{self, Event};
use crate::resize;
use crate::settings::Settings;
use block_core::{ErrorKind, Result};
use block_export::Export;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A graph that this machine's kernel has as a block device.
///
/// Dropped without [`stop`](Self::stop), the device is stopped soon after, by a thread of its own.
#[derive(Debug)]
pub struct Device {
    id: u32,
    path: PathBuf,
    recovered: bool,
    events: mpsc::Sender<Event>,
    listening: JoinHandle<()>,
    end: oneshot::Receiver<Result<()>>,
    ended: Option<Result<()>>,
}

/// What the control thread tells of a device that can be used.
#[derive(Debug)]
pub(crate) struct Started {
    pub id: u32,
    pub recovered: bool,
}

impl Device {
    /// Makes the device, or takes it over if it waits for that under its number (see
    /// [`Settings::recover`]), and returns once it can be used.
    ///
    /// If the future is dropped, the device is stopped once it has started.
    ///
    /// # Errors
    /// `InvalidOption` for settings out of range; `Unsupported` if the kernel lacks what is needed
    /// or cannot show such a device; `Busy` if the number is in use; `Io` for whatever else the
    /// kernel says. No device is left then, except one that waits to be recovered.
    pub async fn start(export: Export, settings: Settings) -> Result<Self> {
        settings.check()?;
        // From here on no new length is missed.
        let ear = export.announcements();
        let (events, inbox) = mpsc::channel();
        let (tell_start, start) = oneshot::channel();
        let (tell_end, end) = oneshot::channel();
        let for_queues = events.clone();
        let work = move || {
            // Nobody may wait for it any more.
            let _ = tell_end.send(control::run(export, settings, inbox, for_queues, tell_start));
        };
        let thread = thread::Builder::new().name("zblk-ublk".to_owned()).spawn(work);
        thread.map_err(|e| crate::error::failed("starting a thread", &e))?;
        match start.await {
            Ok(Started { id, recovered }) => Ok(Self {
                listening: tokio::spawn(resize::pass_on(ear, events.clone())),
                id,
                path: PathBuf::from(format!("/dev/ublkb{id}")),
                recovered,
                events,
                end,
                ended: None,
            }),
            Err(_) => Err(match end.await {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => lost(),
            }),
        }
    }

    /// The number N of `/dev/ublkbN`.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The block device.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was there before, and waited to be taken over.
    pub fn is_recovered(&self) -> bool {
        self.recovered
    }

    /// Waits until the device is gone, because it was stopped from outside or failed. Nothing of it
    /// is in flight then. It may be awaited again, also after it was dropped.
    ///
    /// # Errors
    /// `Io` if a queue failed; the device was stopped then.
    pub async fn ended(&mut self) -> Result<()> {
        if let Some(ended) = &self.ended {
            return ended.clone();
        }
        let ended = (&mut self.end).await.unwrap_or_else(|_| Err(lost()));
        self.ended = Some(ended.clone());
        ended
    }

    /// Stops the device: what the kernel has cached for it is written, requests under way end, and
    /// `/dev/ublkbN` is gone. A file system that is mounted from it loses its device. Who holds it
    /// open keeps its number taken.
    ///
    /// The exported graph is neither flushed nor closed: see [`Export::close`].
    ///
    /// If the future is dropped, the device is stopped all the same.
    ///
    /// # Errors
    /// What the kernel says; what [`ended`](Self::ended) would.
    pub async fn stop(mut self) -> Result<()> {
        // It may have ended by itself.
        let _ = self.events.send(Event::Stop);
        self.ended().await
    }
}

/// Removes a device that has no server: one that waits to be recovered and never will be, or what
/// is left of one. All requests that wait for it fail.
///
/// If the future is dropped, the device is removed all the same.
///
/// # Errors
/// `Busy` if a server has it; `Io` if there is none, and whatever else the kernel says.
pub async fn remove(id: u32) -> Result<()> {
    let (tell, told) = oneshot::channel();
    let work = move || drop(tell.send(control::remove(id)));
    let thread = thread::Builder::new().name("zblk-ublk".to_owned()).spawn(work);
    thread.map_err(|e| crate::error::failed("starting a thread", &e))?;
    told.await.unwrap_or_else(|_| Err(lost()))
}

impl Drop for Device {
    fn drop(&mut self) {
        self.listening.abort();
        let _ = self.events.send(Event::Stop);
    }
}

fn lost() -> block_core::Error {
    ErrorKind::Io(std::io::Error::other("the thread that controls the device ended early")).into()
}
