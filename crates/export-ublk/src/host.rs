//! What this machine's kernel offers, and what to do where it does not.

use block_core::{Error, ErrorKind, Result};
use libublk::ctrl::UblkCtrl;
use libublk::sys::{
    UBLK_F_USER_COPY, UBLK_F_USER_RECOVERY, UBLK_F_USER_RECOVERY_REISSUE, UBLK_F_ZONED,
};
use std::fs::{self, OpenOptions};
use std::io;

/// Where the kernel's driver takes commands.
const CONTROL: &str = "/dev/ublk-control";

/// What to do where there is no other kernel.
const OTHERWISE: &str = "or export the image by vhost-user, which asks nothing of the kernel";

/// Whether devices can be made here at all, told before an image is opened.
///
/// # Errors
/// `Unsupported` if the kernel's driver is not there or not loaded; `Io` if this user may not use
/// it. The message says what to do.
pub fn check_host() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    check_control(CONTROL, release.trim())
}

/// `release` is the kernel's.
fn check_control(path: &str, release: &str) -> Result<()> {
    let Err(error) = OpenOptions::new().read(true).write(true).open(path) else { return Ok(()) };
    Err(match error.kind() {
        io::ErrorKind::NotFound if is_too_old(release) => unsupported(format!(
            "{path} does not exist, and this kernel, {release}, is too old for what zblk needs of \
             it: use Linux 6.5 or later, 6.6 for zones, with CONFIG_BLK_DEV_UBLK, {OTHERWISE}"
        )),
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

/// Whether a kernel of this release is older than the first that will do. What cannot be read is not.
fn is_too_old(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(a)), Some(Ok(b))) if (a, b) < (6, 5))
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
    // The newer one first, so that nobody gets a kernel in vain.
    if zoned && !has(UBLK_F_ZONED) {
        return Err(unsupported(format!(
            "this kernel's ublk has no zones: use Linux 6.6 or later with CONFIG_BLK_DEV_ZONED, \
             {OTHERWISE}"
        )));
    }
    if !has(UBLK_F_USER_COPY) {
        return Err(unsupported(format!(
            "this kernel's ublk has no user copy: use Linux 6.5 or later, {OTHERWISE}"
        )));
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
        let error = check_control("/dev/no-such-ublk-control", "6.12.0").unwrap_err();
        assert_eq!(error.kind().name(), "unsupported");
        assert!(error.to_string().contains("modprobe ublk_drv"), "{error}");
        check_control("/dev/null", "6.12.0").unwrap();
        let error = check_control("/proc/self/exe/x", "6.12.0").unwrap_err();
        assert!(error.to_string().contains("/proc/self/exe/x"), "{error}");
    }

    #[test]
    fn where_the_driver_is_missing_from_an_old_kernel_no_module_is_looked_for_in_vain() {
        let error = check_control("/dev/no-such-ublk-control", "6.1.0-43-amd64").unwrap_err();
        let error = error.to_string();
        assert!(error.contains("6.1.0-43-amd64, is too old"), "{error}");
        assert!(error.contains("Linux 6.5 or later, 6.6 for zones"), "{error}");
        assert!(error.contains("vhost-user") && !error.contains("modprobe"), "{error}");
        let old = ["5.15.0", "6.4.16-rc1", "6.1", "2.6.32"];
        let new = ["6.5", "6.5.0-amd64", "6.12.117+deb12-amd64", "7.0.1", "", "unknown", "6"];
        assert!(old.into_iter().all(is_too_old));
        assert!(!new.into_iter().any(is_too_old));
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
        says(0, true, false, "Linux 6.6");
        says(ALL & !u64::from(UBLK_F_ZONED), true, false, "Linux 6.6");
        says(ALL & !u64::from(UBLK_F_USER_RECOVERY), false, true, "cannot recover");
        choose_flags(ALL & !u64::from(UBLK_F_ZONED), false, false).unwrap();
    }
}
