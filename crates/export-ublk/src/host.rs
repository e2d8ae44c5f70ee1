//! What this machine's kernel offers, and what to do where it does not.

use block_core::{Error, ErrorKind, Result};
use libublk::ctrl::UblkCtrl;
use libublk::sys::{
    UBLK_F_USER_COPY, UBLK_F_USER_RECOVERY, UBLK_F_USER_RECOVERY_REISSUE, UBLK_F_ZONED,
};
use std::fs::OpenOptions;
use std::io;

/// Where the kernel's driver takes commands.
const CONTROL: &str = "/dev/ublk-control";

/// Whether devices can be made here at all, told before an image is opened.
///
/// # Errors
/// `Unsupported` if the kernel's driver is not there or not loaded; `Io` if this user may not use
/// it. The message says what to do.
pub fn check_host() -> Result<()> {
    check_control(CONTROL)
}

fn check_control(path: &str) -> Result<()> {
    let Err(error) = OpenOptions::new().read(true).write(true).open(path) else { return Ok(()) };
    Err(match error.kind() {
        io::ErrorKind::NotFound => unsupported(format!(
            "{path} does not exist: load the kernel's driver with `modprobe ublk_drv` (Linux 6.5 or \
             later, 6.6 for zones, with CONFIG_BLK_DEV_UBLK)"
        )),
        io::ErrorKind::PermissionDenied => {
            let message = format!("{path}: {error}: run it as root (CAP_SYS_ADMIN)");
            ErrorKind::Io(io::Error::new(error.kind(), message)).into()
        }
        _ => crate::error::failed(path, &error),
    })
}

/// The flags for a device, as far as this kernel has them.
///
/// # Errors
/// `Unsupported` if it lacks what is needed.
pub(crate) fn flags(zoned: bool, recover: bool) -> Result<u64> {
    // A kernel before 6.5 does not tell its features.
    let features = UblkCtrl::get_features().unwrap_or(0);
    choose_flags(features, zoned, recover)
}

fn choose_flags(features: u64, zoned: bool, recover: bool) -> Result<u64> {
    let has = |flag: u32| features & u64::from(flag) != 0;
    if !has(UBLK_F_USER_COPY) {
        return Err(unsupported(
            "this kernel's ublk has no user copy: use Linux 6.5 or later".to_owned(),
        ));
    }
    if zoned && !has(UBLK_F_ZONED) {
        return Err(unsupported(
            "this kernel's ublk has no zones: use Linux 6.6 or later with CONFIG_BLK_DEV_ZONED"
                .to_owned(),
        ));
    }
    if recover && !has(UBLK_F_USER_RECOVERY) {
        return Err(unsupported(
            "this kernel's ublk cannot recover devices: export it without".to_owned(),
        ));
    }
    let mut flags = u64::from(UBLK_F_USER_COPY);
    if zoned {
        flags |= u64::from(UBLK_F_ZONED);
    }
    if recover {
        flags |= u64::from(UBLK_F_USER_RECOVERY);
        if has(UBLK_F_USER_RECOVERY_REISSUE) {
            flags |= u64::from(UBLK_F_USER_RECOVERY_REISSUE);
        }
    }
    Ok(flags)
}

fn unsupported(message: String) -> Error {
    ErrorKind::Unsupported(message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 =
        (UBLK_F_USER_COPY | UBLK_F_ZONED | UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE)
            as u64;

    #[test]
    fn a_missing_driver_is_told_with_what_to_do() {
        let error = check_control("/dev/no-such-ublk-control").unwrap_err();
        assert_eq!(error.kind().name(), "unsupported");
        assert!(error.to_string().contains("modprobe ublk_drv"), "{error}");
        check_control("/dev/null").unwrap();
        let error = check_control("/proc/self/exe/x").unwrap_err();
        assert!(error.to_string().contains("/proc/self/exe/x"), "{error}");
    }

    #[test]
    fn a_device_has_the_flags_that_it_needs_and_no_others() {
        let plain = u64::from(UBLK_F_USER_COPY);
        let zoned = u64::from(UBLK_F_ZONED);
        assert_eq!(choose_flags(ALL, false, false).unwrap(), plain);
        assert_eq!(choose_flags(ALL, true, false).unwrap(), plain | zoned);
        assert_eq!(choose_flags(ALL, true, true).unwrap(), ALL);
        let without = |flag: u32| ALL & !u64::from(flag);
        let reissue = UBLK_F_USER_RECOVERY_REISSUE;
        assert_eq!(choose_flags(without(reissue), true, true).unwrap(), without(reissue));
    }

    #[test]
    fn an_old_kernel_is_told_which_one_would_do() {
        let says = |features, zoned, recover, words: &str| {
            let error = choose_flags(features, zoned, recover).unwrap_err();
            assert_eq!(error.kind().name(), "unsupported");
            assert!(error.to_string().contains(words), "{error}");
        };
        says(0, false, false, "Linux 6.5");
        says(ALL & !u64::from(UBLK_F_ZONED), true, false, "Linux 6.6");
        says(ALL & !u64::from(UBLK_F_USER_RECOVERY), false, true, "cannot recover");
        choose_flags(ALL & !u64::from(UBLK_F_ZONED), false, false).unwrap();
    }
}
