//! How a queue's thread sleeps.
//!
//! In one system call, it hands the outcomes of requests to the kernel and waits for the next
//! requests. Whatever else can wake the thread is watched from the same ring: the rings of files
//! whose requests are in flight, of which it takes turns ([`block_core::turns`]); the bell that other
//! threads ring; and the runtime's reactor, an epoll descriptor.
//!
//! While the runtime has tasks, only it knows when none can run: it calls [`before_park`] then. Each
//! return from the sleep wakes the one that waits in it, so that it does not sleep in its own
//! reactor, where a request could not wake it: it looks there for events without waiting, lets the
//! tasks run and comes back. Without tasks it is not involved until its reactor has an event, or a
//! timer may be due.

use crate::bell::Bell;
use crate::mailbox::Mailbox;
use crate::request::{Descriptor, Outcome};
use crate::sys;
use block_core::turns::Turns;
use io_uring::cqueue;
use io_uring::types::{SubmitArgs, Timespec};
use libublk::io::{
    BufDesc, BufDescList, UblkDev, UblkIOCtx, UblkQueue, with_task_io_ring, with_task_io_ring_mut,
};
use libublk::sys::{UBLK_IO_RES_ABORT, UBLK_IO_RES_OK};
use libublk::uring_async::ublk_reap_io_events_with_update_queue;
use libublk::{UblkError, UblkIORes, UblkUringData, ublk_init_task_ring};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

self_cell::self_cell!(
    /// A queue, with the device that it borrows.
    struct Queue {
        owner: Arc<UblkDev>,
        #[covariant]
        dependent: UblkQueue,
    }
);

/// Marks the completion that tells of the reactor.
const REACTOR: u64 = UblkUringData::Target as u64;
/// That tells of the bell.
const BELL: u64 = REACTOR | 1;
/// That tells of what the thread drives, counted up from here.
const TURNS: u64 = REACTOR | 2;

/// While requests are in flight, timers of the runtime (a filter that delays requests has one for
/// each) are late by about this, at most. While none are, timers wait for the next request: nothing
/// that serves a device needs one then.
const TIMERS: Duration = Duration::from_millis(10);

thread_local! {
    static PARK: RefCell<Option<Park>> = const { RefCell::new(None) };
}

/// For the runtime of a queue's thread, see
/// [`on_thread_park`](tokio::runtime::Builder::on_thread_park). Sleeps if somebody said so
/// ([`sleep_for`]).
pub(crate) fn before_park() {
    PARK.with_borrow_mut(|park| {
        if let Some((park, waker)) = park.as_mut().and_then(|p| p.waker.take().map(|w| (p, w))) {
            park.sleep();
            waker.wake();
        }
    });
}

/// Has the runtime sleep here once no task can run, and wakes this one afterwards.
pub(crate) fn sleep_for(waker: &Waker) {
    PARK.with_borrow_mut(|park| {
        if let Some(park) = park {
            park.waker = Some(waker.clone());
        }
    });
}

/// Sleeps until something happens. True if the runtime has to look what.
pub(crate) fn sleep() -> bool {
    PARK.with_borrow_mut(|park| park.as_mut().is_some_and(Park::sleep))
}

/// Takes the place that [`Park::settle_in`] gave it, so that the thread lets go of the device.
pub(crate) struct Settled;

impl Drop for Settled {
    fn drop(&mut self) {
        drop(PARK.take());
    }
}

/// The queue as its thread's place to sleep.
pub(crate) struct Park {
    queue: Queue,
    mailbox: Rc<Mailbox>,
    turns: Turns,
    bell: Watched<Arc<Bell>>,
    reactor: Watched<RawFd>,
    /// When the runtime was driven.
    driven: Duration,
    /// Of the one that waits in the runtime.
    waker: Option<Waker>,
    /// Tags that the kernel holds, to send a request with.
    with_kernel: u32,
    aborted: bool,
    tags: Vec<u16>,
    outcomes: Vec<Outcome>,
}

/// Something that the ring watches, or is to.
struct Watched<T> {
    by_ring: bool,
    what: T,
}

impl<T> Watched<T> {
    fn not_yet(what: T) -> Self {
        Self { by_ring: false, what }
    }
}

impl Park {
    /// Offers the kernel all tags of a queue. From then on the thread must sleep here.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn new(
        number: u16,
        device: Arc<UblkDev>,
        mailbox: Rc<Mailbox>,
        bell: &Arc<Bell>,
        runtime: &Runtime,
    ) -> io::Result<Self> {
        let reactor = Watched::not_yet(reactor_of(runtime)?);
        let taken = || io::Error::other("the thread has a place to sleep already");
        let turns = Turns::begin().ok_or_else(taken)?;
        let depth = u32::from(device.dev_info.queue_depth);
        make_ring(depth).map_err(crate::error::to_io)?;
        let queue = Queue::try_new(device, |device| {
            let queue = UblkQueue::new(number, device)?;
            queue.submit_fetch_commands_unified(BufDescList::Slices(None))
        });
        let queue = queue.map_err(crate::error::to_io)?;
        let mut park = Self {
            queue,
            mailbox,
            turns,
            bell: Watched::not_yet(Arc::clone(bell)),
            reactor,
            driven: Duration::ZERO,
            waker: None,
            with_kernel: depth,
            aborted: false,
            tags: Vec::new(),
            outcomes: Vec::new(),
        };
        with_task_io_ring(|ring| ring.submit())?;
        park.reap();
        park.mailbox.take_end().unwrap_or(Ok(()))?;
        Ok(park)
    }

    /// Becomes this thread's, for as long as what is returned lives.
    pub(crate) fn settle_in(self) -> Settled {
        PARK.set(Some(self));
        Settled
    }

    /// Sleeps until something happens. True if the runtime has to look what.
    fn sleep(&mut self) -> bool {
        let again = self.turns.take();
        if self.mailbox.has_ended() {
            if !again {
                self.nap();
            }
            return true;
        }
        let rung = self.bell.what.has_rung();
        if rung && !self.mailbox.has_outcomes() {
            return false;
        }
        // Whatever else goes on: who has his outcome waits for no other.
        self.commit();
        let waits = !again && !rung && self.bell.what.sleep();
        let busy = self.queue.borrow_dependent().get_depth() > self.with_kernel;
        let waited = if waits { self.wait(busy) } else { with_task_io_ring(|ring| ring.submit()) };
        self.bell.what.wake();
        let timed_out = match waited {
            Err(error) if !is_passing(&error) => {
                self.mailbox.end(Err(error));
                return true;
            }
            Err(error) => error.raw_os_error() == Some(libc::ETIME),
            Ok(_) => false,
        };
        let event = self.reap();
        let due = event || timed_out || busy && self.is_time_over();
        if due {
            self.driven = now();
        }
        due
    }

    /// Watches all there is to watch, and waits.
    fn wait(&mut self, busy: bool) -> io::Result<usize> {
        with_task_io_ring_mut(|ring| {
            let Self { reactor, bell, turns, .. } = self;
            let mut watch = |fd, user_data| sys::push_poll(ring, fd, user_data).is_ok();
            reactor.by_ring = reactor.by_ring || watch(reactor.what, REACTOR);
            bell.by_ring = bell.by_ring || watch(bell.what.as_fd().as_raw_fd(), BELL);
            let all = turns.watch(|number, fd| {
                let place = u64::try_from(number).ok().and_then(|n| TURNS.checked_add(n));
                place.is_some_and(|place| watch(fd.as_raw_fd(), place))
            });
            // A full queue is emptied by this call, and the rest watched in the next.
            if busy || !(all && reactor.by_ring && bell.by_ring) {
                let limit = Timespec::from(TIMERS);
                ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&limit))
            } else {
                ring.submit_and_wait(1)
            }
        })
    }

    /// Waits for a short time for what is still under way once the kernel sends nothing any more.
    fn nap(&mut self) {
        if self.bell.what.sleep() {
            let bell = self.bell.what.as_fd();
            let mut fds = [PollFd::new(bell, PollFlags::POLLIN)];
            // Whatever it says, the thread looks round.
            let _ = poll(&mut fds, PollTimeout::from(1_u8));
            self.bell.what.heard();
        }
        self.bell.what.wake();
    }

    fn is_time_over(&self) -> bool {
        now().saturating_sub(self.driven) >= TIMERS
    }

    /// Queues the outcomes for the kernel.
    fn commit(&mut self) {
        self.mailbox.outcomes(&mut self.outcomes);
        let queue = self.queue.borrow_dependent();
        for outcome in self.outcomes.drain(..) {
            let place = match outcome.landed {
                Some(sector) => BufDesc::ZonedAppendLba(sector),
                None => BufDesc::Slice(&[]),
            };
            let result = Ok(UblkIORes::Result(outcome.result));
            match queue.complete_io_cmd_unified(outcome.tag, place, result) {
                // A queue that is being stopped takes no more.
                Ok(()) if self.aborted => {}
                Ok(()) => self.with_kernel = self.with_kernel.saturating_add(1),
                Err(e) => self.mailbox.end(Err(crate::error::to_io(e))),
            }
        }
    }

    /// Brings what the kernel sent. True if the reactor has an event.
    fn reap(&mut self) -> bool {
        let Self { queue, bell, reactor, turns, with_kernel, aborted, tags, .. } = self;
        let queue = queue.borrow_dependent();
        let (mut failed, mut event) = (None, false);
        let each = |cqe: &cqueue::Entry| {
            match cqe.user_data() {
                REACTOR => {
                    reactor.by_ring = false;
                    event = true;
                    return;
                }
                BELL => {
                    bell.by_ring = false;
                    bell.what.heard();
                    return;
                }
                TURNS.. => {
                    let number = cqe.user_data().saturating_sub(TURNS);
                    turns.told(usize::try_from(number).unwrap_or(usize::MAX));
                    return;
                }
                _ => {}
            }
            *with_kernel = with_kernel.saturating_sub(1);
            match cqe.result() {
                UBLK_IO_RES_ABORT => *aborted = true,
                OK => {
                    let tag = UblkIOCtx::user_data_to_tag(cqe.user_data());
                    tags.extend(u16::try_from(tag));
                }
                error => failed = Some(io::Error::from_raw_os_error(error.saturating_neg())),
            }
        };
        let reaped = ublk_reap_io_events_with_update_queue(queue, false, None, each);
        let requests = self.tags.drain(..).map(|tag| (tag, Descriptor::of(queue.get_iod(tag))));
        self.mailbox.bring(requests);
        if let Some(error) = reaped.err().map(crate::error::to_io).or(failed) {
            self.mailbox.end(Err(error));
        } else if self.aborted && self.with_kernel == 0 {
            self.mailbox.end(Ok(()));
        }
        event
    }
}

/// The time, to within a few milliseconds, without asking the hardware.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from)
}

/// Whether a wait that ended so can be begun again: its time was up, it was interrupted, or the
/// kernel was short of memory or of room for completions for a moment.
fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::ETIME, libc::EINTR, libc::EAGAIN, libc::EBUSY];
    error.raw_os_error().is_some_and(|number| passing.contains(&number))
}

#[expect(clippy::cast_possible_wrap, reason = "it is 0")]
const OK: i32 = UBLK_IO_RES_OK as i32;

/// This thread's ring, which libublk then uses. Requests are taken from the kernel in the calls that
/// submit or wait, and interrupt nothing before (`DEFER_TASKRUN`, Linux 6.1).
fn make_ring(depth: u32) -> Result<(), UblkError> {
    ublk_init_task_ring(|place| {
        // Room for what is answered at once and for all that is watched: libublk, which makes room
        // by itself, takes no refusal.
        let entries = depth.saturating_mul(2).max(8).next_power_of_two();
        let ring = io_uring::IoUring::builder()
            .setup_cqsize(entries.saturating_mul(2))
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(entries)?;
        // A thread makes one queue only.
        place.set(RefCell::new(ring)).map_err(|_| UblkError::OtherError(-libc::EEXIST))
    })
}

/// The epoll descriptor of a runtime: the one that watches what the runtime was just told to.
/// The runtime does not tell it, but the kernel does (proc_pid_fdinfo(5)).
fn reactor_of(runtime: &Runtime) -> io::Result<RawFd> {
    let _context = runtime.enter();
    let (watched, _other_end) = UnixStream::pair()?;
    let target = watched.as_raw_fd().to_string();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let entry = entry?;
        // Descriptors of other threads come and go meanwhile.
        let Ok(info) = fs::read_to_string(entry.path()) else { continue };
        let watches = |line: &str| {
            line.strip_prefix("tfd:").and_then(|rest| rest.split_whitespace().next())
                == Some(target.as_str())
        };
        if info.lines().any(watches)
            && let Ok(fd) = entry.file_name().to_string_lossy().parse()
        {
            return Ok(fd);
        }
    }
    Err(io::Error::other("the runtime's epoll descriptor is not in /proc/self/fdinfo"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::BorrowedFd;
    use tokio::runtime::Builder;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_shortage_that_passes_ends_no_queue() {
        let is = |number| is_passing(&io::Error::from_raw_os_error(number));
        assert!([libc::ETIME, libc::EINTR, libc::EAGAIN, libc::EBUSY].into_iter().all(is));
        assert!(![libc::EBADF, libc::ENODEV, libc::EINVAL, libc::ENOMEM].into_iter().any(is));
        assert!(!is_passing(&io::Error::other("unknown")));
    }

    #[test]
    fn a_runtimes_reactor_is_found_and_tells_of_threads() {
        let (a, b) = (runtime(), runtime());
        let reactor = reactor_of(&a).unwrap();
        assert_ne!(reactor, reactor_of(&b).unwrap());
        assert_eq!(reactor, reactor_of(&a).unwrap());
        #[allow(unsafe_code)]
        // SAFETY: `a` keeps it open until the end of the test.
        let fd = unsafe { BorrowedFd::borrow_raw(reactor) };
        let readable = |limit| {
            let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
            poll(&mut fds, limit).unwrap() == 1
        };
        // Once round, so that what making the runtime left is gone.
        a.block_on(async { tokio::task::yield_now().await });
        assert!(!readable(PollTimeout::ZERO));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let task = a.spawn_blocking(move || held.recv());
        let waiting = a.spawn(task);
        a.block_on(async { tokio::task::yield_now().await });
        a.block_on(async { tokio::task::yield_now().await });
        release.send(()).unwrap();
        assert!(readable(PollTimeout::from(10_000_u16)), "the thread's end wakes the reactor");
        a.block_on(waiting).unwrap().unwrap().unwrap();
    }

    /// What a sleep in the hook relies on: a hook that wakes a task keeps the runtime from sleeping, and not from
    /// looking for events.
    #[test]
    fn a_runtime_whose_hook_wakes_a_task_still_sees_events() {
        use std::sync::Mutex;
        use std::task::{Poll, Waker};
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        static WAKER: Mutex<Option<Waker>> = Mutex::new(None);
        let wake = || WAKER.lock().unwrap().iter().for_each(Waker::wake_by_ref);
        let runtime =
            Builder::new_current_thread().enable_all().on_thread_park(wake).build().unwrap();
        runtime.spawn(std::future::poll_fn(|cx| {
            *WAKER.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        let (event, timer) = runtime.block_on(async {
            let (mut here, mut there) = UnixStream::pair().unwrap();
            let reading = tokio::spawn(async move { here.read_u8().await });
            let timer = tokio::spawn(tokio::time::sleep(Duration::from_millis(1)));
            tokio::time::sleep(Duration::from_millis(20)).await;
            there.write_u8(7).await.unwrap();
            (reading.await.unwrap().unwrap(), timer.await)
        });
        assert_eq!(event, 7);
        timer.unwrap();
        *WAKER.lock().unwrap() = None;
    }
}
