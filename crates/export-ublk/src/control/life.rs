//! A device that is there, and the threads that serve it.

use super::PAUSE;
use super::add::{Added, delete};
use crate::doubt::Doubts;
use crate::error::{failed, ublk_failed};
use crate::queue::{self, News};
use crate::request::Serving;
use crate::resize;
use crate::sys;
use block_core::Result;
use block_export::{Announcement, Export};
use libublk::io::UblkDev;
use libublk::sys::ublk_params;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};

/// What the control thread waits for.
#[derive(Debug)]
pub(crate) enum Event {
    Stop,
    Grown(Announcement),
    Queue(u16, News),
}

/// A device and those who serve it.
pub(super) struct Life {
    pub(super) added: Added,
    /// `None` once it is let go of.
    device: Option<Arc<UblkDev>>,
    queues: Vec<JoinHandle<()>>,
    /// Queues that have not ended.
    serving: usize,
    started: bool,
    failure: Option<io::Error>,
}

impl Life {
    /// Starts the queues' threads.
    pub(super) fn begin(
        added: Added,
        params: ublk_params,
        write_through: bool,
        export: Export,
        events: &Sender<Event>,
    ) -> Result<Self> {
        let describe = |device: &mut UblkDev| {
            device.tgt.dev_size = params.basic.dev_sectors.saturating_mul(block_export::SECTOR);
            device.tgt.params = params;
            Ok(())
        };
        let device = UblkDev::new(added.control.get_name(), describe, &added.control);
        let device = Arc::new(device.map_err(|e| ublk_failed("opening the new device", e))?);
        let info = &device.dev_info;
        let held = u32::from(info.queue_depth).saturating_mul(info.nr_hw_queues.into());
        let doubts = Arc::new(Doubts::of(if added.recovered { held } else { 0 }));
        let how = Serving { doubts, write_through };
        let mut life = Self {
            added,
            device: Some(Arc::clone(&device)),
            queues: Vec::new(),
            serving: 0,
            started: false,
            failure: None,
        };
        for number in 0..device.dev_info.nr_hw_queues {
            let (device, export, events) = (Arc::clone(&device), export.clone(), events.clone());
            let how = how.clone();
            let work = move || {
                let tell = |news| drop(events.send(Event::Queue(number, news)));
                queue::run(number, device, how, export, tell);
            };
            let name = format!("zblk-ublk-q{number}");
            match thread::Builder::new().name(name).spawn(work) {
                Ok(thread) => {
                    life.queues.push(thread);
                    life.serving = life.serving.saturating_add(1);
                }
                Err(error) => life.failure = Some(error),
            }
        }
        Ok(life)
    }

    pub(super) fn id(&self) -> u32 {
        self.added.control.dev_info().dev_id
    }

    /// Waits for all queues, then starts the device.
    pub(super) fn start(&mut self, inbox: &Receiver<Event>) -> Result<()> {
        let mut ready = 0;
        while ready < self.queues.len() && self.failure.is_none() {
            match inbox.recv() {
                Ok(Event::Queue(number, News::Ready(thread))) => {
                    ready = ready.saturating_add(1);
                    self.note(number, thread);
                }
                Ok(Event::Queue(number, News::Ended(result))) => self.note_end(number, result),
                // Nobody looks at a device that is not there: one who did is told that it failed.
                Ok(Event::Grown(_)) => {}
                // It is stopped once it has started.
                Ok(Event::Stop) => self.failure = Some(io::ErrorKind::Interrupted.into()),
                Err(_) => break,
            }
        }
        self.check()?;
        let Some(device) = &self.device else { return Ok(()) };
        let id = self.id();
        let doing = format!("starting /dev/ublkb{id}");
        self.added.control.start_dev(device).map_err(|e| ublk_failed(&doing, e))?;
        self.started = true;
        Ok(())
    }

    /// For `rublk list` and the like, which read libublk's notes in `/run`.
    fn note(&self, queue: u16, thread: i32) {
        if let Some(device) = &self.device
            && let Err(error) = self.added.control.configure_queue(device, queue, thread)
        {
            tracing::debug!(%error, queue, "noting a queue's thread");
        }
    }

    fn note_end(&mut self, queue: u16, result: io::Result<()>) {
        self.serving = self.serving.saturating_sub(1);
        if let Err(error) = result {
            tracing::error!(%error, queue, "a queue of the device failed");
            self.failure.get_or_insert(error);
        }
    }

    fn check(&self) -> Result<()> {
        match &self.failure {
            Some(error) => Err(failed(&format!("serving /dev/ublkb{}", self.id()), error)),
            None => Ok(()),
        }
    }

    /// Serves until the device is stopped, by us or from outside, or fails.
    pub(super) fn serve(&mut self, inbox: &Receiver<Event>, wanted: bool) -> Result<()> {
        while wanted && self.serving > 0 && self.failure.is_none() {
            match inbox.recv() {
                Ok(Event::Queue(number, News::Ended(result))) => self.note_end(number, result),
                Ok(Event::Queue(_, News::Ready(_))) => {}
                Ok(Event::Grown(announcement)) => {
                    let told = resize::tell(&self.added.control, announcement.length());
                    announcement.answer(told);
                }
                Ok(Event::Stop) | Err(_) => break,
            }
        }
        self.check()
    }

    /// Stops the device, waits for the queues, and deletes it.
    pub(super) fn stop(mut self, inbox: &Receiver<Event>) -> Result<()> {
        // What could not be taken over waits on, with all its requests, for the next server. The
        // queues' threads end with the process, and with them the hold on the device.
        if self.added.recovered && !self.started {
            return self.check();
        }
        let id = self.id();
        if self.started && self.serving > 0 && self.failure.is_none() {
            write_out(&format!("/dev/ublkb{id}"));
        }
        let stopped = match self.added.control.kill_dev() {
            Err(e) if self.serving > 0 => Err(ublk_failed(&format!("stopping /dev/ublkb{id}"), e)),
            // It may be gone.
            _ => Ok(()),
        };
        if stopped.is_ok() {
            while self.serving > 0 {
                match inbox.recv_timeout(PAUSE) {
                    Ok(Event::Queue(number, News::Ended(result))) => self.note_end(number, result),
                    // A device that never started: queues may have offered to serve after it was
                    // stopped, and hear of it only so.
                    Err(RecvTimeoutError::Timeout) if !self.started => {
                        let _ = self.added.control.kill_dev();
                    }
                    Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            for thread in self.queues.drain(..) {
                // What it had to say it has said.
                let _ = thread.join();
            }
        }
        self.device = None;
        delete(&self.added.control);
        stopped.and(self.check())
    }
}

/// What the kernel has cached for the device is written while somebody can still take it: a device
/// that could be recovered refuses everything once it is being stopped.
fn write_out(path: &str) {
    let flushed = File::open(path).and_then(|file| sys::flush_block_device(&file));
    if let Err(error) = flushed {
        tracing::warn!(%error, path, "what is cached for the device could not be written");
    }
}
