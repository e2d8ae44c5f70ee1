//! `zblk export ublk`.

use super::DeviceArgs;
use crate::error::{Failure, Result};
use crate::output::Output;
use clap::Args;
use export_ublk::{Device, Settings, check_host};
use serde::Serialize;
use std::pin::pin;

/// The most queues, and requests in each, that the kernel takes.
const MAX: i64 = Settings::MAX as i64;
const MAX_ID: i64 = Settings::MAX_ID as i64;

const EXAMPLES: &str = "\
Prints the device's path once it can be used, and serves until it is interrupted. The data and the
zones' conditions are durable then, and the device is gone. SIGHUP has it look whether the image has
become larger: then the device does too, from Linux 6.16 on.

Needs Linux 6.5 (6.6 for zones) with the module ublk_drv, and root.

  modprobe ublk_drv
  zblk export ublk disk.zbd --id 0 &
  until [ -b /dev/ublkb0 ]; do sleep 0.1; done
  mkzonefs /dev/ublkb0 && mount -t zonefs /dev/ublkb0 /mnt";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UblkArgs {
    #[command(flatten)]
    device: DeviceArgs,

    /// The number N of /dev/ublkbN; by default the first that is free
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..MAX_ID))]
    id: Option<u32>,

    /// Hardware queues, each with a thread; by default one for each processor, at most 4
    #[arg(long, value_name = "Q", value_parser = clap::value_parser!(u16).range(1..=MAX))]
    queues: Option<u16>,

    /// Requests that each queue holds
    #[arg(long, value_name = "D", default_value = "128",
          value_parser = clap::value_parser!(u16).range(1..=MAX))]
    depth: u16,

    /// Let the device outlive this program: if it is killed, requests wait until the image is
    /// exported again with the same --id
    ///
    /// On an emulated zoned device this means --write-through too.
    #[arg(long, requires = "id")]
    recover: bool,

    /// Make every write durable before it is answered, and tell the kernel of no cache to flush
    #[arg(long)]
    write_through: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The number N of /dev/ublkbN
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(0..MAX_ID))]
    id: u32,
}

#[derive(Serialize)]
struct Ready<'a> {
    door: &'static str,
    device: &'a str,
    id: u32,
    recovered: bool,
}

impl UblkArgs {
    fn settings(&self) -> Settings {
        let default = Settings::default();
        Settings {
            id: self.id,
            queues: self.queues.unwrap_or(default.queues),
            depth: self.depth,
            recover: self.recover,
            write_through: self.write_through,
        }
    }
}

pub(crate) async fn run(args: &UblkArgs, output: &Output) -> Result<()> {
    if !args.device.serial.is_empty() {
        return Err(Failure::Usage(
            "a ublk device has no serial number: leave out --serial".into(),
        ));
    }
    // Before an image is opened in vain.
    check_host()?;
    let serve = async |export: &_, stop: &mut super::Stop| {
        let mut starting = pin!(Device::start(Clone::clone(export), args.settings()));
        let mut device = tokio::select! {
            started = &mut starting => started?,
            // What is half made is finished first, and then taken away.
            () = stop.told() => {
                let started = stop.unless_told_again(starting).await??;
                return Ok(stop.unless_told_again(started.stop()).await??);
            }
        };
        let path = device.path().display().to_string();
        let (id, recovered) = (device.id(), device.is_recovered());
        let ready = Ready { door: "ublk", device: &path, id, recovered };
        let told = output.result(&ready, || format!("{path}\n"));
        let ended = match told {
            // Nobody wants to know where it is; it is there all the same.
            Ok(()) | Err(Failure::ClosedPipe) => tokio::select! {
                ended = device.ended() => return Ok(ended?),
                () = stop.told() => Ok(()),
            },
            Err(failure) => Err(failure),
        };
        stop.unless_told_again(device.stop()).await??;
        ended
    };
    args.device.with(output, serve).await
}

pub(crate) async fn remove(args: &RemoveArgs) -> Result<()> {
    check_host()?;
    Ok(export_ublk::remove(args.id).await?)
}
