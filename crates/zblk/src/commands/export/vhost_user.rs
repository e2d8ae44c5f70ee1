//! `zblk export vhost-user`

use super::{DeviceArgs, Stop};
use crate::error::{Failure, Result};
use crate::output::Output;
use block_export::Export;
use clap::Args;
use export_vhost_user::{Server, Settings};
use serde::Serialize;
use std::path::PathBuf;

const EXAMPLES: &str = "\
The VMM must pass on VIRTIO_BLK_F_ZONED of a zoned image, else it is refused; a regular image can be
used by any. Ended by SIGTERM or SIGINT, after everything is durable; told twice, at once. SIGHUP has it
look whether the image has become larger: then the disk does too.

Examples:
  zblk export vhost-user disk.zbd --socket /run/disk.sock --queues 2 --serial disk-1
  crosvm run --vhost-user block,socket=/run/disk.sock …";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VhostUserArgs {
    #[command(flatten)]
    device: DeviceArgs,

    /// Where to listen; the socket of a server that is gone is replaced
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// Number of virtqueues, each served by a thread of its own
    #[arg(long, value_name = "Q", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(Settings::MAX_QUEUES)))]
    queues: u16,

    /// Make every write durable before it is answered; for a guest that shall live on when this
    /// program is killed
    #[arg(long)]
    write_through: bool,
}

#[derive(Serialize)]
struct ReadyObject<'a> {
    ready: bool,
    door: &'static str,
    socket: &'a str,
    queues: u16,
}

pub(crate) async fn run(args: &VhostUserArgs, output: &Output) -> Result<()> {
    args.device.with(output, async |export, stop| serve(args, export, stop, output).await).await
}

async fn serve(
    args: &VhostUserArgs,
    export: &Export,
    stop: &mut Stop,
    output: &Output,
) -> Result<()> {
    let settings = Settings { queues: args.queues, write_through: args.write_through };
    let mut server = Server::bind(export.clone(), &args.socket, settings)?;
    let socket = args.socket.to_string_lossy();
    let ready =
        ReadyObject { ready: true, door: "vhost-user", socket: &socket, queues: args.queues };
    let told = output.result(&ready, || format!("ready: vhost-user at {socket}\n"));
    let served = match told {
        // Nobody wants to know that it is ready; it is all the same.
        Ok(()) | Err(Failure::ClosedPipe) => tokio::select! {
            served = server.serve() => served.map_err(Failure::from),
            () = stop.told() => Ok(()),
        },
        Err(failure) => Err(failure),
    };
    let closed = stop.unless_told_again(server.close()).await?;
    served?;
    Ok(closed?)
}
