//! A device from its making to its end.

use crate::bus::{self, Bound};
use crate::error::{Error, Result};
use crate::in_flight::{self, Log};
use crate::name::Name;
use crate::node::{Control, Node};
use crate::protocol::{Protocol, offered};
use crate::{stale, vdpa};
use block_export::Export;
use nix::errno::Errno;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use virtio_blk::config;

/// How long a driver may take to make something of a device that is on the bus.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a device shall be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name, under which no other device may be exported.
    pub name: Name,
    /// Number of queues, at least 1. A driver uses no more than it has processors.
    pub queues: u16,
    /// Most requests in a queue: a power of two, at most [`MOST_REQUESTS`](Self::MOST_REQUESTS).
    pub queue_size: u16,
    /// Whether to put the device on the vDPA bus. If not, it waits for `vdpa dev add`.
    pub attach: bool,
}

impl Options {
    /// The largest size of a queue.
    pub const MOST_REQUESTS: u16 = 1024;
}

/// A device that is there.
#[derive(Debug)]
pub struct Server {
    control: Control,
    name: Name,
    node: Option<PathBuf>,
    stop: oneshot::Sender<()>,
    /// `None` when it has ended.
    serving: Option<JoinHandle<Result<()>>>,
}

impl Server {
    /// Makes a device of an export and serves it, in tasks of the runtime that polls this. If there
    /// is a device of this name whose process was killed, it is taken away first.
    ///
    /// # Errors
    /// With what to do: without the kernel's modules or the right to make devices, if the name is in
    /// use, or if no driver takes the device.
    ///
    /// # Cancellation
    /// The device may stay behind without a server, as after a kill.
    ///
    /// # Panics
    /// None, except outside a tokio runtime with I/O and time enabled.
    pub async fn start(export: &Export, options: &Options) -> Result<Self> {
        let Options { name, queues, queue_size, attach } = options.clone();
        if queues == 0 || !queue_size.is_power_of_two() || queue_size > Options::MOST_REQUESTS {
            let why = format!(
                "at least one queue, and a power of two up to {} for its size, are needed",
                Options::MOST_REQUESTS
            );
            return Err(Error::because(format!("have {queues} queues of {queue_size}"), why));
        }
        let control = Control::open()?;
        if Node::path(&name).exists() {
            stale::remove(&control, &name).await?;
        }
        let log = Log::create(&in_flight::path(name.as_str()), queues, queue_size);
        if let Err(error) = &log {
            tracing::warn!(target: "block", %error,
                "after a kill, requests under way will not be known");
        }
        // From here on no new length is missed.
        let ear = export.announcements();
        let space = config::bytes(export.characteristics(), export.length(), queues, true);
        let node = control.create(&name, offered(export), (queues, queue_size), &space)?;
        let protocol = Protocol::new(node, export.clone(), queues, log.ok());
        let (stop, stopped) = oneshot::channel();
        let serving = Some(tokio::spawn(protocol.run(stopped, ear)));
        let mut server = Self { control, name, node: None, stop, serving };
        if attach {
            match server.attach().await {
                Ok(node) => server.node = Some(node),
                Err(error) => {
                    // What went wrong first is the news.
                    let _ = server.stop().await;
                    return Err(error);
                }
            }
        }
        Ok(server)
    }

    /// The node that users open: a disk of this kernel, such as `/dev/vda`, or for a VMM such as
    /// `/dev/vhost-vdpa-0`. `None` if the device was not attached.
    pub fn node(&self) -> Option<&Path> {
        self.node.as_deref()
    }

    /// Waits until the device cannot be served any more; for ever, if all goes well, and when it
    /// has told so once.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn failed(&mut self) -> Error {
        let Some(serving) = &mut self.serving else {
            return std::future::pending().await;
        };
        let ended = serving.await;
        self.serving = None;
        match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => Error::because("serve the device", "its task has ended"),
            Err(why) => Error::because("serve the device", why.to_string()),
        }
    }

    /// Takes the device away: the kernel writes what file systems on it have not yet written, lets
    /// go of it, and everything that was asked for is answered. Waits for a VMM that has it open.
    ///
    /// # Errors
    /// If the kernel does not take it away.
    ///
    /// # Cancellation
    /// The device may stay behind without a server, as after a kill.
    pub async fn stop(self) -> Result<()> {
        let Self { control, name, stop, serving, .. } = self;
        let detached = match bus::is_there(name.as_str()) {
            true => stale::detach(&name).await,
            false => Ok(()),
        };
        // How it ends is told by `failed`.
        let _ = stop.send(());
        if let Some(serving) = serving {
            let _ = serving.await;
        }
        detached?;
        control.destroy(&name)?;
        // Nothing is under way any more.
        let _ = std::fs::remove_file(in_flight::path(name.as_str()));
        Ok(())
    }

    async fn attach(&self) -> Result<PathBuf> {
        let name = self.name.clone();
        let added = tokio::task::spawn_blocking(move || vdpa::add(name.as_str())).await;
        let doing = || format!("put the device '{}' on the vDPA bus", self.name);
        match added {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                let error = Error::new(doing(), why);
                let known = |errno: Errno| error.errno() == Some(errno as i32);
                return Err(if known(Errno::EPERM) {
                    error.advise("the capability CAP_NET_ADMIN is needed")
                } else if known(Errno::ENOENT) || known(Errno::ENODEV) {
                    error.advise("load the kernel's modules 'vdpa' and 'vduse'")
                } else {
                    error
                });
            }
            Err(why) => return Err(Error::because(doing(), why.to_string())),
        }
        self.find_node().await
    }

    async fn find_node(&self) -> Result<PathBuf> {
        let mut waited = Duration::ZERO;
        loop {
            let bound = bus::bound(self.name.as_str());
            match &bound {
                Bound::Disk(node) | Bound::Vhost(node) if node.exists() => return Ok(node.clone()),
                _ if waited < PATIENCE => {}
                Bound::No => {
                    return Err(self.useless("no driver has taken it").advise(
                        "load the kernel's module 'virtio_vdpa' for a disk of this kernel, or \
                         'vhost_vdpa' for a VMM",
                    ));
                }
                _ => {
                    return Err(self.useless("no disk has come of it").advise(
                        "load the kernel's module 'virtio_blk'; if it is there, the kernel's \
                         messages tell what it has against the device, such as zones whose size is \
                         not a power of two",
                    ));
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
            waited = waited.saturating_add(LOOK_EVERY);
        }
    }

    fn useless(&self, why: &str) -> Error {
        Error::because(format!("use the device '{}'", self.name), why)
    }
}
