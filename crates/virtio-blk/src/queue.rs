//! A virtqueue at work: takes what is available, has it served, and gives it back in batches.
//!
//! A queue is one future. It wakes for the driver's kick, for requests that go on, and for commands
//! of whoever runs it; in one poll it takes all that is available, lets every request run as far as
//! it goes, gives back all that ended, and notifies the driver once. Nothing is spawned, and a
//! request that ends at once never leaves the poll.

use crate::chain::{Broken, Chain};
use crate::device::{Answer, Device};
use crate::kick::Kick;
use crate::memory::StableMemory;
use futures_util::stream::{FuturesUnordered, StreamExt};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};
use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

/// How the driver is told.
pub trait Signal: Send + 'static {
    /// Requests were given back.
    fn used(&mut self);
    /// The queue is dead until the driver resets it.
    fn broken(&mut self, why: Broken);
}

/// Remembers, where it outlives this process, which requests are under way, so that the next
/// process takes them up.
pub trait InFlightLog: Send + 'static {
    /// The chain was taken.
    fn taken(&mut self, head: u16);
    /// The chain is about to be given back.
    fn giving_back(&mut self, head: u16);
    /// The chain was given back; the used index is now this.
    fn given_back(&mut self, head: u16, used: u16);
}

/// What a queue works with.
#[derive(Debug)]
pub struct Setup<M, S, L> {
    /// Rings and positions; it must be valid in `memory`.
    pub queue: Queue,
    /// The guest's memory.
    pub memory: Arc<M>,
    /// Whether requests are taken from the start; see [`Command::Enable`].
    pub enabled: bool,
    /// Answers the requests.
    pub device: Device,
    /// Written when the driver made requests available: an eventfd. It is never read.
    pub kick: OwnedFd,
    /// How the driver is told.
    pub signal: S,
    /// Remembers what is under way, if somebody can use that.
    pub log: Option<L>,
    /// Chains that an earlier process took and never gave back, in the order in which it took
    /// them: they are served first.
    pub unfinished: Vec<u16>,
}

/// What a running queue can be told.
#[derive(Debug)]
pub enum Command<M, S> {
    /// From now on, this is the guest's memory; requests under way keep what they have. The sender
    /// is told when it is so.
    Memory(Arc<M>, oneshot::Sender<()>),
    /// Tell the driver this way.
    Signal(S),
    /// Take requests, or leave them where they are. The sender is told when it is so: a queue that
    /// is turned off has then given back all that it took, and touches neither its rings nor data
    /// until it is turned on again. It is dropped if the queue is told otherwise before that.
    Enable(bool, oneshot::Sender<()>),
    /// Take no more requests, wait for those under way, and end.
    Stop,
}

/// Polls after which other tasks of the runtime get their turn.
const ROUNDS: usize = 64;

/// Runs a queue until it is told to stop, or until nobody is left who could. Returns the position
/// up to which requests were taken, all of which were given back, except where the queue is broken.
///
/// # Cancellation
/// A dropped future drops the requests under way; they may or may not happen.
///
/// # Panics
/// None, except outside a tokio runtime with I/O enabled.
pub async fn run<M: StableMemory, S: Signal, L: InFlightLog>(
    setup: Setup<M, S, L>,
    commands: &mut mpsc::UnboundedReceiver<Command<M, S>>,
) -> u16 {
    let Setup { queue, memory, enabled, device, kick, signal, log, unfinished } = setup;
    let in_flight = vec![false; queue.size().into()];
    let mut ring = Ring {
        queue,
        memory,
        signal,
        log,
        in_flight,
        enabled,
        broken: None,
        taken: Vec::new(),
        again: false,
        waits_for_rest: None,
    };
    let kick = Kick::new(kick).ok();
    if !ring.queue.is_valid(&*ring.memory) || kick.is_none() {
        ring.fail(Broken::Available);
    }
    ring.take_up(&unfinished);
    let mut requests = FuturesUnordered::new();
    // Whatever was made available before anybody listened.
    let mut kicked = true;
    let mut stopping = false;
    let work = |cx: &mut Context<'_>| {
        for _ in 0..ROUNDS {
            while !stopping {
                match commands.poll_recv(cx) {
                    Poll::Ready(Some(Command::Stop) | None) => stopping = true,
                    Poll::Ready(Some(command)) => {
                        ring.obey(command);
                        kicked = true;
                    }
                    Poll::Pending => break,
                }
            }
            if let Some(kick) = &kick
                && !stopping
                && let Poll::Ready(ready) = kick.poll(cx)
            {
                match ready {
                    Ok(()) => kicked = true,
                    Err(_) => ring.fail(Broken::Available),
                }
            }
            // Who waits for the next kick must have looked for it after this one.
            let mut progress = kicked;
            if kicked && !stopping && !ring.again {
                ring.take();
            }
            kicked = ring.again;
            progress |= !ring.taken.is_empty();
            let again = std::mem::take(&mut ring.again);
            for chain in ring.taken.drain(..) {
                let (device, memory) = (device.clone(), Arc::clone(&ring.memory));
                requests.push(async move {
                    let head = chain.head;
                    let answer = match again {
                        false => device.serve(&memory, chain).await,
                        true => device.serve_again(&memory, chain).await,
                    };
                    (head, answer)
                });
            }
            let mut ended = false;
            while let Poll::Ready(Some((head, result))) = requests.poll_next_unpin(cx) {
                ring.give_back(head, result);
                ended = true;
            }
            if ended {
                progress = true;
                ring.notify();
            }
            if requests.is_empty()
                && let Some(told) = ring.waits_for_rest.take()
            {
                // Who asked may have gone away.
                let _ = told.send(());
            }
            if stopping && requests.is_empty() {
                return Poll::Ready(());
            }
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    };
    poll_fn(work).await;
    ring.queue.next_avail()
}

struct Ring<M, S, L> {
    queue: Queue,
    memory: Arc<M>,
    signal: S,
    log: Option<L>,
    /// By head.
    in_flight: Vec<bool>,
    enabled: bool,
    broken: Option<Broken>,
    /// Taken, and not yet begun.
    taken: Vec<Chain>,
    /// Whether those were taken before, by an earlier process.
    again: bool,
    /// Who turned the queue off, and waits until no request is under way.
    waits_for_rest: Option<oneshot::Sender<()>>,
}

impl<M: StableMemory, S: Signal, L: InFlightLog> Ring<M, S, L> {
    fn obey(&mut self, command: Command<M, S>) {
        match command {
            Command::Memory(memory, told) => {
                self.memory = memory;
                if !self.queue.is_valid(&*self.memory) {
                    self.fail(Broken::Available);
                }
                // Who asked may have gone away.
                let _ = told.send(());
            }
            Command::Signal(signal) => {
                self.signal = signal;
                // Who set it may have missed what was told the old way.
                self.signal.used();
            }
            Command::Enable(enabled, told) => {
                self.enabled = enabled;
                self.waits_for_rest = if enabled {
                    // As above.
                    let _ = told.send(());
                    None
                } else {
                    Some(told)
                };
            }
            Command::Stop => {}
        }
    }

    #[cold]
    fn fail(&mut self, why: Broken) {
        if self.broken.is_none() {
            tracing::warn!(target: "block", %why, "a virtqueue is dead until its driver resets it");
            self.broken = Some(why);
            self.signal.broken(why);
        }
    }

    /// Takes what an earlier process left.
    fn take_up(&mut self, unfinished: &[u16]) {
        self.again = !unfinished.is_empty();
        for &head in unfinished {
            let chain = self.chain_at(head).and_then(|chain| self.begin(chain));
            if let Err(why) = chain {
                return self.fail(why);
            }
        }
    }

    fn chain_at(&self, head: u16) -> Result<Chain, Broken> {
        Chain::walk(&*self.memory, self.queue.desc_table(), self.queue.size(), head)
    }

    /// Takes all that is available.
    fn take(&mut self) {
        if !self.enabled || self.broken.is_some() {
            return;
        }
        if let Err(why) = self.try_take() {
            self.fail(why);
        }
    }

    fn try_take(&mut self) -> Result<(), Broken> {
        let memory = Arc::clone(&self.memory);
        let lost = |_| Broken::Available;
        // Whether the last look at the index, after nothing was found, found something.
        let mut promised = false;
        loop {
            self.queue.disable_notification(&*memory).map_err(lost)?;
            let available = self.queue.iter(&*memory).map_err(lost)?;
            let heads: SmallVec<[u16; 32]> = available.map(|chain| chain.head_index()).collect();
            for &head in &heads {
                self.begin(self.chain_at(head)?)?;
            }
            if !self.queue.enable_notification(&*memory).map_err(lost)? {
                return Ok(());
            }
            if heads.is_empty() && promised {
                // There is something, and it cannot be read.
                return Err(Broken::Available);
            }
            promised = true;
        }
    }

    fn begin(&mut self, chain: Chain) -> Result<(), Broken> {
        let head = chain.head;
        match self.in_flight.get_mut(usize::from(head)) {
            Some(in_flight @ false) => *in_flight = true,
            _ => return Err(Broken::Twice { head }),
        }
        if let Some(log) = &mut self.log {
            log.taken(head);
        }
        self.taken.push(chain);
        Ok(())
    }

    fn give_back(&mut self, head: u16, result: Result<Answer, Broken>) {
        let given = result.and_then(|answer| {
            if let Some(log) = &mut self.log {
                log.giving_back(head);
            }
            let added = self.queue.add_used(&*self.memory, head, answer.written);
            added.map_err(|_| Broken::Used)?;
            if let Some(log) = &mut self.log {
                log.given_back(head, self.queue.next_used());
            }
            if let Some(in_flight) = self.in_flight.get_mut(usize::from(head)) {
                *in_flight = false;
            }
            Ok(())
        });
        if let Err(why) = given {
            self.fail(why);
        }
    }

    fn notify(&mut self) {
        // If it cannot be known whether the driver wants to be told, it is told.
        let wanted = self.queue.needs_notification(&*self.memory).unwrap_or(true);
        if wanted && (self.queue.event_idx_enabled() || !self.driver_polls()) {
            self.signal.used();
        }
    }

    /// Without event indices, a flag says that the driver looks by itself.
    fn driver_polls(&self) -> bool {
        let flags = GuestAddress(self.queue.avail_ring());
        let flags = self.memory.load::<u16>(flags, Ordering::Relaxed).map_or(0, u16::from_le);
        u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT != 0
    }
}
