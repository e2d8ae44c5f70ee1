//! A device's node, `/dev/vduse/NAME`, and the control node that makes it.

use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::memory::Source;
use crate::name::Name;
use crate::sys::{self, Message, QueueInfo};
use nix::errno::Errno;
use nix::libc;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const CONTROL: &str = "/dev/vduse/control";
/// `VDUSE_API_VERSION` of which this crate knows the structures.
const API_VERSION: u64 = 0;
/// `VIRTIO_ID_BLOCK`, and no vendor in particular.
const BLOCK: (u32, u32) = (0, 2);

/// The node by which devices are made.
#[derive(Debug)]
pub(crate) struct Control(File);

impl Control {
    pub(crate) fn open() -> Result<Self> {
        let doing = || format!("open {CONTROL}");
        let file = open(Path::new(CONTROL)).map_err(|why| {
            let advice = match why.kind() {
                io::ErrorKind::NotFound => "load the kernel's module 'vduse'",
                io::ErrorKind::PermissionDenied => {
                    "only root may make devices, unless the node's mode says else"
                }
                _ => "",
            };
            Error::new(doing(), why).advise(advice)
        })?;
        sys::set_api_version(&file, API_VERSION)
            .map_err(|why| Error::new("use version 0 of the VDUSE interface", why))?;
        Ok(Self(file))
    }

    /// Makes a device and opens it; all its queues are set up.
    pub(crate) fn create(
        &self,
        name: &Name,
        features: u64,
        (queues, queue_size): (u16, u16),
        config_space: &[u8],
    ) -> Result<Node> {
        let doing = || format!("make the VDUSE device '{name}'");
        sys::create(&self.0, name.as_str(), BLOCK, features, queues.into(), config_space)
            .map_err(|why| Error::new(doing(), why))?;
        let set_up = || {
            let node = Node::open(name)?;
            for index in 0..u32::from(queues) {
                sys::set_up_queue(&node, index, queue_size)
                    .map_err(|why| Error::new(format!("set up queue {index} of '{name}'"), why))?;
            }
            Ok(node)
        };
        set_up().inspect_err(|_: &Error| {
            // What went wrong first is the news.
            let _ = self.destroy(name);
        })
    }

    /// Removes a device that is off the bus and that nobody has open.
    pub(crate) fn destroy(&self, name: &Name) -> Result<()> {
        sys::destroy(&self.0, name.as_str()).map_err(|why| {
            let error = Error::new(format!("remove the VDUSE device '{name}'"), why);
            match error.errno() == Some(Errno::EBUSY as i32) {
                true => error.advise("a process has it open, or it is still on the vDPA bus"),
                false => error,
            }
        })
    }
}

/// An open device. Only one process can have it open.
#[derive(Clone, Debug)]
pub(crate) struct Node(Arc<File>);

impl Node {
    pub(crate) fn path(name: &Name) -> PathBuf {
        Path::new("/dev/vduse").join(name.as_str())
    }

    pub(crate) fn open(name: &Name) -> Result<Self> {
        let path = Self::path(name);
        let file = open(&path).map_err(|why| {
            let error = Error::new(format!("open {}", path.display()), why);
            match error.errno() == Some(Errno::EBUSY as i32) {
                true => {
                    error.advise("another process exports a device of this name: choose another")
                }
                false => error,
            }
        })?;
        Ok(Self(Arc::new(file)))
    }
}

impl Kernel for Node {
    fn watch(&self, interest: Interest) -> io::Result<AsyncFd<Arc<File>>> {
        sys::watch(Arc::clone(&self.0), interest)
    }

    fn read_message(&self) -> io::Result<Option<Message>> {
        sys::read_message(self)
    }

    fn respond(&self, to: Message, accepted: bool, next: u16) -> io::Result<()> {
        sys::respond(self, to, accepted, next)
    }

    fn features(&self) -> io::Result<u64> {
        sys::negotiated_features(self)
    }

    fn queue(&self, index: u16) -> io::Result<QueueInfo> {
        sys::queue_info(self, index.into())
    }

    fn set_kick(&self, index: u16, kick: Option<BorrowedFd<'_>>) -> io::Result<()> {
        sys::set_kick(self, index.into(), kick)
    }

    fn interrupt(&self, index: u16) -> io::Result<()> {
        sys::inject_irq(self, index.into())
    }

    fn set_config(&self, start: [u8; 8]) -> io::Result<()> {
        sys::set_config(self, start)
    }

    fn config_interrupt(&self) -> io::Result<()> {
        sys::inject_config_irq(self)
    }

    fn memory(&self) -> Source {
        let node = self.clone();
        Box::new(move |address| sys::find_mapping(&node, address, address))
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}
