//! What behaves like the kernel, for tests: messages over a socket, and everything else in memory.

// Messages are in the machine's own order.
#![allow(clippy::host_endian_bytes)]

use super::Kernel;
use crate::memory::Source;
use crate::sys::{self, Access, Mapping, Message, QueueInfo};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use virtio_driver::Driver;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

/// Bytes of the driver's memory, which begins at address 0.
pub(crate) const MEMORY: u64 = 1 << 20;
/// Requests that a queue holds.
pub(crate) const SIZE: u16 = 16;

/// A device's end of the kernel.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    messages: Arc<File>,
    memory: Arc<File>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) features: u64,
    pub(crate) queues: Vec<QueueInfo>,
    kicks: Vec<Option<OwnedFd>>,
    /// The queue to which nobody can listen.
    pub(crate) deaf: Option<u16>,
    /// Whether the kernel has noted the status DRIVER_OK.
    pub(crate) driver_ok: bool,
    /// How often each queue's driver was told, and how often that was refused.
    pub(crate) interrupts: Vec<u32>,
    pub(crate) refused: u32,
    /// The capacity in the configuration space, if it was changed, and how often the driver was told;
    /// nothing is changed if it is to fail.
    pub(crate) capacity: Option<u64>,
    pub(crate) config_interrupts: u32,
    pub(crate) config_fails: bool,
    /// How long it takes to tell of a queue.
    pub(crate) slowness: Duration,
}

/// The driver's side of a [`Fake`].
#[derive(Debug)]
pub(crate) struct Side {
    messages: File,
    pub(crate) fake: Fake,
    pub(crate) drivers: Vec<Driver>,
}

/// A kernel with queues that a driver has laid out and that are ready.
pub(crate) fn pair(queues: u16, features: u64) -> (Fake, Side) {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let ends = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    let memory = File::from(memfd_create("memory", MFdFlags::MFD_CLOEXEC).unwrap());
    memory.set_len(MEMORY).unwrap();
    let mapped = FileOffset::new(memory.try_clone().unwrap(), 0);
    let len = usize::try_from(MEMORY).unwrap();
    let ranges = [(GuestAddress(0), len, Some(mapped))];
    let mapped = Arc::new(GuestMemoryMmap::from_ranges_with_files(&ranges).unwrap());
    let part = (MEMORY / u64::from(queues)) & !0xfff;
    let drivers: Vec<_> = (0..u64::from(queues))
        .map(|i| Driver::new(Arc::clone(&mapped), i * part, (i + 1) * part, SIZE))
        .collect();
    let info = |driver: &Driver| QueueInfo {
        size: SIZE.into(),
        descriptors: driver.table(),
        available: driver.available(),
        used: driver.used(),
        next_available: 0,
        is_ready: true,
    };
    let state = State {
        features,
        queues: drivers.iter().map(info).collect(),
        kicks: drivers.iter().map(|_| None).collect(),
        interrupts: vec![0; drivers.len()],
        ..State::default()
    };
    let fake = Fake {
        messages: Arc::new(ends.0.into()),
        memory: Arc::new(memory),
        state: Arc::new(Mutex::new(state)),
    };
    (fake.clone(), Side { messages: ends.1.into(), fake, drivers })
}

impl Fake {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Side {
    /// Sends a message, as the kernel lays it out.
    pub(crate) fn send(&self, kind: u32, body: u32) {
        let mut bytes = [0; 152];
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        bytes[24..28].copy_from_slice(&body.to_ne_bytes());
        assert_eq!(nix::unistd::write(&self.messages, &bytes), Ok(152));
    }

    /// Waits for the answer to a message: whether it was accepted, and the queue's position.
    pub(crate) async fn answer(&self) -> (bool, u16) {
        let mut bytes = [0; 152];
        eventually("an answer", || nix::unistd::read(&self.messages, &mut bytes) == Ok(152)).await;
        (bytes[4] == 0, u16::from_ne_bytes([bytes[28], bytes[29]]))
    }

    /// The driver sets the status, which the kernel notes some time after the answer.
    pub(crate) async fn set_status(&self, status: u32) -> bool {
        self.send(1, status);
        let accepted = self.answer().await.0;
        if accepted {
            tokio::time::sleep(Duration::from_millis(30)).await;
            self.fake.state().driver_ok = status & 4 != 0;
        }
        accepted
    }

    /// The driver tells that a queue has requests.
    pub(crate) fn kick(&self, queue: usize) {
        let state = self.fake.state();
        let kick = state.kicks[queue].as_ref().expect("somebody listens");
        assert_eq!(nix::unistd::write(kick, &1_u64.to_ne_bytes()), Ok(8));
    }

    pub(crate) fn is_listened_to(&self, queue: usize) -> bool {
        self.fake.state().kicks[queue].is_some()
    }
}

/// Waits until something holds, for some seconds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("in vain waited for: {what}");
}

impl Kernel for Fake {
    fn watch(&self, interest: Interest) -> io::Result<AsyncFd<Arc<File>>> {
        sys::watch(Arc::clone(&self.messages), interest)
    }

    fn read_message(&self) -> io::Result<Option<Message>> {
        sys::read_message(&self.messages)
    }

    fn respond(&self, to: Message, accepted: bool, next: u16) -> io::Result<()> {
        sys::respond(&self.messages, to, accepted, next)
    }

    fn features(&self) -> io::Result<u64> {
        Ok(self.state().features)
    }

    fn queue(&self, index: u16) -> io::Result<QueueInfo> {
        let slowness = self.state().slowness;
        std::thread::sleep(slowness);
        let info = self.state().queues.get(usize::from(index)).copied();
        info.ok_or_else(|| Errno::EINVAL.into())
    }

    fn set_kick(&self, index: u16, kick: Option<BorrowedFd<'_>>) -> io::Result<()> {
        if kick.is_some() && self.state().deaf == Some(index) {
            return Err(Errno::EMFILE.into());
        }
        let kick = kick.map(|kick| kick.try_clone_to_owned()).transpose()?;
        self.state().kicks[usize::from(index)] = kick;
        Ok(())
    }

    fn interrupt(&self, index: u16) -> io::Result<()> {
        let mut state = self.state();
        if !state.driver_ok {
            state.refused += 1;
            return Err(Errno::EINVAL.into());
        }
        state.interrupts[usize::from(index)] += 1;
        Ok(())
    }

    fn set_config(&self, start: [u8; 8]) -> io::Result<()> {
        let mut state = self.state();
        if state.config_fails {
            return Err(Errno::ENOMEM.into());
        }
        state.capacity = Some(u64::from_le_bytes(start));
        Ok(())
    }

    fn config_interrupt(&self) -> io::Result<()> {
        let mut state = self.state();
        if !state.driver_ok {
            return Err(Errno::EINVAL.into());
        }
        state.config_interrupts += 1;
        Ok(())
    }

    fn memory(&self) -> Source {
        let memory = Arc::clone(&self.memory);
        Box::new(move |address| {
            let file = memory.try_clone()?;
            let mapping =
                Mapping { start: 0, last: MEMORY - 1, access: Access::Both, file, offset: 0 };
            Ok((address < MEMORY).then_some(mapping))
        })
    }
}
