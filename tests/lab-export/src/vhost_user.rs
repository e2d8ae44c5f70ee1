//! This guest's side of door `vhost-user`: a process of the machine outside, whose kernel is the
//! front end. (Linux as a user-mode process, with its driver `virtio_uml`.)
//!
//! The kernel knows of a number of sockets from its start. A device is made by binding the driver to
//! one of them when its server is there, and gone when it is unbound.

use crate::host;
use std::fs;
use std::path::{Path, PathBuf};

/// How many sockets a guest that runs suites knows. A device that lost its server takes its number
/// with it.
pub const SOCKETS: u32 = 24;

const DRIVER: &str = "/sys/bus/platform/drivers/virtio-uml";

/// The socket of a device, on the machine outside.
pub fn socket(number: u32) -> String {
    format!("{}/{}", host::folder(), number % SOCKETS)
}

fn name(number: u32) -> String {
    format!("virtio-uml.{}", number % SOCKETS)
}

fn folder(number: u32) -> PathBuf {
    Path::new("/sys/bus/platform/devices").join(name(number))
}

/// Whether the kernel still knows the socket of this number.
pub fn is_there(number: u32) -> bool {
    folder(number).exists()
}

/// Connects to the server; gives the block device's node.
pub fn attach(number: u32) -> PathBuf {
    fs::write(format!("{DRIVER}/bind"), name(number))
        .unwrap_or_else(|e| panic!("{}: {e}\n{}", name(number), crate::tools::kernel_says()));
    Path::new("/dev").join(disk(number).expect("a disk"))
}

/// Leaves the server.
pub fn detach(number: u32) {
    fs::write(format!("{DRIVER}/unbind"), name(number))
        .unwrap_or_else(|e| panic!("{}: {e}", name(number)));
}

/// As [`detach`], for a device that may be gone.
pub fn try_detach(number: u32) {
    let _ = fs::write(format!("{DRIVER}/unbind"), name(number));
}

/// Takes the driver of disks from the device and gives it back, over the same connection; gives the
/// new node.
pub fn change_driver(number: u32) -> PathBuf {
    const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_blk";
    let device = virtio(number).expect("a virtio device");
    for way in ["unbind", "bind"] {
        fs::write(format!("{DRIVER}/{way}"), &device)
            .unwrap_or_else(|e| panic!("{way}: {e}\n{}", crate::tools::kernel_says()));
    }
    Path::new("/dev").join(disk(number).expect("a disk"))
}

/// The name of the device's virtio device, such as `virtio0`.
fn virtio(number: u32) -> Option<String> {
    only(&folder(number), |name| name.starts_with("virtio"))
}

/// The name of the device's disk, such as `vda`.
fn disk(number: u32) -> Option<String> {
    only(&folder(number).join(virtio(number)?).join("block"), |_| true)
}

fn only(folder: &Path, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).find(|name| wanted(name))
}
