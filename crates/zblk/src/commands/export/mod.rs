//! `zblk export`: what every door has in common. Each door is a module of its own.
//!
//! A door's command opens the image, makes the device, prints the ready line, and then serves until
//! it is told to stop: then it takes no more requests, waits for those under way, makes everything
//! durable and closes the image. SIGHUP has it look whether the image has become larger.

mod look;
mod stop;
#[cfg(feature = "ublk")]
mod ublk;
mod vduse;
mod vhost_user;

use crate::cli::ImageArgs;
use crate::error::Result;
use crate::image::Access;
use crate::output::Output;
use block_export::{Export, Identity};
use clap::{Args, Subcommand};
use look::Looks;
pub(crate) use stop::Stop;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(subcommand)]
    door: Door,
}

/// The ways by which hosts and guests reach an image.
#[derive(Debug, Subcommand)]
pub(crate) enum Door {
    /// Make it a disk of this kernel, or of a guest, through VDUSE
    ///
    /// The disk has zones if the image has some, and is there until zblk is told to end.
    Vduse(vduse::VduseArgs),
    /// Serve a virtual machine over a Unix socket
    ///
    /// The machine gets a virtio-blk disk, with zones if the image has some. Its VMM connects to
    /// the socket, and may go and come back.
    VhostUser(vhost_user::VhostUserArgs),
    /// Make an image a block device of this machine, /dev/ublkbN, with its zones if it has any
    #[cfg(feature = "ublk")]
    Ublk(ublk::UblkArgs),
    /// Delete a ublk device that waits to be recovered, and never will be
    #[cfg(feature = "ublk")]
    UblkRemove(ublk::RemoveArgs),
}

/// What every door takes.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// Refuse everything that changes data
    #[arg(long)]
    read_only: bool,

    /// The device's serial number, up to 20 printable ASCII characters
    #[arg(long, value_name = "TEXT", default_value = "")]
    serial: String,
}

pub(crate) async fn run(args: &ExportArgs, output: &Output) -> Result<()> {
    match &args.door {
        Door::Vduse(args) => vduse::run(args, output).await,
        Door::VhostUser(args) => vhost_user::run(args, output).await,
        #[cfg(feature = "ublk")]
        Door::Ublk(args) => ublk::run(args, output).await,
        #[cfg(feature = "ublk")]
        Door::UblkRemove(args) => ublk::remove(args).await,
    }
}

impl DeviceArgs {
    /// Opens the image, lets `serve` make a device of it, and closes the image. The first failure
    /// counts; the image is closed whatever happens, unless a second signal says not to wait.
    pub(crate) async fn with(
        &self,
        output: &Output,
        serve: impl AsyncFnOnce(&Export, &mut Stop) -> Result<()>,
    ) -> Result<()> {
        let identity = Identity::new(&self.serial, self.read_only)?;
        // Before the image is opened: who stops the program early is heard too.
        let (mut stop, mut looks) = (Stop::new()?, Looks::new()?);
        let access = if self.read_only { Access::Read } else { Access::Write };
        let backend = self.image.open(access).await?;
        let export = match Export::new(backend.clone(), identity).await {
            Ok(export) => export,
            Err(error) => {
                // The image was not changed: what is wrong with it is the news.
                let _ = backend.close().await;
                return Err(error.into());
            }
        };
        let served = tokio::select! {
            served = serve(&export, &mut stop) => served,
            never = looks.take(&export, output) => match never {},
        };
        if stop.was_told_again() {
            return served;
        }
        let closed = stop.unless_told_again(export.close()).await;
        served?;
        Ok(closed??)
    }
}
