//! The conversation with the kernel: its messages answered, the queues started and stopped.

use crate::error::{Error, Result};
use crate::in_flight::{Log, QueueLog};
use crate::kernel::Kernel;
use crate::memory::Memory;
use crate::sys::{QueueInfo, What};
use block_export::{Announcements, Export};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::Interest;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_F_ACCESS_PLATFORM,
};
use virtio_blk::queue::{Command, Setup, Signal};
use virtio_blk::{Broken, Device, Negotiated, features};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

/// What the kernel demands of every VDUSE device: it never sees memory but through the IOTLB.
pub(crate) const ACCESS_PLATFORM: u64 = 1 << VIRTIO_F_ACCESS_PLATFORM;
const FEATURES_OK: u32 = VIRTIO_CONFIG_S_FEATURES_OK;
const DRIVER_OK: u32 = VIRTIO_CONFIG_S_DRIVER_OK;

/// How long the kernel usually takes at most to note a status that it was answered: as long as a
/// thread of it takes to wake up.
const NOTED: Duration = Duration::from_secs(1);
/// How often it is asked until then, and from then on.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const LOOK_LATE: Duration = Duration::from_millis(100);

/// What the device offers: virtio's bits of this export, and the transport's.
pub(crate) fn offered(export: &Export) -> u64 {
    features::offered(export.characteristics()) | ACCESS_PLATFORM
}

/// A device under way.
#[derive(Debug)]
pub(crate) struct Protocol<K> {
    kernel: K,
    export: Export,
    /// What the driver may choose from; `None` to take it at its word.
    offered: Option<u64>,
    log: Option<Log>,
    memory: Arc<Memory>,
    slots: Vec<Slot<K>>,
    /// The device's status, as the driver has set it.
    status: u32,
    /// How long it has been tried to tell the driver of queues that were started, if it is not told.
    untold: Option<Duration>,
    /// Whether a driver that starts is to be told that the device has become larger meanwhile.
    untold_length: bool,
}

#[derive(Debug)]
struct Slot<K> {
    running: Option<Running<K>>,
    /// Where a queue that was stopped had come to.
    stopped_at: Option<u16>,
}

#[derive(Debug)]
struct Running<K> {
    commands: mpsc::UnboundedSender<Command<Memory, Interrupt<K>>>,
    task: JoinHandle<u16>,
}

/// Tells the driver that a queue has answers.
#[derive(Debug)]
struct Interrupt<K> {
    kernel: K,
    index: u16,
}

impl<K: Kernel> Signal for Interrupt<K> {
    fn used(&mut self) {
        // The driver may reset the device at any moment, and then wants to hear nothing.
        if let Err(error) = self.kernel.interrupt(self.index) {
            tracing::debug!(target: "block", %error, queue = self.index, "no interrupt");
        }
    }

    /// VDUSE has no way to ask for a reset.
    fn broken(&mut self, _: Broken) {}
}

impl<K: Kernel> Protocol<K> {
    /// Of a new device.
    pub(crate) fn new(kernel: K, export: Export, queues: u16, log: Option<Log>) -> Self {
        let offered = Some(offered(&export));
        Self::with(kernel, export, offered, queues, log)
    }

    /// Of a device whose process was killed; its driver chose its features long ago.
    pub(crate) fn of_stale(kernel: K, export: Export, queues: u16, log: Option<Log>) -> Self {
        Self::with(kernel, export, None, queues, log)
    }

    fn with(
        kernel: K,
        export: Export,
        offered: Option<u64>,
        queues: u16,
        log: Option<Log>,
    ) -> Self {
        let memory = Arc::new(Memory::new(kernel.memory()));
        let slots = (0..queues).map(|_| Slot { running: None, stopped_at: None }).collect();
        Self {
            kernel,
            export,
            offered,
            log,
            memory,
            slots,
            status: 0,
            untold: None,
            untold_length: false,
        }
    }

    /// Answers until it is told to stop, or until whoever could say so is gone; then no request is
    /// under way any more. It tells the driver of each new length that `ear` hears of.
    ///
    /// # Errors
    /// If the device can't be used any more: the kernel gives it up if an answer takes too long.
    pub(crate) async fn run(
        mut self,
        mut stop: oneshot::Receiver<()>,
        ear: Announcements,
    ) -> Result<()> {
        let result = tokio::select! {
            biased;
            _ = &mut stop => Ok(()),
            result = self.converse(ear) => result,
        };
        // A message that was being answered stays with the kernel, for the next process.
        self.stop_queues().await;
        result
    }

    async fn converse(&mut self, mut ear: Announcements) -> Result<()> {
        let failed = |why| Error::new("read the kernel's messages", why);
        let interest = Interest::READABLE | Interest::ERROR;
        let watch = self.kernel.watch(interest).map_err(failed)?;
        loop {
            let mut ready = tokio::select! {
                biased;
                ready = watch.ready(interest) => ready.map_err(failed)?,
                announcement = ear.next() => {
                    let heard = self.announce(announcement.length());
                    announcement.answer(heard);
                    continue;
                }
                () = self.interrupt_all(), if self.untold.is_some() => continue,
            };
            while let Some(message) = self.kernel.read_message().map_err(failed)? {
                let (accepted, next) = self.answer(message.what).await;
                let answered = self.kernel.respond(message, accepted, next);
                answered.map_err(|why| Error::new("answer the kernel's message", why))?;
            }
            if ready.ready().is_error() {
                let why = "the kernel gave the device up, because an answer took too long";
                return Err(Error::because("go on", why));
            }
            ready.clear_ready();
        }
    }

    /// Tells the driver to look at all queues. The kernel takes interrupts only once it has noted
    /// DRIVER_OK, some time after it has read the answer; what the queues told before is lost, and
    /// nothing from then on. Whoever gives up waiting here can begin again.
    async fn interrupt_all(&mut self) {
        while let Err(error) = self.try_interrupt_all() {
            let too_early = error.raw_os_error() == Some(Errno::EINVAL as i32);
            let waited = self.untold.unwrap_or_default();
            if !too_early {
                tracing::warn!(target: "block", %error, "a driver is not told of its queues");
                break;
            }
            let look = if waited < NOTED { LOOK_EVERY } else { LOOK_LATE };
            tokio::time::sleep(look).await;
            let longer = waited.saturating_add(look);
            if waited < NOTED && longer >= NOTED {
                tracing::warn!(target: "block", waited = ?longer,
                    "the kernel has not noted yet that a driver has started; it is asked further on");
            }
            self.untold = Some(longer);
        }
        (self.untold, self.untold_length) = (None, false);
    }

    fn try_interrupt_all(&self) -> io::Result<()> {
        let mut running = self.indices().filter(|&index| self.is_running(index));
        running.try_for_each(|index| self.kernel.interrupt(index))?;
        if self.untold_length { self.kernel.config_interrupt() } else { Ok(()) }
    }

    /// Whether the message is accepted, and for a queue's state its next available entry.
    async fn answer(&mut self, what: What) -> (bool, u16) {
        tracing::debug!(target: "block", ?what, "a message of the kernel");
        match what {
            What::QueueState { index } => match self.position(index).await {
                Some(position) => (true, position),
                None => (false, 0),
            },
            What::Status(status) => (self.set_status(status.into()).await, 0),
            What::MemoryChanged { .. } => {
                self.forget_memory().await;
                (true, 0)
            }
            What::Unknown(_) => (false, 0),
        }
    }

    /// Who asks for a queue's position will start it elsewhere, so that it ends here.
    async fn position(&mut self, index: u32) -> Option<u16> {
        let index = u16::try_from(index).ok()?;
        self.stop_queue(index).await;
        let slot = self.slots.get(usize::from(index))?;
        let of_kernel = || self.kernel.queue(index).ok().map(|info| info.next_available);
        slot.stopped_at.or_else(of_kernel)
    }

    async fn set_status(&mut self, status: u32) -> bool {
        if status == 0 {
            self.stop_queues().await;
            self.memory = Arc::new(Memory::new(self.kernel.memory()));
            self.slots.iter_mut().for_each(|slot| slot.stopped_at = None);
        }
        let new = status & !self.status;
        if new & (FEATURES_OK | DRIVER_OK) != 0 {
            let done = match self.device() {
                Ok(device) if new & DRIVER_OK != 0 => self.start_queues(&device),
                Ok(_) => Ok(()),
                Err(refusal) => Err(refusal),
            };
            if let Err(error) = done {
                tracing::warn!(target: "block", %error, "a driver was refused");
                return false;
            }
            if new & DRIVER_OK != 0 {
                self.untold = Some(Duration::ZERO);
            }
        }
        if status & DRIVER_OK == 0 {
            self.untold = None;
        }
        self.status = status;
        true
    }

    /// The export as the driver has chosen to see it.
    fn device(&self) -> Result<Device> {
        let failed = |why| Error::new("read the driver's features", why);
        let chosen = self.kernel.features().map_err(failed)?;
        let offered = self.offered.unwrap_or(chosen);
        let facts = self.export.characteristics();
        let negotiated = Negotiated::check(chosen, offered, facts)
            .map_err(|refusal| Error::because("serve this driver", refusal.to_string()))?;
        Ok(Device::new(self.export.clone(), negotiated))
    }

    /// Starts the queues of a driver that is at work already, where they were left. One whose rings
    /// make no sense any more is left: nobody could answer what it holds.
    ///
    /// # Errors
    /// If nothing is known of the driver.
    pub(crate) fn resume(&mut self) -> Result<()> {
        let device = self.device()?;
        for index in self.indices() {
            if let Err(error) = self.resume_queue(index, &device) {
                tracing::warn!(target: "block", %error, "a queue cannot be taken over");
            }
        }
        Ok(())
    }

    fn resume_queue(&mut self, index: u16, device: &Device) -> Result<()> {
        let info = self.info(index)?;
        if !info.is_ready {
            return Ok(());
        }
        let mut queue = self.queue(index, &info, device)?;
        let used = queue.next_used();
        let log = self.log.as_ref().and_then(|log| log.queue(index));
        let unfinished = log.as_ref().map_or_else(Vec::new, |log| log.unfinished(used));
        let taken = u16::try_from(unfinished.len()).unwrap_or(u16::MAX);
        queue.set_next_avail(used.wrapping_add(taken));
        let setup = self.set_up(index, queue, device.clone(), unfinished, log)?;
        self.start(index, setup);
        // The process that was killed may have given requests back and told nobody.
        Interrupt { kernel: self.kernel.clone(), index }.used();
        Ok(())
    }

    /// Starts all that are ready, or none: what a queue has done by the time another one is refused
    /// would be done again for a driver that tries once more.
    fn start_queues(&mut self, device: &Device) -> Result<()> {
        let mut queues = Vec::new();
        for index in self.indices() {
            let info = self.info(index)?;
            if !info.is_ready || self.is_running(index) {
                continue;
            }
            let mut queue = self.queue(index, &info, device)?;
            queue.set_next_avail(info.next_available);
            queues.push((index, queue));
        }
        let mut setups = Vec::new();
        for (index, queue) in queues {
            let log = self.log.as_ref().and_then(|log| log.queue(index));
            match self.set_up(index, queue, device.clone(), Vec::new(), log) {
                Ok(setup) => setups.push((index, setup)),
                Err(error) => {
                    setups.iter().for_each(|(index, _)| self.forget_kick(*index));
                    return Err(error);
                }
            }
        }
        for (index, setup) in setups {
            if let Some(log) = &setup.log {
                log.begin(setup.queue.next_used());
            }
            self.start(index, setup);
        }
        Ok(())
    }

    /// A queue as the driver has laid it out.
    fn queue(&self, index: u16, info: &QueueInfo, device: &Device) -> Result<Queue> {
        let refused = |why: virtio_queue::Error| {
            Error::because(format!("use queue {index}"), format!("{info:x?}: {why}"))
        };
        let size = u16::try_from(info.size)
            .map_err(|_| Error::because(format!("use queue {index}"), format!("{info:x?}")))?;
        let mut queue = Queue::new(size).map_err(refused)?;
        queue.set_size(size);
        queue.try_set_desc_table_address(GuestAddress(info.descriptors)).map_err(refused)?;
        queue.try_set_avail_ring_address(GuestAddress(info.available)).map_err(refused)?;
        queue.try_set_used_ring_address(GuestAddress(info.used)).map_err(refused)?;
        queue.set_event_idx(device.negotiated().has(features::EVENT_IDX));
        queue.set_ready(true);
        let used = self.used_index(index, &queue)?;
        queue.set_next_used(used);
        Ok(queue)
    }

    fn used_index(&self, index: u16, queue: &Queue) -> Result<u16> {
        let used = queue.used_idx(&*self.memory, Ordering::Acquire);
        let used = used.map_err(|why| {
            Error::because(format!("read the used ring of queue {index}"), why.to_string())
        })?;
        Ok(used.0)
    }

    /// All that a queue needs to run. Its driver's kicks are kept from here on.
    fn set_up(
        &self,
        index: u16,
        queue: Queue,
        device: Device,
        unfinished: Vec<u16>,
        log: Option<QueueLog>,
    ) -> Result<Setup<Memory, Interrupt<K>, QueueLog>> {
        let failed = |why: io::Error| Error::new(format!("listen to queue {index}"), why);
        let kick = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let kick = kick.map_err(|why| failed(why.into()))?;
        self.kernel.set_kick(index, Some(kick.as_fd())).map_err(failed)?;
        Ok(Setup {
            queue,
            memory: Arc::clone(&self.memory),
            enabled: true,
            device,
            kick: kick.into(),
            signal: Interrupt { kernel: self.kernel.clone(), index },
            log,
            unfinished,
        })
    }

    fn start(&mut self, index: u16, setup: Setup<Memory, Interrupt<K>, QueueLog>) {
        let (commands, mut orders) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move { virtio_blk::queue::run(setup, &mut orders).await });
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.running = Some(Running { commands, task });
        }
    }

    async fn stop_queue(&mut self, index: u16) {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else {
            return;
        };
        let Some(running) = &mut slot.running else {
            return;
        };
        // It may have ended by itself, and has its position then too.
        let _ = running.commands.send(Command::Stop);
        // It counts as running until then: whoever gives up waiting here must wait elsewhere.
        slot.stopped_at = (&mut running.task).await.ok();
        slot.running = None;
        self.forget_kick(index);
    }

    /// The driver may kick on: nobody listens.
    fn forget_kick(&self, index: u16) {
        if let Err(error) = self.kernel.set_kick(index, None) {
            tracing::debug!(target: "block", %error, queue = index, "its kick stays");
        }
    }

    async fn stop_queues(&mut self) {
        for index in self.indices() {
            self.stop_queue(index).await;
        }
    }

    /// What was known of the memory is true no longer: from now on all is looked up anew.
    async fn forget_memory(&mut self) {
        self.memory = Arc::new(Memory::new(self.kernel.memory()));
        for running in self.slots.iter().filter_map(|slot| slot.running.as_ref()) {
            let (told, heard) = oneshot::channel();
            let order = Command::Memory(Arc::clone(&self.memory), told);
            if running.commands.send(order).is_ok() {
                // A queue that has ended uses no memory.
                let _ = heard.await;
            }
        }
    }

    fn info(&self, index: u16) -> Result<QueueInfo> {
        self.kernel.queue(index).map_err(|why| Error::new(format!("look at queue {index}"), why))
    }

    fn is_running(&self, index: u16) -> bool {
        self.slots.get(usize::from(index)).is_some_and(|slot| slot.running.is_some())
    }

    fn indices(&self) -> std::ops::Range<u16> {
        0..u16::try_from(self.slots.len()).unwrap_or(u16::MAX)
    }
}

mod length;
#[cfg(test)]
mod tests;
