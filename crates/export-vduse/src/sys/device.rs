//! `/dev/vduse/NAME`: queues, memory and the kernel's messages.

use super::layout::{
    ConfigData, ConfigHead, DevRequest, DevResponse, IotlbEntry, VqConfig, VqEventfd, VqInfo,
};
use super::uninterrupted;
use nix::errno::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

mod raw {
    use super::{ConfigHead, IotlbEntry, VqConfig, VqEventfd, VqInfo};

    nix::ioctl_readwrite!(iotlb_get_fd, 0x81, 0x10, IotlbEntry);
    nix::ioctl_read!(get_features, 0x81, 0x11, u64);
    nix::ioctl_write_ptr!(set_config, 0x81, 0x12, ConfigHead);
    nix::ioctl_none!(inject_config_irq, 0x81, 0x13);
    nix::ioctl_write_ptr!(vq_setup, 0x81, 0x14, VqConfig);
    nix::ioctl_readwrite!(vq_get_info, 0x81, 0x15, VqInfo);
    nix::ioctl_write_ptr!(vq_setup_kickfd, 0x81, 0x16, VqEventfd);
    nix::ioctl_write_ptr!(vq_inject_irq, 0x81, 0x17, u32);
}

/// Waits for messages, in the runtime that polls this.
pub(crate) fn watch(device: Arc<File>, interest: Interest) -> io::Result<AsyncFd<Arc<File>>> {
    // SAFETY: the descriptor is owned by the file, which what is returned keeps, and it is the same
    // for as long as the file lives.
    let watched = unsafe { AsyncFd::register_with_interest(device, interest) };
    watched.map_err(io::Error::from)
}

/// The features of virtio that the driver took; only valid once it has said FEATURES_OK.
pub(crate) fn negotiated_features(device: impl AsFd) -> io::Result<u64> {
    let fd = device.as_fd().as_raw_fd();
    let mut features = 0;
    // SAFETY: the kernel writes a u64 into ours.
    uninterrupted(|| unsafe { raw::get_features(fd, &raw mut features) })?;
    Ok(features)
}

/// Says how many entries a queue may have at most; needed of each before the device can be used.
pub(crate) fn set_up_queue(device: impl AsFd, index: u32, max_size: u16) -> io::Result<()> {
    let fd = device.as_fd().as_raw_fd();
    let config = VqConfig { index, max_size, reserved: [0; 13] };
    // SAFETY: the kernel reads the structure, which lives until the call is over.
    uninterrupted(|| unsafe { raw::vq_setup(fd, &raw const config) }).map(drop)
}

/// Where the driver has put a split ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueInfo {
    /// Entries.
    pub(crate) size: u32,
    /// Addresses in the device's space.
    pub(crate) descriptors: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
    /// The entry of the available ring at which the device shall begin.
    pub(crate) next_available: u16,
    pub(crate) is_ready: bool,
}

/// What the driver has made of a queue.
pub(crate) fn queue_info(device: impl AsFd, index: u32) -> io::Result<QueueInfo> {
    let fd = device.as_fd().as_raw_fd();
    let mut info = VqInfo { index, ..VqInfo::default() };
    // SAFETY: the kernel reads the index and writes the structure, which is ours.
    uninterrupted(|| unsafe { raw::vq_get_info(fd, &raw mut info) })?;
    Ok(QueueInfo {
        size: info.num,
        descriptors: info.desc_addr,
        available: info.driver_addr,
        used: info.device_addr,
        next_available: info.avail_index,
        is_ready: info.ready != 0,
    })
}

/// Names the eventfd by which the driver tells that a queue has work; the kernel keeps its own
/// reference. Without one, it tells nobody any more.
pub(crate) fn set_kick(
    device: impl AsFd,
    index: u32,
    kick: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let fd = device.as_fd().as_raw_fd();
    let eventfd = VqEventfd { index, fd: kick.map_or(-1, |kick| kick.as_raw_fd()) };
    // SAFETY: the kernel reads the structure, which lives until the call is over.
    uninterrupted(|| unsafe { raw::vq_setup_kickfd(fd, &raw const eventfd) }).map(drop)
}

/// Tells the driver that a queue has answers.
pub(crate) fn inject_irq(device: impl AsFd, index: u32) -> io::Result<()> {
    let fd = device.as_fd().as_raw_fd();
    // SAFETY: the kernel reads a u32, which lives until the call is over.
    uninterrupted(|| unsafe { raw::vq_inject_irq(fd, &raw const index) }).map(drop)
}

/// Changes the configuration space from its start on. The driver is told by [`inject_config_irq`].
pub(crate) fn set_config(device: impl AsFd, start: [u8; 8]) -> io::Result<()> {
    let fd = device.as_fd().as_raw_fd();
    let data = ConfigData { head: ConfigHead { offset: 0, length: 8 }, buffer: start };
    let pointer = (&raw const data).cast::<ConfigHead>();
    // SAFETY: the kernel reads a `ConfigHead` and the `length` bytes behind it. Both are in `data`,
    // whose layout is C's and in which they follow without a gap; it lives until the call is over.
    uninterrupted(|| unsafe { raw::set_config(fd, pointer) }).map(drop)
}

/// Tells the driver that the configuration space has changed.
pub(crate) fn inject_config_irq(device: impl AsFd) -> io::Result<()> {
    let fd = device.as_fd().as_raw_fd();
    // SAFETY: the call has no argument, and the descriptor is open.
    uninterrupted(|| unsafe { raw::inject_config_irq(fd) }).map(drop)
}

/// What the device may do with a part of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Both,
}

/// A part of the device's address space, and the file that holds its bytes.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// First and last address.
    pub(crate) start: u64,
    pub(crate) last: u64,
    pub(crate) access: Access,
    pub(crate) file: File,
    /// Where in the file the part begins, in bytes.
    pub(crate) offset: u64,
}

/// The first part of the device's memory that has addresses in `start..=last`, if there is any.
pub(crate) fn find_mapping(
    device: impl AsFd,
    start: u64,
    last: u64,
) -> io::Result<Option<Mapping>> {
    let fd = device.as_fd().as_raw_fd();
    let mut entry = IotlbEntry { start, last, ..IotlbEntry::default() };
    // SAFETY: the kernel reads and writes the structure, which is ours.
    let new = match uninterrupted(|| unsafe { raw::iotlb_get_fd(fd, &raw mut entry) }) {
        Ok(new) => new,
        // How the kernel says that there is none.
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => return Ok(None),
        Err(error) => return Err(error),
    };
    // SAFETY: the call has returned a new descriptor, which nobody else knows.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(new) });
    let access = match entry.perm {
        1 => Access::Read,
        2 => Access::Write,
        3 => Access::Both,
        other => {
            let why = format!("the kernel gives memory the unknown permission {other}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
    };
    let IotlbEntry { offset, start, last, .. } = entry;
    Ok(Some(Mapping { start, last, access, file, offset }))
}

/// A request of the kernel, which waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u32,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Which entry of the available ring is next?
    QueueState { index: u32 },
    /// The driver has set the device's status.
    Status(u8),
    /// What is known of the memory at these addresses is true no longer.
    MemoryChanged { start: u64, last: u64 },
    /// Something that this version of the interface does not have.
    Unknown(u32),
}

/// Takes the next message, if there is one; the device must have been opened with O_NONBLOCK.
pub(crate) fn read_message(device: impl AsFd) -> io::Result<Option<Message>> {
    let mut request = std::mem::MaybeUninit::<DevRequest>::zeroed();
    let len = size_of::<DevRequest>();
    // SAFETY: zeroes are valid integers, so that all bytes are initialized; they are ours alone
    // while the slice lives.
    let bytes = unsafe { std::slice::from_raw_parts_mut(request.as_mut_ptr().cast::<u8>(), len) };
    let read = match uninterrupted(|| nix::unistd::read(&device, bytes)) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    if read != len {
        let why = format!("the kernel's message has {read} bytes, and not {len}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    // SAFETY: all of its bytes are initialized, and it is made of integers.
    Ok(Some(decode(&unsafe { request.assume_init() })))
}

fn decode(request: &DevRequest) -> Message {
    let body = request.body;
    // SAFETY: all members of the union are integers, of which every byte is initialized.
    let (index, status, [start, last]) = unsafe { (body.vq_index, body.status, body.iova) };
    let what = match request.kind {
        0 => What::QueueState { index },
        1 => What::Status(status),
        2 => What::MemoryChanged { start, last },
        other => What::Unknown(other),
    };
    Message { id: request.request_id, what }
}

/// Answers a message: with the next entry of a queue's available ring if it asked for that, and
/// with a refusal if `accepted` is false.
pub(crate) fn respond(
    device: impl AsFd,
    message: Message,
    accepted: bool,
    next_available: u16,
) -> io::Result<()> {
    let vq_index = match message.what {
        What::QueueState { index } => index,
        _ => 0,
    };
    let response = DevResponse {
        request_id: message.id,
        result: u32::from(!accepted),
        reserved: [0; 4],
        vq_index,
        avail_index: next_available,
        of_packed_ring: [0; 3],
        padding: [0; 29],
    };
    let pointer = (&raw const response).cast::<u8>();
    // SAFETY: the structure is made of integers without padding between them, so that all its bytes
    // are initialized; it lives until the call is over.
    let bytes = unsafe { std::slice::from_raw_parts(pointer, size_of::<DevResponse>()) };
    let written = uninterrupted(|| nix::unistd::write(&device, bytes))?;
    if written == bytes.len() { Ok(()) } else { Err(Errno::EIO.into()) }
}

#[cfg(test)]
mod tests {
    use super::super::layout::RequestBody;
    use super::*;

    fn request(kind: u32, body: RequestBody) -> DevRequest {
        DevRequest { kind, request_id: 7, reserved: [0; 4], body }
    }

    fn body(change: impl FnOnce(&mut RequestBody)) -> RequestBody {
        let mut body = RequestBody { padding: [0; 32] };
        change(&mut body);
        body
    }

    #[test]
    fn messages_are_told_apart() {
        let cases = [
            (0, body(|b| b.vq_index = 3), What::QueueState { index: 3 }),
            (1, body(|b| b.status = 15), What::Status(15)),
            (2, body(|b| b.iova = [5, 9]), What::MemoryChanged { start: 5, last: 9 }),
            (3, body(|_| {}), What::Unknown(3)),
        ];
        for (kind, body, what) in cases {
            assert_eq!(decode(&request(kind, body)), Message { id: 7, what });
        }
    }

    #[test]
    fn a_message_is_read_whole_or_refused() {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        assert_eq!(read_message(&read).unwrap(), None);
        let mut bytes = [0_u8; 152];
        bytes[0] = 1;
        bytes[4] = 9;
        bytes[24] = 4;
        nix::unistd::write(&write, &bytes).unwrap();
        let message = read_message(&read).unwrap();
        assert_eq!(message, Some(Message { id: 9, what: What::Status(4) }));
        nix::unistd::write(&write, &bytes[..100]).unwrap();
        let error = read_message(&read).unwrap_err();
        assert!(error.to_string().contains("100 bytes"), "{error}");
    }

    #[test]
    fn an_answer_carries_what_was_asked() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut bytes = [0_u8; 152];
        let message = Message { id: 0x0102, what: What::QueueState { index: 3 } };
        respond(&write, message, true, 0x0405).unwrap();
        assert_eq!(nix::unistd::read(&read, &mut bytes).unwrap(), 152);
        assert_eq!(bytes[..8], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..32], [3, 0, 0, 0, 5, 4, 0, 0]);
        respond(&write, Message { id: 1, what: What::Status(0) }, false, 0).unwrap();
        nix::unistd::read(&read, &mut bytes).unwrap();
        assert_eq!(bytes[..8], [1, 0, 0, 0, 1, 0, 0, 0]);
    }
}
