//! Commands of NVMe devices that the block layer has no call for (`<linux/nvme_ioctl.h>`).

use super::uninterrupted;
use block_core::IoBuf;
use nix::errno::Errno;
use nix::libc::{self, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Zone Append, NVMe Zoned Namespace command set.
const ZONE_APPEND: u8 = 0x7d;

mod raw {
    /// `struct nvme_passthru_cmd64`.
    #[repr(C)]
    #[derive(Default)]
    pub(super) struct Command {
        pub opcode: u8,
        pub flags: u8,
        pub reserved1: u16,
        pub nsid: u32,
        pub cdw2: u32,
        pub cdw3: u32,
        pub metadata: u64,
        pub addr: u64,
        pub metadata_len: u32,
        pub data_len: u32,
        pub cdw10: u32,
        pub cdw11: u32,
        pub cdw12: u32,
        pub cdw13: u32,
        pub cdw14: u32,
        pub cdw15: u32,
        pub timeout_ms: u32,
        pub reserved2: u32,
        pub result: u64,
    }

    nix::ioctl_none!(nvme_ioctl_id, b'N', 0x40);
}

/// The namespace's number, if the device is an NVMe namespace.
#[doc(alias = "NVME_IOCTL_ID")]
pub(crate) fn namespace_id(fd: impl AsFd) -> io::Result<u32> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the ioctl takes no argument.
    let id = uninterrupted(|| unsafe { raw::nvme_ioctl_id(fd) })?;
    u32::try_from(id).map_err(|_| Errno::ERANGE.into())
}

/// How a command ended that reached the device.
pub(crate) type Status = Result<u64, u16>;

/// Appends `data` to the zone that starts at the logical block `zone`; `blocks` is the data's
/// length. Gives the block where it landed, or the device's status code.
#[doc(alias = "NVME_IOCTL_IO64_CMD")]
pub(crate) fn zone_append(
    fd: impl AsFd,
    nsid: u32,
    zone: u64,
    blocks: u16,
    data: &IoBuf,
) -> io::Result<Status> {
    let data_len = u32::try_from(data.len()).map_err(|_| io::Error::from(Errno::EINVAL))?;
    let addr = u64::try_from(data.as_ptr().addr()).map_err(|_| io::Error::from(Errno::EINVAL))?;
    let [low, high] = [zone & 0xffff_ffff, zone >> 32];
    let mut command = raw::Command {
        opcode: ZONE_APPEND,
        nsid,
        addr,
        data_len,
        cdw10: u32::try_from(low).unwrap_or(0),
        cdw11: u32::try_from(high).unwrap_or(0),
        // Counted from 0.
        cdw12: u32::from(blocks.checked_sub(1).ok_or_else(|| io::Error::from(Errno::EINVAL))?),
        ..raw::Command::default()
    };
    // The address reaches the kernel as a number.
    let _exposed = data.as_ptr().expose_provenance();
    // SAFETY: the kernel reads `data_len` bytes at `addr`, which `data` keeps alive until the call
    // has ended. It is not repeated when interrupted: whether the append happened would not be
    // known.
    unsafe { submit(fd, &mut command) }
}

/// Whether the kernel lets this process send commands: before 6.2 it demands `CAP_SYS_ADMIN`. It is
/// asked with a command that it does not send on, because its flags must be 0; does not block.
pub(crate) fn may_send(fd: impl AsFd, nsid: u32) -> io::Result<()> {
    let mut command =
        raw::Command { opcode: ZONE_APPEND, flags: u8::MAX, nsid, ..raw::Command::default() };
    // SAFETY: the command has no data.
    match unsafe { submit(fd, &mut command) } {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// # Safety
/// The command's address and length are of memory that the device may read while the call lasts.
unsafe fn submit(fd: impl AsFd, command: &mut raw::Command) -> io::Result<Status> {
    // SAFETY: the kernel fills the command's result; its memory is the caller's promise.
    let status: c_int = unsafe {
        libc::ioctl(
            fd.as_fd().as_raw_fd(),
            nix::request_code_readwrite!(b'N', 0x48, size_of::<raw::Command>()),
            &raw mut *command,
        )
    };
    match u16::try_from(status) {
        Ok(0) => Ok(Ok(command.result)),
        Ok(code) => Ok(Err(code)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_as_long_as_the_kernels() {
        assert_eq!(size_of::<raw::Command>(), 80);
    }

    #[test]
    fn only_a_lack_of_permission_keeps_commands_from_being_sent() {
        let file = tempfile::tempfile().unwrap();
        assert!(may_send(&file, 1).is_ok());
    }

    #[test]
    fn an_ordinary_file_is_no_namespace() {
        let file = tempfile::tempfile().unwrap();
        assert!(namespace_id(&file).is_err());
    }
}
