//! The life of a device: added or taken over, started, served, stopped, deleted.
//!
//! All of it happens on one thread, because libublk's ring for commands belongs to a thread and its
//! calls wait.

use crate::device::Started;
use crate::error::{failed, to_io, ublk_failed};
use crate::queue::{self, News};
use crate::request::Serving;
use crate::settings::Settings;
use crate::{host, params, sys};
use block_core::{ErrorKind, NodeView, Result};
use block_export::Export;
use libublk::UblkFlags;
use libublk::ctrl::{UblkCtrl, UblkCtrlBuilder};
use libublk::io::UblkDev;
use libublk::sys::{
    UBLK_PARAM_TYPE_DEVT, UBLK_S_DEV_DEAD, UBLK_S_DEV_LIVE, ublk_params, ublksrv_ctrl_dev_info,
};
use nix::sys::signal::{SigSet, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What the control thread waits for.
#[derive(Debug)]
pub(crate) enum Event {
    Stop,
    Queue(u16, News),
}

/// The kernel needs this long, at most, to notice that a server is gone or that nobody holds a
/// deleted device any more.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Leads a device through its life. `started` is told when it can be used.
pub(crate) fn run(
    export: Export,
    settings: Settings,
    inbox: Receiver<Event>,
    events: Sender<Event>,
    started: oneshot::Sender<Started>,
) -> Result<()> {
    // It cannot fail for a set of all signals. A signal would interrupt a command half way.
    let _ = SigSet::all().thread_block();
    let device = export.characteristics();
    let write_through =
        settings.write_through || settings.recover && forgets(export.backend().root());
    let params = params::params(device, write_through)?;
    let flags = host::flags(device.zoned.is_some(), settings.recover)?;
    let max_request = params::max_request(device);
    let added = add(settings, flags, max_request, &params)?;
    let mut life = Life::begin(added, params, write_through, export, &events)?;
    drop(events);
    let served = life.start(&inbox).and_then(|()| {
        let recovered = life.added.recovered;
        // Who wanted it may have gone away.
        let wanted = started.send(Started { id: life.id(), recovered }).is_ok();
        life.serve(&inbox, wanted)
    });
    let stopped = life.stop(&inbox);
    served.and(stopped)
}

/// Whether a graph loses, with this process, some of what it has answered and not flushed.
fn forgets(node: NodeView<'_>) -> bool {
    node.driver_name() == "zoned-file" || node.children().into_iter().any(forgets)
}

/// A device that is there and not started.
struct Added {
    control: UblkCtrl,
    recovered: bool,
}

/// Adds a device, or takes one over.
fn add(settings: Settings, flags: u64, max_request: u32, params: &ublk_params) -> Result<Added> {
    let Some(id) = settings.id else {
        return add_new(-1, settings, flags, max_request)
            .map_err(|e| failed("adding a device", &e));
    };
    let number = i32::try_from(id).map_err(|_| ErrorKind::InvalidOption(format!("id {id}")))?;
    let patience = Instant::now();
    loop {
        if let Some(added) = take_over(id, number, flags, params, patience)? {
            return Ok(added);
        }
        match add_new(number, settings, flags, max_request) {
            Ok(added) => return Ok(added),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if patience.elapsed() >= PATIENCE {
                    let message = format!(
                        "/dev/ublkb{id} was stopped and somebody still holds it open (a mount?): \
                         let go of it, or choose another id"
                    );
                    return Err(ErrorKind::Busy(message).into());
                }
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(failed(&format!("adding device {id}"), &error)),
        }
    }
}

fn add_new(id: i32, settings: Settings, flags: u64, max_request: u32) -> io::Result<Added> {
    let control = UblkCtrlBuilder::default()
        .name("zblk")
        .id(id)
        .nr_queues(settings.queues)
        .depth(settings.depth)
        .io_buf_bytes(max_request)
        .ctrl_flags(flags)
        .dev_flags(UblkFlags::UBLK_DEV_F_ADD_DEV)
        .build()
        .map_err(to_io)?;
    Ok(Added { control, recovered: false })
}

/// What is to be done about a device that has the number already.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It waits for a server.
    Waiting,
    /// A server has it, or is about to.
    InUse(i32),
    /// Its server is gone, and the kernel has not noticed yet.
    Dying,
    /// It was stopped.
    Dead,
}

impl Found {
    fn judge(info: &ublksrv_ctrl_dev_info, is_alive: impl Fn(i32) -> bool) -> Self {
        let alive = is_alive(info.ublksrv_pid);
        match info.state.into() {
            UBLK_S_DEV_DEAD | UBLK_S_DEV_LIVE if alive => Self::InUse(info.ublksrv_pid),
            UBLK_S_DEV_DEAD => Self::Dead,
            UBLK_S_DEV_LIVE => Self::Dying,
            _ => Self::Waiting,
        }
    }
}

fn is_alive(pid: i32) -> bool {
    pid > 0 && kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

/// Takes over the device with this number if it waits for that; `None` if the number is free, or is
/// about to be.
fn take_over(
    id: u32,
    number: i32,
    flags: u64,
    params: &ublk_params,
    patience: Instant,
) -> Result<Option<Added>> {
    loop {
        if !exists(id) {
            return Ok(None);
        }
        // It may be gone by now.
        let Ok(control) = UblkCtrl::new_simple(number) else { return Ok(None) };
        let info = control.dev_info();
        match Found::judge(&info, is_alive) {
            Found::InUse(pid) => {
                let message = format!(
                    "/dev/ublkb{id} is served by process {pid}: choose another id, or stop that"
                );
                return Err(ErrorKind::Busy(message).into());
            }
            Found::Dead => {
                delete(&control);
                return Ok(None);
            }
            Found::Dying if patience.elapsed() >= PATIENCE => {
                let message = format!("/dev/ublkb{id} has no server, and the kernel keeps it");
                return Err(ErrorKind::Busy(message).into());
            }
            Found::Dying => thread::sleep(PAUSE),
            Found::Waiting => {
                return recover(id, number, &control, flags, params).map(Some);
            }
        }
    }
}

fn recover(
    id: u32,
    number: i32,
    found: &UblkCtrl,
    flags: u64,
    params: &ublk_params,
) -> Result<Added> {
    let info = found.dev_info();
    let mut there = ublk_params::default();
    found.get_params(&mut there).map_err(|e| ublk_failed("reading a device's parameters", e))?;
    if let Some(what) = difference(&there, params, info.flags, flags) {
        let message = format!(
            "/dev/ublkb{id} waits to be recovered, but it is another device than this image: its \
             {what}; export the image that it was made of, remove it, or choose another id"
        );
        return Err(ErrorKind::Busy(message).into());
    }
    let control = UblkCtrlBuilder::default()
        .name("zblk")
        .id(number)
        .nr_queues(info.nr_hw_queues)
        .depth(info.queue_depth)
        .io_buf_bytes(info.max_io_buf_bytes)
        .dev_flags(UblkFlags::UBLK_DEV_F_RECOVER_DEV)
        .build()
        .map_err(|e| ublk_failed("taking a device over", e))?;
    control.start_user_recover().map_err(|e| ublk_failed("taking a device over", e))?;
    Ok(Added { control, recovered: true })
}

/// How a device that is there differs from what this image would be.
fn difference(
    there: &ublk_params,
    here: &ublk_params,
    there_flags: u64,
    here_flags: u64,
) -> Option<String> {
    let differ = |what: &str, there: u64, here: u64| {
        (there != here).then(|| format!("{what} is {there}, that of the image {here}"))
    };
    let kinds = |params: &ublk_params| u64::from(params.types & !UBLK_PARAM_TYPE_DEVT);
    let (a, b) = (there.basic, here.basic);
    let copies = |flags: u64| flags & u64::from(libublk::sys::UBLK_F_USER_COPY);
    differ("size in sectors", a.dev_sectors, b.dev_sectors)
        .or_else(|| {
            differ("block size (log2)", a.logical_bs_shift.into(), b.logical_bs_shift.into())
        })
        .or_else(|| differ("zone size in sectors", a.chunk_sectors.into(), b.chunk_sectors.into()))
        .or_else(|| differ("kind of parameters", kinds(there), kinds(here)))
        .or_else(|| differ("set of attributes", a.attrs.into(), b.attrs.into()))
        .or_else(|| differ("way of copying", copies(there_flags), copies(here_flags)))
        .or_else(|| {
            let (a, b) = (there.zoned, here.zoned);
            differ("limit of open zones", a.max_open_zones.into(), b.max_open_zones.into())
                .or_else(|| {
                    let (a, b) = (a.max_active_zones, b.max_active_zones);
                    differ("limit of active zones", a.into(), b.into())
                })
                .or_else(|| {
                    let (a, b) = (a.max_zone_append_sectors, b.max_zone_append_sectors);
                    differ("largest append in sectors", a.into(), b.into())
                })
        })
}

/// Deletes a device that has no server.
pub(crate) fn remove(id: u32) -> Result<()> {
    let _ = SigSet::all().thread_block();
    let number = i32::try_from(id).map_err(|_| ErrorKind::InvalidOption(format!("id {id}")))?;
    let doing = format!("removing /dev/ublkb{id}");
    if !exists(id) {
        let error = io::Error::new(io::ErrorKind::NotFound, "there is no such device");
        return Err(failed(&doing, &error));
    }
    let control = UblkCtrl::new_simple(number).map_err(|e| ublk_failed(&doing, e))?;
    if let Found::InUse(pid) = Found::judge(&control.dev_info(), is_alive) {
        let message = format!("/dev/ublkb{id} is served by process {pid}: stop that instead");
        return Err(ErrorKind::Busy(message).into());
    }
    control.kill_dev().map_err(|e| ublk_failed(&doing, e))?;
    control.del_dev_async().or_else(|_| control.del_dev()).map_err(|e| ublk_failed(&doing, e))?;
    Ok(())
}

fn exists(id: u32) -> bool {
    Path::new(&format!("/dev/ublkc{id}")).exists()
}

/// Deletes a device without waiting for those who hold it open, where the kernel can (Linux 6.9).
fn delete(control: &UblkCtrl) {
    let deleted = control.del_dev_async().or_else(|_| control.del_dev());
    if let Err(error) = deleted {
        tracing::debug!(%error, "deleting a device");
    }
}

/// A device and those who serve it.
struct Life {
    added: Added,
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
    fn begin(
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
        let how = Serving { recovered: added.recovered, write_through };
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

    fn id(&self) -> u32 {
        self.added.control.dev_info().dev_id
    }

    /// Waits for all queues, then starts the device.
    fn start(&mut self, inbox: &Receiver<Event>) -> Result<()> {
        let mut ready = 0;
        while ready < self.queues.len() && self.failure.is_none() {
            match inbox.recv() {
                Ok(Event::Queue(number, News::Ready(thread))) => {
                    ready = ready.saturating_add(1);
                    self.note(number, thread);
                }
                Ok(Event::Queue(number, News::Ended(result))) => self.note_end(number, result),
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
    fn serve(&mut self, inbox: &Receiver<Event>, wanted: bool) -> Result<()> {
        while wanted && self.serving > 0 && self.failure.is_none() {
            match inbox.recv() {
                Ok(Event::Queue(number, News::Ended(result))) => self.note_end(number, result),
                Ok(Event::Queue(_, News::Ready(_))) => {}
                Ok(Event::Stop) | Err(_) => break,
            }
        }
        self.check()
    }

    /// Stops the device, waits for the queues, and deletes it.
    fn stop(mut self, inbox: &Receiver<Event>) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use libublk::sys::{UBLK_S_DEV_FAIL_IO, UBLK_S_DEV_QUIESCED};

    fn info(state: u32, pid: i32) -> ublksrv_ctrl_dev_info {
        let state = u16::try_from(state).unwrap();
        ublksrv_ctrl_dev_info { state, ublksrv_pid: pid, ..Default::default() }
    }

    #[tokio::test]
    async fn what_keeps_write_pointers_in_memory_is_known_wherever_it_is() {
        use block_backend::BlockBackend;
        use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.zbd");
        let geometry =
            GeometryConfig { size: 16 << 20, zone_size: 4 << 20, ..GeometryConfig::default() };
        create_zoned(&path, &CreateOptions::new(geometry), false).await.unwrap();
        let image = format!(
            "driver=raw,file.driver=zoned-file,file.file.driver=file,\
             file.file.filename={}",
            path.display()
        );
        let emulated = BlockBackend::open(&image).await.unwrap();
        assert!(forgets(emulated.root()));
        let null = BlockBackend::open("driver=raw,file.driver=null,file.size=1M").await.unwrap();
        assert!(!forgets(null.root()));
    }

    #[test]
    fn a_device_is_taken_only_from_the_dead() {
        let judge = |state, pid| Found::judge(&info(state, pid), |pid| pid == 7);
        assert_eq!(judge(UBLK_S_DEV_LIVE, 7), Found::InUse(7));
        assert_eq!(judge(UBLK_S_DEV_DEAD, 7), Found::InUse(7), "it is about to be started");
        assert_eq!(judge(UBLK_S_DEV_LIVE, 8), Found::Dying);
        assert_eq!(judge(UBLK_S_DEV_DEAD, -1), Found::Dead);
        assert_eq!(judge(UBLK_S_DEV_DEAD, 8), Found::Dead);
        assert_eq!(judge(UBLK_S_DEV_QUIESCED, 8), Found::Waiting);
        assert_eq!(judge(UBLK_S_DEV_FAIL_IO, 8), Found::Waiting);
        assert!(is_alive(i32::try_from(std::process::id()).unwrap()));
        assert!(!is_alive(-1) && !is_alive(0));
    }

    #[test]
    fn a_device_is_recovered_only_with_what_it_was_made_of() {
        let base = ublk_params { types: 9, ..Default::default() };
        let same = ublk_params { types: 9 | UBLK_PARAM_TYPE_DEVT, ..base };
        assert_eq!(difference(&same, &base, 0, 0), None);
        let says = |change: fn(&mut ublk_params), word: &str| {
            let mut other = base;
            change(&mut other);
            let difference = difference(&other, &base, 0, 0).unwrap();
            assert!(difference.contains(word), "{difference}");
        };
        says(|p| p.basic.dev_sectors = 8, "size in sectors is 8, that of the image 0");
        says(|p| p.basic.logical_bs_shift = 12, "block size");
        says(|p| p.basic.chunk_sectors = 8, "zone size");
        says(|p| p.types = 1, "kind");
        says(|p| p.basic.attrs = 1, "attributes");
        says(|p| p.zoned.max_open_zones = 1, "open");
        says(|p| p.zoned.max_active_zones = 1, "active");
        says(|p| p.zoned.max_zone_append_sectors = 1, "append");
        assert!(difference(&base, &base, 0, 128).unwrap().contains("copying"));
    }
}
