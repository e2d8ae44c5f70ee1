//! Adding a device, or taking over one that waits for a server.

use super::difference::difference;
use super::{PATIENCE, PAUSE};
use crate::error::{failed, to_io, ublk_failed};
use crate::settings::Settings;
use block_core::{ErrorKind, Result};
use libublk::UblkFlags;
use libublk::ctrl::{UblkCtrl, UblkCtrlBuilder};
use libublk::sys::{UBLK_S_DEV_DEAD, UBLK_S_DEV_LIVE, ublk_params, ublksrv_ctrl_dev_info};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Instant;

/// A device that is there and not started.
pub(super) struct Added {
    pub(super) control: UblkCtrl,
    /// An earlier server left it.
    pub(super) recovered: bool,
}

/// Adds a device, or takes one over.
pub(super) fn add(
    settings: Settings,
    flags: u64,
    max_request: u32,
    params: &ublk_params,
) -> Result<Added> {
    let Some(id) = settings.id else {
        return add_new(-1, settings, flags, max_request)
            .map_err(|e| failed("adding a device", &e));
    };
    let number = i32::try_from(id).map_err(|_| ErrorKind::InvalidOption(format!("id {id}")))?;
    let patience = Instant::now();
    loop {
        if let Some(added) = take_over(id, number, flags, params, patience)? {
            return Ok(added);
        }
        match add_new(number, settings, flags, max_request) {
            Ok(added) => return Ok(added),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if patience.elapsed() >= PATIENCE {
                    let message = format!(
                        "/dev/ublkb{id} was stopped and somebody still holds it open (a mount?): \
                         let go of it, or choose another id"
                    );
                    return Err(ErrorKind::Busy(message).into());
                }
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(failed(&format!("adding device {id}"), &error)),
        }
    }
}

fn add_new(id: i32, settings: Settings, flags: u64, max_request: u32) -> io::Result<Added> {
    let control = UblkCtrlBuilder::default()
        .name("zblk")
        .id(id)
        .nr_queues(settings.queues)
        .depth(settings.depth)
        .io_buf_bytes(max_request)
        .ctrl_flags(flags)
        .dev_flags(UblkFlags::UBLK_DEV_F_ADD_DEV)
        .build()
        .map_err(to_io)?;
    Ok(Added { control, recovered: false })
}

/// What is to be done about a device that has the number already.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It waits for a server.
    Waiting,
    /// A server has it, or is about to.
    InUse(i32),
    /// Its server is gone, and the kernel has not noticed yet.
    Dying,
    /// It was stopped.
    Dead,
}

impl Found {
    pub(super) fn judge(info: &ublksrv_ctrl_dev_info, is_alive: impl Fn(i32) -> bool) -> Self {
        let alive = is_alive(info.ublksrv_pid);
        match info.state.into() {
            UBLK_S_DEV_DEAD | UBLK_S_DEV_LIVE if alive => Self::InUse(info.ublksrv_pid),
            UBLK_S_DEV_DEAD => Self::Dead,
            UBLK_S_DEV_LIVE => Self::Dying,
            _ => Self::Waiting,
        }
    }
}

pub(super) fn is_alive(pid: i32) -> bool {
    pid > 0 && kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

/// Takes over the device with this number if it waits for that; `None` if the number is free, or is
/// about to be.
fn take_over(
    id: u32,
    number: i32,
    flags: u64,
    params: &ublk_params,
    patience: Instant,
) -> Result<Option<Added>> {
    loop {
        if !exists(id) {
            return Ok(None);
        }
        // It may be gone by now.
        let Ok(control) = UblkCtrl::new_simple(number) else { return Ok(None) };
        let info = control.dev_info();
        match Found::judge(&info, is_alive) {
            Found::InUse(pid) => {
                let message = format!(
                    "/dev/ublkb{id} is served by process {pid}: choose another id, or stop that"
                );
                return Err(ErrorKind::Busy(message).into());
            }
            Found::Dead => {
                delete(&control);
                return Ok(None);
            }
            Found::Dying if patience.elapsed() >= PATIENCE => {
                let message = format!("/dev/ublkb{id} has no server, and the kernel keeps it");
                return Err(ErrorKind::Busy(message).into());
            }
            Found::Dying => thread::sleep(PAUSE),
            Found::Waiting => {
                return recover(id, number, &control, flags, params).map(Some);
            }
        }
    }
}

fn recover(
    id: u32,
    number: i32,
    found: &UblkCtrl,
    flags: u64,
    params: &ublk_params,
) -> Result<Added> {
    let info = found.dev_info();
    let mut there = ublk_params::default();
    found.get_params(&mut there).map_err(|e| ublk_failed("reading a device's parameters", e))?;
    if let Some(what) = difference(&there, params, info.flags, flags) {
        let message = format!(
            "/dev/ublkb{id} waits to be recovered, but {what}, remove it, or choose another id"
        );
        return Err(ErrorKind::Busy(message).into());
    }
    let control = UblkCtrlBuilder::default()
        .name("zblk")
        .id(number)
        .nr_queues(info.nr_hw_queues)
        .depth(info.queue_depth)
        .io_buf_bytes(info.max_io_buf_bytes)
        .dev_flags(UblkFlags::UBLK_DEV_F_RECOVER_DEV)
        .build()
        .map_err(|e| ublk_failed("taking a device over", e))?;
    control.start_user_recover().map_err(|e| ublk_failed("taking a device over", e))?;
    Ok(Added { control, recovered: true })
}

pub(super) fn exists(id: u32) -> bool {
    Path::new(&format!("/dev/ublkc{id}")).exists()
}

/// Deletes a device without waiting for those who hold it open, where the kernel can (Linux 6.9).
pub(super) fn delete(control: &UblkCtrl) {
    let deleted = control.del_dev_async().or_else(|_| control.del_dev());
    if let Err(error) = deleted {
        tracing::debug!(%error, "deleting a device");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libublk::sys::{UBLK_S_DEV_FAIL_IO, UBLK_S_DEV_QUIESCED};

    fn info(state: u32, pid: i32) -> ublksrv_ctrl_dev_info {
        let state = u16::try_from(state).unwrap();
        ublksrv_ctrl_dev_info { state, ublksrv_pid: pid, ..Default::default() }
    }

    #[test]
    fn a_device_is_taken_only_from_the_dead() {
        let judge = |state, pid| Found::judge(&info(state, pid), |pid| pid == 7);
        assert_eq!(judge(UBLK_S_DEV_LIVE, 7), Found::InUse(7));
        assert_eq!(judge(UBLK_S_DEV_DEAD, 7), Found::InUse(7), "it is about to be started");
        assert_eq!(judge(UBLK_S_DEV_LIVE, 8), Found::Dying);
        assert_eq!(judge(UBLK_S_DEV_DEAD, -1), Found::Dead);
        assert_eq!(judge(UBLK_S_DEV_DEAD, 8), Found::Dead);
        assert_eq!(judge(UBLK_S_DEV_QUIESCED, 8), Found::Waiting);
        assert_eq!(judge(UBLK_S_DEV_FAIL_IO, 8), Found::Waiting);
        assert!(is_alive(i32::try_from(std::process::id()).unwrap()));
        assert!(!is_alive(-1) && !is_alive(0));
    }
}
