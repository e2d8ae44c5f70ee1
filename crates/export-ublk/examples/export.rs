//! Exports an image as a block device until it is interrupted: `export IMAGE [N]`.

use block_backend::BlockBackend;
use block_export::{Export, Identity};
use export_ublk::{Device, Settings, check_host};
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let image = args.next().ok_or("usage: export IMAGE [N]")?;
    let id = args.next().map(|number| number.parse()).transpose()?;

    check_host()?;
    let export = Export::new(BlockBackend::open(&image).await?, Identity::default()).await?;
    let mut device = Device::start(export.clone(), Settings { id, ..Settings::default() }).await?;
    println!("{}", device.path().display());
    tokio::select! {
        ended = device.ended() => ended?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            device.stop().await?;
        }
    }
    export.close().await?;
    Ok(())
}
