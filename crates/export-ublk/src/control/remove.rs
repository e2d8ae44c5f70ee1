//! Deleting devices that nobody serves.

use super::add::{Found, exists, is_alive};
use crate::error::{failed, ublk_failed};
use block_core::{ErrorKind, Result};
use libublk::ctrl::UblkCtrl;
use nix::sys::signal::SigSet;
use std::io;

/// Deletes a device that has no server.
pub(crate) fn remove(id: u32) -> Result<()> {
    let _ = SigSet::all().thread_block();
    let number = i32::try_from(id).map_err(|_| ErrorKind::InvalidOption(format!("id {id}")))?;
    let doing = format!("removing /dev/ublkb{id}");
    if !exists(id) {
        let error = io::Error::new(io::ErrorKind::NotFound, "there is no such device");
        return Err(failed(&doing, &error));
    }
    let control = UblkCtrl::new_simple(number).map_err(|e| ublk_failed(&doing, e))?;
    if let Found::InUse(pid) = Found::judge(&control.dev_info(), is_alive) {
        let message = format!("/dev/ublkb{id} is served by process {pid}: stop that instead");
        return Err(ErrorKind::Busy(message).into());
    }
    control.kill_dev().map_err(|e| ublk_failed(&doing, e))?;
    control.del_dev_async().or_else(|_| control.del_dev()).map_err(|e| ublk_failed(&doing, e))?;
    Ok(())
}
