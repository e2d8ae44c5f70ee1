//! A device that has become larger.

use super::{DRIVER_OK, Protocol};
use crate::kernel::Kernel;
use block_backend::ErrorKind;
use block_export::Heard;
use nix::errno::Errno;
use std::io;
use virtio_blk::config;

impl<K: Kernel> Protocol<K> {
    /// Has the driver read the capacity once more. The field is changed first: a driver that is told
    /// reads at once, and one that starts now may have read the old one already.
    pub(super) fn announce(&mut self, length: u64) -> block_backend::Result<Heard> {
        let failed = |doing: &str, why: &io::Error| {
            let why = io::Error::new(why.kind(), format!("{doing}: {why}"));
            block_backend::Error::from(ErrorKind::from_io(why))
        };
        let changed = self.kernel.set_config(config::capacity(length));
        changed.map_err(|why| failed("changing the device's capacity", &why))?;
        match self.kernel.config_interrupt() {
            Ok(()) => Ok(Heard::Now),
            Err(why) if why.raw_os_error() == Some(Errno::EINVAL as i32) => {
                self.untold_length = true;
                Ok(Heard::Later(match self.status & DRIVER_OK {
                    0 => "no driver uses the device now",
                    _ => "the device's driver is just starting",
                }))
            }
            Err(why) => Err(failed("telling the driver of the device's capacity", &why)),
        }
    }
}
