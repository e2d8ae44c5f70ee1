//! The device of a process that was killed.
//!
//! The kernel keeps it, and every request of its users waits for an answer. Nobody knows any more
//! what the image has of the writes that were answered and not flushed, so this device must not go
//! on as if nothing had happened: a flush would promise what is lost. It ends as a disk does that is
//! pulled: its requests fail, and it is taken off the bus. What comes after is a new disk.

use crate::bus;
use crate::error::{Error, Result};
use crate::in_flight::{self, Log};
use crate::kernel::Kernel;
use crate::name::Name;
use crate::node::{Control, Node};
use crate::protocol::Protocol;
use crate::vdpa;
use block_backend::BlockBackend;
use block_export::{Export, Identity};
use nix::errno::Errno;
use tokio::sync::oneshot;

/// Removes it. Waits until its users have let go of it: file systems on it are shut down by the
/// kernel, a VMM must close it.
///
/// # Errors
/// If the process is alive, or the kernel does not take the device away.
pub(crate) async fn remove(control: &Control, name: &Name) -> Result<()> {
    let node = Node::open(name)?;
    tracing::warn!(target: "block", %name, "its process was killed: the device is taken away");
    if bus::is_there(name.as_str()) {
        let log = Log::open(&in_flight::path(name.as_str()));
        if let Err(error) = &log {
            tracing::warn!(target: "block", %error, "not known which requests were under way");
        }
        let export = refusing().await?;
        let queues = count_queues(&node)?;
        let ear = export.announcements();
        let mut protocol = Protocol::of_stale(node.clone(), export, queues, log.ok());
        protocol.resume()?;
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(protocol.run(stopped, ear));
        detach(name).await?;
        // It may have ended with an error; the device goes anyway.
        let _ = stop.send(());
        let _ = serving.await;
    }
    drop(node);
    control.destroy(name)
}

/// Takes a device off the bus, while somebody else answers for it.
pub(crate) async fn detach(name: &Name) -> Result<()> {
    let own = name.clone();
    let done = tokio::task::spawn_blocking(move || vdpa::delete(own.as_str())).await;
    let doing = || format!("take the device '{name}' off the vDPA bus");
    match done {
        Ok(Ok(())) => Ok(()),
        // Somebody was faster.
        Ok(Err(why)) if why.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(()),
        Ok(Err(why)) => Err(Error::new(doing(), why)),
        Err(why) => Err(Error::because(doing(), why.to_string())),
    }
}

/// An export of which every request fails.
async fn refusing() -> Result<Export> {
    let failed = |why: block_backend::Error| Error::because("refuse requests", why.to_string());
    let backend = BlockBackend::open("driver=null,size=1M").await.map_err(failed)?;
    let export = Export::new(backend, Identity::default()).await.map_err(failed)?;
    export.close().await.map_err(failed)?;
    Ok(export)
}

/// The kernel tells it only by refusing the next one.
fn count_queues(node: &Node) -> Result<u16> {
    for index in 0..u16::MAX {
        match node.queue(index) {
            Ok(_) => {}
            Err(why) if why.raw_os_error() == Some(Errno::EINVAL as i32) => return Ok(index),
            Err(why) => return Err(Error::new(format!("look at queue {index}"), why)),
        }
    }
    Ok(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_export::Request;

    #[tokio::test]
    async fn nothing_is_promised_any_more() {
        let export = refusing().await.unwrap();
        export.serve(Request::Flush).await.unwrap_err();
        let write = Request::Write { offset: 0, data: vec![0; 4096].into(), fua: false };
        export.serve(write).await.unwrap_err();
    }
}
