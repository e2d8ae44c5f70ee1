//! Devices put on the vDPA bus and taken off it, as `vdpa dev add` and `vdpa dev del` do.
//!
//! The two requests of Linux's `include/uapi/linux/vdpa.h` over generic netlink, and the one that
//! tells the family's number. Netlink's messages are in the machine's own byte order.
#![expect(clippy::host_endian_bytes, reason = "netlink is in the machine's own byte order")]

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The management device under which VDUSE's devices are.
const MANAGEMENT: &str = "vduse";

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, and the attributes `CTRL_ATTR_FAMILY_ID` and `_NAME`.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `VDPA_CMD_DEV_NEW`, `VDPA_CMD_DEV_DEL` and their attributes.
const DEV_NEW: u8 = 3;
const DEV_DEL: u8 = 4;
const MGMTDEV_DEV_NAME: u16 = 2;
const DEV_NAME: u16 = 4;

/// `NLM_F_REQUEST | NLM_F_ACK`; an answer of type `NLMSG_ERROR` with 0 is an acknowledgement.
const REQUEST: u16 = 5;
const ERROR: u16 = 2;
/// Bytes of the headers of netlink, and of generic netlink behind it.
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// Puts a device on the bus, where a driver of the kernel binds to it. Returns when the driver has
/// looked at it, for which the device must answer in the meantime.
///
/// # Errors
/// Those of the kernel: EPERM without CAP_NET_ADMIN, EEXIST, and what the device's driver says.
pub(crate) fn add(name: &str) -> io::Result<()> {
    request(DEV_NEW, &[(MGMTDEV_DEV_NAME, MANAGEMENT), (DEV_NAME, name)])
}

/// Takes a device off the bus. Returns when its driver has let go of it, for which the device must
/// answer in the meantime.
///
/// # Errors
/// As of [`add`]; ENODEV if it is not there.
pub(crate) fn delete(name: &str) -> io::Result<()> {
    request(DEV_DEL, &[(DEV_NAME, name)])
}

fn request(command: u8, attributes: &[(u16, &str)]) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkGeneric,
    )?;
    let family = exchange(&socket, &message(CONTROL, GET_FAMILY, &[(FAMILY_NAME, "vdpa")]))?;
    let family = family.and_then(|answer| family_id(&answer));
    // What the kernel says itself if the module is not there.
    let family = family.ok_or(Errno::ENOENT)?;
    exchange(&socket, &message(family, command, attributes)).map(drop)
}

/// Sends a request and waits for its acknowledgement; gives the answer that came before, if any.
fn exchange(socket: &OwnedFd, message: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), message, &kernel, MsgFlags::empty())?;
    let mut answer = None;
    loop {
        let mut bytes = vec![0; 1 << 15];
        let len = match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            len => len?,
        };
        bytes.truncate(len);
        for part in Parts(&bytes) {
            match part.kind {
                ERROR => return acknowledgement(part.body).map(|()| answer),
                _ => answer = Some(part.body.to_vec()),
            }
        }
    }
}

fn acknowledgement(body: &[u8]) -> io::Result<()> {
    let code = body.first_chunk().ok_or(Errno::EBADMSG)?;
    match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error.saturating_neg())),
    }
}

fn message(family: u16, command: u8, attributes: &[(u16, &str)]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes.extend_from_slice(&[command, 1, 0, 0]);
    for (kind, text) in attributes {
        // The length counts the header and the text with its zero, and not what fills it up.
        let len = u16::try_from(text.len().saturating_add(5)).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&len.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let header = [
        &len.to_ne_bytes()[..],
        &family.to_ne_bytes(),
        &REQUEST.to_ne_bytes(),
        // The sequence number: each request waits for its own answer, so one does for all.
        &1_u32.to_ne_bytes(),
    ];
    for (to, from) in bytes.iter_mut().zip(header.concat()) {
        *to = from;
    }
    bytes
}

/// The family's number among the attributes of an answer.
fn family_id(answer: &[u8]) -> Option<u16> {
    let mut attributes = answer.get(GENERIC..)?;
    while let Some([len, kind]) = two(attributes) {
        let len = usize::from(len);
        if kind == FAMILY_ID {
            return attributes.get(4..)?.first_chunk().map(|id| u16::from_ne_bytes(*id));
        }
        attributes = attributes.get(len.max(4).next_multiple_of(4)..)?;
    }
    None
}

fn two(bytes: &[u8]) -> Option<[u16; 2]> {
    let [a, b, c, d] = *bytes.first_chunk()?;
    Some([u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])])
}

/// The messages of one datagram.
struct Parts<'a>(&'a [u8]);

struct Part<'a> {
    kind: u16,
    body: &'a [u8],
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let len = usize::try_from(u32::from_ne_bytes(*self.0.first_chunk()?)).ok()?;
        let [kind, _] = two(self.0.get(4..)?)?;
        let body = self.0.get(HEADER..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Part { kind, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_kernel_reads_it() {
        let bytes = message(0x1234, DEV_NEW, &[(2, "vduse"), (4, "abc")]);
        let mut expected = Vec::new();
        expected.extend_from_slice(&40_u32.to_ne_bytes());
        expected.extend_from_slice(&0x1234_u16.to_ne_bytes());
        expected.extend_from_slice(&5_u16.to_ne_bytes());
        expected.extend_from_slice(&1_u32.to_ne_bytes());
        expected.extend_from_slice(&[0; 4]);
        expected.extend_from_slice(&[3, 1, 0, 0]);
        expected.extend_from_slice(&10_u16.to_ne_bytes());
        expected.extend_from_slice(&2_u16.to_ne_bytes());
        expected.extend_from_slice(b"vduse\0\0\0");
        expected.extend_from_slice(&8_u16.to_ne_bytes());
        expected.extend_from_slice(&4_u16.to_ne_bytes());
        expected.extend_from_slice(b"abc\0");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn answers_are_taken_apart() {
        let mut family = message(CONTROL, 1, &[(FAMILY_NAME, "vdpa")]);
        family.extend_from_slice(&6_u16.to_ne_bytes());
        family.extend_from_slice(&FAMILY_ID.to_ne_bytes());
        family.extend_from_slice(&[0x21, 0x43, 0, 0]);
        let len = u32::try_from(family.len()).unwrap();
        family[..4].copy_from_slice(&len.to_ne_bytes());
        let mut both = family.clone();
        both.extend_from_slice(&family);
        let ids: Vec<_> = Parts(&both).map(|part| (part.kind, family_id(part.body))).collect();
        let id = u16::from_ne_bytes([0x21, 0x43]);
        assert_eq!(ids, [(CONTROL, Some(id)), (CONTROL, Some(id))]);
    }

    #[test]
    fn nonsense_is_no_answer() {
        assert_eq!(family_id(&[]), None);
        assert_eq!(family_id(&[0; 7]), None);
        // Attributes of no length, as often as there is room for them.
        assert_eq!(family_id(&[0; 64]), None);
        assert_eq!(Parts(&[0; 64]).count(), 0);
        assert_eq!(Parts(&[0xff; 64]).count(), 0);
        assert_eq!(Parts(&[1, 0, 0]).count(), 0);
    }

    #[test]
    fn an_errno_is_an_error() {
        assert!(acknowledgement(&0_i32.to_ne_bytes()).is_ok());
        let error = acknowledgement(&(-17_i32).to_ne_bytes()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(17));
        assert!(acknowledgement(&[0; 3]).is_err());
        assert!(acknowledgement(&i32::MIN.to_ne_bytes()).is_err());
    }
}
