//! Messages that the crate `vhost` does not take as Linux sends them when it is a front end itself, as
//! a user-mode process. They are read here, before that crate sees them.
//!
//! - `SET_BACKEND_REQ_FD` brings the channel by which a back end could ask the front end. Linux sends
//!   the end of a pipe, where the crate takes sockets only, and does not work without one. What this
//!   back end does with it: see [`channel`](crate::channel).
//! - `SET_MEM_TABLE` with one region has room for two.

use nix::sys::socket::{MsgFlags, recv};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use vhost::vhost_user::message::{VhostUserMemoryRegion, VhostUserMsgValidator};
use vm_memory::ByteValued;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

/// `VHOST_USER_SET_MEM_TABLE`.
const SET_MEMORY: u32 = 5;
/// `VHOST_USER_SET_BACKEND_REQ_FD`.
const SET_CHANNEL: u32 = 21;
/// Bytes of a message's header: request, flags, bytes that follow (4 each).
const HEADER: usize = 12;
/// Bytes of a table of memory with two regions: their number and padding (4 each), and for each its
/// address for the guest, length, address for the front end, and place in its file (8 each).
const TABLE: usize = 72;
/// What the flags say: the protocol's version, in two bits; a reply; that a reply is wanted.
const VERSION: u32 = 1;
const VERSION_BITS: u32 = 3;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// A message that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Channel,
    Memory,
}

/// What a message brought.
pub(crate) enum Brought {
    Channel(File),
    Memory(VhostUserMemoryRegion, File),
}

/// Waits until a message is there, and says whether it is read here. A stream that ends, or fails,
/// has none: whoever reads it finds that out.
///
/// It sees what was sent with one call, which Linux does with each message, and which the kernel does
/// not divide at such lengths. To wait for more is not possible: a look at a local socket ends with
/// what is there, whatever is asked (`MSG_WAITALL`), and with the first piece that brings files. A
/// message in pieces is left to the crate's reader, which takes all that front ends in general send.
pub(crate) fn next(stream: &UnixStream) -> Option<Kind> {
    let mut front = [0; HEADER + 4];
    let peeked = recv(stream.as_raw_fd(), &mut front, MsgFlags::MSG_PEEK).ok()?;
    let field = |n: usize| front.get(..peeked).and_then(|front| number_at(front, n));
    match (field(0)?, field(2)) {
        (SET_CHANNEL, _) => Some(Kind::Channel),
        (SET_MEMORY, Some(size)) if usize::try_from(size) == Ok(TABLE) && field(3)? == 1 => {
            Some(Kind::Memory)
        }
        _ => None,
    }
}

/// Reads a message of which [`next`] said what it is.
///
/// # Errors
/// `InvalidData` if it is not made as the protocol says; whatever the socket fails with.
pub(crate) fn read(stream: &mut UnixStream, kind: Kind) -> io::Result<(Answer, Brought)> {
    let mut header = [0; HEADER];
    let (len, file) = stream.recv_with_fd(&mut header).map_err(io::Error::from)?;
    stream.read_exact(header.get_mut(len..).unwrap_or_default())?;
    let field = |n| number_at(&header, n).unwrap_or_default();
    let (request, flags, size) = (field(0), field(1), field(2));
    if flags & VERSION_BITS != VERSION || flags & REPLY != 0 {
        return Err(wrong("a message has wrong flags"));
    }
    let file = file.ok_or_else(|| wrong("a message that brings one file came without it"))?;
    let brought = match kind {
        Kind::Channel if size == 0 => Brought::Channel(file),
        Kind::Channel => return Err(wrong("a message that brings a channel has a payload")),
        Kind::Memory => {
            let mut table = [0; TABLE];
            stream.read_exact(&mut table)?;
            Brought::Memory(region(&table)?, file)
        }
    };
    Ok((Answer { request, is_wanted: flags & NEED_REPLY != 0 }, brought))
}

/// The answer that a message is owed.
#[derive(Debug)]
pub(crate) struct Answer {
    request: u32,
    is_wanted: bool,
}

impl Answer {
    /// Says whether it went well, if the front end wants to know.
    pub(crate) fn give(self, stream: &mut UnixStream, well: bool) -> io::Result<()> {
        if !self.is_wanted {
            return Ok(());
        }
        let mut reply = Vec::with_capacity(HEADER.saturating_add(8));
        for field in [self.request, VERSION | REPLY, 8] {
            reply.extend_from_slice(field.as_slice());
        }
        reply.extend_from_slice(u64::from(!well).as_slice());
        stream.write_all(&reply)
    }
}

/// The first region of a table.
fn region(table: &[u8; TABLE]) -> io::Result<VhostUserMemoryRegion> {
    let mut region = VhostUserMemoryRegion::default();
    let place = region.as_mut_slice();
    let found = table.get(8..).and_then(|regions| regions.get(..place.len()));
    place.copy_from_slice(found.ok_or_else(|| wrong("a table of memory is too short"))?);
    if region.is_valid() { Ok(region) } else { Err(wrong("a memory region has no place")) }
}

/// The `n`th number of four bytes; both ends of the protocol are on one machine, and have one order.
fn number_at(bytes: &[u8], n: usize) -> Option<u32> {
    let mut number = 0_u32;
    let place = number.as_mut_slice();
    let start = n.checked_mul(place.len())?;
    place.copy_from_slice(bytes.get(start..)?.get(..place.len())?);
    Some(number)
}

fn wrong(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
