//! The two queues that a process shares with the kernel, and all that a [`Ring`](super::Ring) asks
//! of them.

use io_uring::{IoUring, Probe, opcode, squeue, types};
use nix::libc;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// One call, as the kernel is given it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Comes back with the completion.
    pub key: u64,
    pub fd: RawFd,
    pub offset: u64,
    /// Whether the memory is written to the file, or filled from it.
    pub writes: bool,
    /// Fails with `EAGAIN` rather than be made by a thread of the kernel's.
    pub at_once: bool,
    pub memory: Target,
}

/// Where a call's memory is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// In one piece.
    One { base: *mut libc::c_void, len: u32 },
    /// In several, which this list names.
    List { iovecs: *const libc::iovec, count: u32 },
}

/// Submission and completion queue.
pub(crate) trait Queues {
    /// How many calls the kernel has at most. More wait in the ring's own queue.
    const DEPTH: u32;

    /// Lays a call into the submission queue; whether there was room.
    ///
    /// # Safety
    /// Memory, list and file stay what they are until the call's completion is taken.
    unsafe fn push(&mut self, call: &Call) -> bool;

    /// Hands over what lies in the submission queue; how many calls the kernel took, in order.
    ///
    /// # Errors
    /// What the kernel says. It has taken none then.
    fn submit(&mut self) -> io::Result<usize>;

    /// Takes all completions there are: key, and a count or a negative error number.
    fn completions(&mut self, each: impl FnMut(u64, i32));

    /// Has each completion counted by this event descriptor.
    ///
    /// # Errors
    /// What the kernel says.
    fn notify(&mut self, events: BorrowedFd<'_>) -> io::Result<()>;

    /// A descriptor that is readable while there are completions.
    ///
    /// # Errors
    /// What the kernel says.
    fn readable(&mut self) -> io::Result<OwnedFd>;
}

const DEPTH: u32 = 256;

/// The queues of the kernel that runs.
///
/// # Errors
/// What the kernel says: `ENOSYS` without `io_uring`, `EPERM` where it is forbidden. Also `ENOSYS`
/// if it lacks an operation that this crate needs.
pub(super) fn open() -> io::Result<IoUring> {
    let uring = IoUring::builder().dontfork().setup_cqsize(DEPTH * 2).build(DEPTH)?;
    let mut probe = Probe::new();
    uring.submitter().register_probe(&mut probe)?;
    let needed =
        [opcode::Read::CODE, opcode::Write::CODE, opcode::Readv::CODE, opcode::Writev::CODE];
    // Without these two, entries must outlive their submission, and completions can be lost.
    let stable = uring.params().is_feature_submit_stable();
    let kept = uring.params().is_feature_nodrop();
    if !(stable && kept && needed.iter().all(|code| probe.is_supported(*code))) {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
    }
    Ok(uring)
}

impl Queues for IoUring {
    const DEPTH: u32 = DEPTH;

    unsafe fn push(&mut self, call: &Call) -> bool {
        // SAFETY: the caller keeps what the entry points to.
        unsafe { self.submission().push(&entry(call)) }.is_ok()
    }

    fn submit(&mut self) -> io::Result<usize> {
        self.submitter().submit()
    }

    fn completions(&mut self, mut each: impl FnMut(u64, i32)) {
        for completion in self.completion() {
            each(completion.user_data(), completion.result());
        }
    }

    fn notify(&mut self, events: BorrowedFd<'_>) -> io::Result<()> {
        self.submitter().register_eventfd(events.as_raw_fd())
    }

    fn readable(&mut self) -> io::Result<OwnedFd> {
        // SAFETY: the ring owns it, and outlives the call.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }.try_clone_to_owned()
    }
}

fn entry(call: &Call) -> squeue::Entry {
    let (fd, offset) = (types::Fd(call.fd), call.offset);
    let flags = if call.at_once { libc::RWF_NOWAIT } else { 0 };
    let entry = match (call.memory, call.writes) {
        (Target::One { base, len }, false) => {
            opcode::Read::new(fd, base.cast(), len).offset(offset).rw_flags(flags).build()
        }
        (Target::One { base, len }, true) => {
            opcode::Write::new(fd, base.cast(), len).offset(offset).rw_flags(flags).build()
        }
        (Target::List { iovecs, count }, false) => {
            opcode::Readv::new(fd, iovecs, count).offset(offset).rw_flags(flags).build()
        }
        (Target::List { iovecs, count }, true) => {
            opcode::Writev::new(fd, iovecs, count).offset(offset).rw_flags(flags).build()
        }
    };
    entry.user_data(call.key)
}
