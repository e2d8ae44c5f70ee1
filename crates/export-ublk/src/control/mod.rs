//! The life of a device: added or taken over, started, served, stopped, deleted.
//!
//! All of it happens on one thread, because libublk's ring for commands belongs to a thread and its
//! calls wait.

mod add;
mod difference;
mod life;
mod remove;

use crate::device::Started;
use crate::settings::Settings;
use crate::{host, params};
use add::add;
use block_core::{NodeView, Result};
use block_export::Export;
use life::Life;
use nix::sys::signal::SigSet;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;
use tokio::sync::oneshot;

pub(crate) use life::Event;
pub(crate) use remove::remove;

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
    let params = params::params(device, export.length(), write_through)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
