//! One virtqueue, from a front end's settings to a running queue.

use crate::guest::{Guest, Memory};
use crate::inflight::{Record, Records};
use crate::worker::{Running, Worker};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;
use vhost::vhost_user::{Error, Result};
use virtio_blk::queue::{Command, Setup, Signal};
use virtio_blk::{Broken, Device, features};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

/// The largest queue, in descriptors.
pub(crate) const MAX_SIZE: u16 = 1024;

/// How the guest is notified, and the front end told of a dead queue.
#[derive(Debug, Default)]
pub(crate) struct Call {
    call: Option<File>,
    error: Option<File>,
}

impl Signal for Call {
    fn used(&mut self) {
        write_event(self.call.as_mut());
    }

    fn broken(&mut self, _why: Broken) {
        write_event(self.error.as_mut());
    }
}

/// Adds one to an eventfd's counter. One that is full already wakes whoever waits for it.
fn write_event(file: Option<&mut File>) {
    if let Some(file) = file {
        let one = 1_u64;
        #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in this machine's order")]
        let _ = file.write(&one.to_ne_bytes());
    }
}

#[derive(Debug, Default)]
struct Addresses {
    table: GuestAddress,
    available: GuestAddress,
    used: GuestAddress,
}

/// What a front end said of a queue, and the queue, if it runs.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    size: u16,
    base: u16,
    addresses: Option<Addresses>,
    kick: Option<File>,
    call: Option<File>,
    error: Option<File>,
    enabled: bool,
    running: Option<Running>,
}

/// What is needed to start a queue, beside what was said of it.
pub(crate) struct Surroundings<'a> {
    pub(crate) number: u16,
    pub(crate) guest: &'a Guest,
    pub(crate) device: &'a Device,
    pub(crate) records: Option<&'a Records>,
    pub(crate) worker: &'a Worker,
}

impl Ring {
    pub(crate) fn set_size(&mut self, size: u32) -> Result<()> {
        self.size = u16::try_from(size)
            .ok()
            .filter(|size| size.is_power_of_two() && *size <= MAX_SIZE)
            .ok_or(Error::InvalidOperation("a queue's size is a power of two, up to 1024"))?;
        Ok(())
    }

    pub(crate) fn set_base(&mut self, base: u32) -> Result<()> {
        self.base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        Ok(())
    }

    pub(crate) fn set_addresses(
        &mut self,
        guest: &Guest,
        table: u64,
        available: u64,
        used: u64,
    ) -> Result<()> {
        let find = |user| {
            guest.translate(user).ok_or(Error::InvalidOperation("a ring outside of shared memory"))
        };
        self.addresses =
            Some(Addresses { table: find(table)?, available: find(available)?, used: find(used)? });
        Ok(())
    }

    pub(crate) fn set_kick(&mut self, kick: Option<File>) -> Result<()> {
        // Without one, the front end asks for a thread that polls the ring without end.
        self.kick = Some(kick.ok_or(Error::InvalidOperation("polling of rings is not supported"))?);
        Ok(())
    }

    pub(crate) fn set_call(&mut self, call: Option<File>) -> Result<()> {
        self.call = call.map(never_blocking).transpose()?;
        self.signal_anew()
    }

    pub(crate) fn set_error(&mut self, error: Option<File>) -> Result<()> {
        self.error = error.map(never_blocking).transpose()?;
        self.signal_anew()
    }

    fn signal_anew(&self) -> Result<()> {
        if let Some(running) = &self.running {
            running.tell(Command::Signal(self.signal()?));
        }
        Ok(())
    }

    fn signal(&self) -> Result<Call> {
        let again = |file: &Option<File>| {
            file.as_ref().map(File::try_clone).transpose().map_err(Error::ReqHandlerError)
        };
        Ok(Call { call: again(&self.call)?, error: again(&self.error)? })
    }

    /// Turns the queue on or off. On return from turning it off, it has ended its requests, and
    /// touches nothing of the guest's memory: a driver that leaves the device then uses that memory
    /// for other things.
    pub(crate) fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
        if let Some(running) = &self.running {
            let (told, done) = oneshot::channel();
            running.tell(Command::Enable(enabled, told));
            if !enabled {
                // It fails only with the queue's thread.
                let _ = done.blocking_recv();
            }
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Stops the queue if it runs and is off: it is about to be set up anew, and not every front end
    /// asks before where it stood.
    pub(crate) fn stop_if_off(&mut self) {
        if self.is_running() && !self.enabled {
            self.halt();
        }
    }

    /// Whether all is said that a start needs. One that is off waits: more may be said of it.
    pub(crate) fn is_ready(&self) -> bool {
        self.running.is_none() && self.enabled && self.kick.is_some() && self.addresses.is_some()
    }

    /// Exchanges the guest's memory; on return no new request uses the old one.
    pub(crate) fn set_memory(&self, memory: &Arc<Memory>) {
        if let Some(running) = &self.running {
            let (told, done) = oneshot::channel();
            running.tell(Command::Memory(Arc::clone(memory), told));
            // It fails only with the queue's thread.
            let _ = done.blocking_recv();
        }
    }

    /// Starts the queue where its driver and earlier back ends left it.
    pub(crate) fn start(&mut self, around: &Surroundings<'_>) -> Result<()> {
        let Some(addresses) = &self.addresses else {
            return Err(Error::InvalidOperation("a queue without addresses"));
        };
        let mut queue = Queue::new(MAX_SIZE).map_err(|_| Error::BackendInternalError)?;
        queue.try_set_size(self.size).map_err(|_| Error::InvalidParam)?;
        // The messages' format demands the alignments.
        let placed = queue
            .try_set_desc_table_address(addresses.table)
            .and_then(|()| queue.try_set_avail_ring_address(addresses.available))
            .and_then(|()| queue.try_set_used_ring_address(addresses.used));
        placed.map_err(|_| Error::InvalidParam)?;
        queue.set_event_idx(around.device.negotiated().has(features::EVENT_IDX));
        queue.set_ready(true);
        let memory = around.guest.memory();
        if !queue.is_valid(&**memory) {
            return Err(Error::InvalidOperation("a ring reaches out of shared memory"));
        }
        let used = queue.used_idx(&**memory, Ordering::Acquire);
        let used = used.map_err(|_| Error::InvalidParam)?.0;
        let mut log = around.records.map(|r| r.of(around.number, self.size)).transpose()?;
        let unfinished = log.as_mut().map(|log| log.unfinished(used)).unwrap_or_default();
        let taken = match &log {
            // A front end whose back end was killed does not know how many requests that one took.
            Some(_) => used.wrapping_add(u16::try_from(unfinished.len()).unwrap_or(0)),
            None => self.base,
        };
        queue.set_next_avail(taken);
        queue.set_next_used(used);
        if !unfinished.is_empty() {
            tracing::info!(
                target: "block", queue = around.number, requests = unfinished.len(),
                "requests that an earlier back end left are taken up"
            );
        }
        let Some(kick) = &self.kick else {
            return Err(Error::InvalidOperation("a queue without a kick"));
        };
        let setup = Setup::<Memory, Call, Record> {
            queue,
            memory: Arc::clone(memory),
            enabled: self.enabled,
            device: around.device.clone(),
            kick: OwnedFd::from(kick.try_clone().map_err(Error::ReqHandlerError)?),
            signal: self.signal()?,
            log,
            unfinished,
        };
        self.running = Some(around.worker.run(setup).ok_or(Error::BackendInternalError)?);
        Ok(())
    }

    /// Stops the queue, if it runs, and waits for its requests; returns its position. It starts
    /// again with another kick.
    pub(crate) fn stop(&mut self) -> u16 {
        self.kick = None;
        self.halt()
    }

    /// Stops the queue and keeps all that was said of it.
    fn halt(&mut self) -> u16 {
        if let Some(position) = self.running.take().and_then(Running::stop) {
            self.base = position;
        }
        self.base
    }
}

/// A file of the front end, of which no write waits.
fn never_blocking(file: File) -> Result<File> {
    let set = || -> nix::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
        fcntl(&file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
    };
    set().map_err(|error| Error::ReqHandlerError(error.into()))?;
    Ok(file)
}
