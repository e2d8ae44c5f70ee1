//! `/dev/vduse/control`: devices made and destroyed.

use super::layout::DevConfig;
use super::uninterrupted;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The longest name, in bytes, without the zero at its end: `VDUSE_NAME_MAX - 1`.
pub(crate) const NAME_MAX: usize = 255;

/// The longest configuration space, in bytes. The kernel takes a page; no device of ours has more
/// than a tenth of this.
const CONFIG_MAX: usize = 1024;

mod raw {
    use super::DevConfig;

    nix::ioctl_write_ptr!(set_api_version, 0x81, 0x01, u64);
    nix::ioctl_write_ptr!(create_dev, 0x81, 0x02, DevConfig);
    nix::ioctl_write_ptr!(destroy_dev, 0x81, 0x03, [u8; 256]);
}

/// `DevConfig` with the configuration space behind it.
#[repr(C)]
struct WithSpace {
    config: DevConfig,
    space: [u8; CONFIG_MAX],
}

/// Says which version of the interface this program speaks.
pub(crate) fn set_api_version(control: impl AsFd, version: u64) -> io::Result<()> {
    let fd = control.as_fd().as_raw_fd();
    // SAFETY: the kernel reads a u64, which lives until the call is over.
    uninterrupted(|| unsafe { raw::set_api_version(fd, &raw const version) }).map(drop)
}

/// Makes a device; its node is `/dev/vduse/NAME`. The name is at most [`NAME_MAX`] bytes.
pub(crate) fn create(
    control: impl AsFd,
    name: &str,
    (vendor_id, device_id): (u32, u32),
    features: u64,
    queues: u32,
    config_space: &[u8],
) -> io::Result<()> {
    let too_long = || io::Error::from(nix::errno::Errno::ENAMETOOLONG);
    let mut space = [0; CONFIG_MAX];
    let part = space.get_mut(..config_space.len()).ok_or_else(too_long)?;
    part.copy_from_slice(config_space);
    let config = DevConfig {
        name: name_bytes(name).ok_or_else(too_long)?,
        vendor_id,
        device_id,
        features,
        vq_num: queues,
        vq_align: 4096,
        reserved: [0; 13],
        config_size: u32::try_from(config_space.len()).map_err(|_| too_long())?,
    };
    let whole = WithSpace { config, space };
    let pointer = (&raw const whole).cast::<DevConfig>();
    let fd = control.as_fd().as_raw_fd();
    // SAFETY: the kernel reads a `DevConfig` and the `config_size` bytes behind it. Both are in
    // `whole`, whose layout is C's and in which the space follows without a gap; it lives until the
    // call is over.
    uninterrupted(|| unsafe { raw::create_dev(fd, pointer) }).map(drop)
}

/// Removes a device that is on no bus and that nobody has open.
pub(crate) fn destroy(control: impl AsFd, name: &str) -> io::Result<()> {
    let bytes = name_bytes(name).ok_or(nix::errno::Errno::ENAMETOOLONG)?;
    let fd = control.as_fd().as_raw_fd();
    // SAFETY: the kernel reads 256 bytes, which live until the call is over.
    uninterrupted(|| unsafe { raw::destroy_dev(fd, &raw const bytes) }).map(drop)
}

/// The name with zeroes behind it, of which there is at least one.
fn name_bytes(name: &str) -> Option<[u8; 256]> {
    let mut bytes = [0; 256];
    bytes.get_mut(..NAME_MAX)?.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_zero_behind_it() {
        assert_eq!(name_bytes("disk").unwrap()[..6], *b"disk\0\0");
        assert_eq!(name_bytes(&"a".repeat(NAME_MAX)).unwrap()[NAME_MAX], 0);
        assert!(name_bytes(&"a".repeat(NAME_MAX + 1)).is_none());
    }

    #[test]
    fn the_space_follows_without_a_gap() {
        assert_eq!(std::mem::offset_of!(WithSpace, space), std::mem::size_of::<DevConfig>());
    }
}
