//! Messages that the crate `vhost` does not take as Linux sends them when it is a front end itself, as
//! a user-mode process. They are read here, before that crate sees them.
//!
//! - `SET_BACKEND_REQ_FD` brings the channel by which a back end could ask the front end. Linux sends
//!   the end of a pipe, where the crate takes sockets only, and does not work without one. What this
//!   back end does with it: see [`channel`](crate::channel).
//! - `SET_MEM_TABLE` with one region has room for two. How many regions there are stands behind the
//!   header, and may come later than the header and its files, which can be read only once: so all
//!   tables of memory are read here.

use nix::sys::socket::{MsgFlags, recv};
use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use vhost::vhost_user::message::{VhostUserMemoryRegion, VhostUserMsgValidator};
use vm_memory::ByteValued;

/// `VHOST_USER_SET_MEM_TABLE`.
const SET_MEMORY: u32 = 5;
/// `VHOST_USER_SET_BACKEND_REQ_FD`.
const SET_CHANNEL: u32 = 21;
/// Bytes of a message's header: request, flags, bytes that follow (4 each).
const HEADER: usize = 12;
/// Bytes of a table of memory before its regions (their number and padding, 4 each), and of a region:
/// its address for the guest, length, address for the front end, and place in its file (8 each).
const TABLE: usize = 8;
const REGION: usize = 32;
/// Regions for which Linux's table has room at least.
const ROOM: usize = 2;
/// Files that a message brings at most.
const MOST_FILES: usize = 32;
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
    /// Regions of memory, and the file of each.
    Memory(Vec<VhostUserMemoryRegion>, Vec<File>),
}

/// Waits until a message is there, and says whether it is read here. A stream that ends, or fails,
/// has none: whoever reads it finds that out.
///
/// A look at a local socket ends with what is there, whatever is asked (`MSG_WAITALL`), and with the
/// first piece that brings files: more than the request's number is not to be counted on. A message of
/// which even that comes in pieces is left to the crate's reader.
pub(crate) fn next(stream: &UnixStream) -> Option<Kind> {
    let mut front = [0; 4];
    let peeked = recv(stream.as_raw_fd(), &mut front, MsgFlags::MSG_PEEK).ok()?;
    match number_at(front.get(..peeked)?, 0)? {
        SET_CHANNEL => Some(Kind::Channel),
        SET_MEMORY => Some(Kind::Memory),
        _ => None,
    }
}

/// Reads a message of which [`next`] said what it is.
///
/// # Errors
/// `InvalidData` if it is not made as the protocol says; whatever the socket fails with.
pub(crate) fn read(stream: &mut UnixStream, kind: Kind) -> io::Result<(Answer, Brought)> {
    let mut header = [0; HEADER];
    let (len, mut files) = receive(stream, &mut header)?;
    stream.read_exact(header.get_mut(len..).unwrap_or_default())?;
    let field = |n| number_at(&header, n).unwrap_or_default();
    let (request, flags, size) = (field(0), field(1), field(2));
    if flags & VERSION_BITS != VERSION || flags & REPLY != 0 {
        return Err(wrong("a message has wrong flags"));
    }
    let brought = match kind {
        Kind::Channel => {
            let channel = files.pop().filter(|_| files.is_empty());
            let channel = channel.ok_or_else(|| wrong("a channel is not one file"))?;
            if size != 0 {
                return Err(wrong("a message that brings a channel has a payload"));
            }
            Brought::Channel(channel)
        }
        Kind::Memory => {
            let most = MOST_FILES.saturating_mul(REGION).saturating_add(TABLE);
            let size = usize::try_from(size).ok().filter(|size| *size <= most);
            let mut table = vec![0; size.ok_or_else(|| wrong("a table of memory is too long"))?];
            stream.read_exact(&mut table)?;
            let regions = regions(&table)?;
            if regions.len() != files.len() {
                return Err(wrong("a table of memory does not bring a file for each region"));
            }
            Brought::Memory(regions, files)
        }
    };
    Ok((Answer { request, is_wanted: flags & NEED_REPLY != 0 }, brought))
}

/// Reads what is there, and takes the files that came with it.
fn receive(stream: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<File>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_FILES))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(bytes)];
    let received = recvmsg(stream, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(brought) = message {
            files.extend(brought.map(File::from));
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(wrong("a message brings too many files"));
    }
    Ok((received.bytes, files))
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

/// The regions of a table, which has nothing behind them but the room that Linux leaves.
fn regions(table: &[u8]) -> io::Result<Vec<VhostUserMemoryRegion>> {
    let too_short = || wrong("a table of memory is too short");
    let count = number_at(table, 0).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or_else(too_short)?;
    let room = table.get(TABLE..).ok_or_else(too_short)?;
    let len = count.checked_mul(REGION).ok_or_else(too_short)?;
    let to_spare = room.len().checked_sub(len).ok_or_else(too_short)?;
    if to_spare != 0 && room.len() != ROOM.saturating_mul(REGION) {
        return Err(wrong("a table of memory is too long"));
    }
    room.chunks_exact(REGION).take(count).map(region).collect()
}

fn region(bytes: &[u8]) -> io::Result<VhostUserMemoryRegion> {
    let mut region = VhostUserMemoryRegion::default();
    region.as_mut_slice().copy_from_slice(bytes);
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
