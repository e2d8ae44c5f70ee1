//! `zblk export vduse`

use super::{DeviceArgs, Stop};
use crate::error::{Failure, Result};
use crate::output::Output;
use block_backend::ErrorKind;
use block_export::Export;
use clap::Args;
use export_vduse::{Name, Options, Server};
use serde::Serialize;
use std::io;
use std::path::PathBuf;
use std::pin::pin;

const EXAMPLES: &str = "\
The kernel's modules vduse and virtio_vdpa are needed for a disk of this kernel, vduse and
vhost_vdpa for a VMM; and root, or the rights to /dev/vduse and CAP_NET_ADMIN.

When the device can be used, its node is printed. It is there until SIGTERM or SIGINT: then the
kernel writes what is left to write and lets go of it, and everything is made durable. A second
signal ends the program without waiting for that. SIGHUP has it look whether the image has become
larger: then the disk does too.

Examples:
  zblk export vduse disk.zbd --name disk0
  zblk export vduse disk.zbd --name disk0 --queues 4 --serial lab-1
  zblk export vduse disk.zbd --name disk0 --no-attach     then: vdpa dev add name disk0 mgmtdev vduse";

/// The most queues: a driver uses no more than it has processors.
const MOST_QUEUES: i64 = 64;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VduseArgs {
    #[command(flatten)]
    device: DeviceArgs,

    /// The device's name on the vDPA bus
    #[arg(long)]
    name: Name,

    /// How many virtqueues the device has
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=MOST_QUEUES))]
    queues: u16,

    /// How many requests a virtqueue holds: a power of two, at most 1024
    #[arg(long, value_name = "N", default_value = "256", value_parser = queue_size)]
    queue_size: u16,

    /// Leave it to `vdpa dev add` to put the device on the vDPA bus
    #[arg(long)]
    no_attach: bool,
}

/// The ready line.
#[derive(Serialize)]
struct Ready<'a> {
    door: &'static str,
    /// The node that users open; null with --no-attach.
    device: Option<PathBuf>,
    name: &'a str,
}

pub(crate) async fn run(args: &VduseArgs, output: &Output) -> Result<()> {
    args.device.with(output, async |export, stop| args.serve(export, stop, output).await).await
}

impl VduseArgs {
    async fn serve(&self, export: &Export, stop: &mut Stop, output: &Output) -> Result<()> {
        let options = Options {
            name: self.name.clone(),
            queues: self.queues,
            queue_size: self.queue_size,
            attach: !self.no_attach,
        };
        let mut starting = pin!(Server::start(export, &options));
        let mut server = tokio::select! {
            started = &mut starting => started?,
            // What is half made is finished first, and then taken away.
            () = stop.told() => {
                let started = stop.unless_told_again(starting).await??;
                return Ok(stop.unless_told_again(started.stop()).await??);
            }
        };
        let device = server.node().map(|node| node.to_owned());
        let ready = Ready { door: "vduse", device, name: self.name.as_str() };
        let told = output.result(&ready, || match &ready.device {
            Some(device) => format!("{}\n", device.display()),
            None => format!("{}\n", self.name),
        });
        let served = match told {
            // Nobody wants to know where it is; it is there all the same.
            Ok(()) | Err(Failure::ClosedPipe) => tokio::select! {
                () = stop.told() => Ok(()),
                error = server.failed() => Err(error.into()),
            },
            Err(error) => Err(error),
        };
        let stopped = stop.unless_told_again(server.stop()).await;
        served?;
        Ok(stopped??)
    }
}

impl From<export_vduse::Error> for Failure {
    fn from(error: export_vduse::Error) -> Self {
        let why = match error.errno() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other("of its own"),
        };
        Self::of(&ErrorKind::from_io(why), error.to_string())
    }
}

fn queue_size(text: &str) -> Result<u16, String> {
    let size = text.parse().ok().filter(|n: &u16| n.is_power_of_two() && (2..=1024).contains(n));
    size.ok_or_else(|| "it is a power of two from 2 to 1024".to_owned())
}
