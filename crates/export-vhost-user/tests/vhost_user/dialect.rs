//! Messages as Linux sends them when it is a front end itself: a channel that is a pipe, by which it
//! learns that the back end is gone, and a table of memory with room for one region more.

// Messages are in the machine's own order.
#![allow(clippy::host_endian_bytes)]

use crate::device::{Served, Spec};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io::{ErrorKind, Read, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use virtio_driver::{Guest, PROTOCOL_FEATURES, USER};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

/// Whether a channel's other end is gone; nobody says anything on it.
fn is_over(channel: &mut File) -> bool {
    match channel.read(&mut [0]) {
        Ok(0) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        other => panic!("{other:?}"),
    }
}

/// Two channels, as front ends make them: sockets, and the pipe of Linux as a user-mode process.
fn channels() -> [(File, OwnedFd); 2] {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (from, to) = pipe().unwrap();
    let both = [(OwnedFd::from(ours), theirs.into()), (from.into(), to.into())];
    both.map(|(ours, theirs)| {
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        (ours.into(), theirs)
    })
}

fn hands_over(guest: &mut Guest, channel: OwnedFd) {
    guest.frontend.set_backend_request_fd(&channel.as_raw_fd()).unwrap();
}

#[test]
fn the_channel_ends_with_the_server_and_not_before() {
    for (mut ours, theirs) in channels() {
        let device = Served::zoned(Spec::default());
        let mut guest = device.connect(1);
        guest.accept(!0).unwrap();
        hands_over(&mut guest, theirs);
        // Who knows the device as it is has nothing to hear.
        guest.config(0, 8).unwrap();
        guest.share().unwrap();
        guest.start(0).unwrap();
        assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
        assert!(!is_over(&mut ours));
        device.stop();
        assert!(is_over(&mut ours));
    }
}

#[test]
fn another_channel_takes_its_place() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.connect(1);
    guest.accept(!0).unwrap();
    let [(mut first, theirs), (mut second, others)] = channels();
    hands_over(&mut guest, theirs);
    hands_over(&mut guest, others);
    assert!(is_over(&mut first));
    assert!(!is_over(&mut second));
    assert_eq!(guest.frontend.get_queue_num().unwrap(), 1);
}

#[test]
fn the_channel_ends_when_the_front_end_is_left() {
    let device = Served::zoned(Spec::default());
    let mut guest = device.connect(1);
    guest.accept(!0).unwrap();
    let [(mut ours, theirs), _] = channels();
    hands_over(&mut guest, theirs);
    assert!(!is_over(&mut ours));
    drop(guest);
    let end = Instant::now() + Duration::from_secs(120);
    while !is_over(&mut ours) {
        assert!(Instant::now() < end, "nobody lets go of it");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_channel_is_refused_where_it_was_not_agreed_on() {
    let device = Served::zoned(Spec::default());
    for (_ours, theirs) in channels() {
        let mut raw = UnixStream::connect(device.socket()).unwrap();
        agree(&mut raw, VhostUserProtocolFeatures::REPLY_ACK);
        hand_over(&mut raw, 1, &[], &theirs);
        assert!(is_left(&mut raw));
    }
}

#[test]
fn a_message_that_is_not_as_it_should_be_ends_the_connection() {
    let device = Served::zoned(Spec::default());
    let connect = || {
        let mut raw = UnixStream::connect(device.socket()).unwrap();
        agree(&mut raw, VhostUserProtocolFeatures::BACKEND_REQ);
        raw
    };
    let [_, (_ours, theirs)] = channels();
    for (what, flags, payload) in
        [("of another version", 2, &[][..]), ("a reply", 5, &[]), ("with a payload", 1, &[0; 8])]
    {
        let mut raw = connect();
        hand_over(&mut raw, flags, payload, &theirs);
        assert!(is_left(&mut raw), "{what}");
    }
    let mut raw = connect();
    say(&mut raw, 21, 1, &[]);
    assert!(is_left(&mut raw), "without a channel");
    // Nothing but that was wrong with them.
    let mut raw = connect();
    hand_over(&mut raw, 1, &[], &theirs);
    say(&mut raw, 15, 1, &[]);
    raw.read_exact(&mut [0; 20]).unwrap();
    drop(raw);
    let mut guest = device.guest(1);
    assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
}

/// A message that brings a channel, by hand.
fn hand_over(raw: &mut UnixStream, flags: u32, payload: &[u8], channel: &OwnedFd) {
    let header = [21, flags, payload.len() as u32].map(u32::to_ne_bytes).concat();
    raw.send_with_fds(&[&header[..], payload], &[channel.as_raw_fd()]).unwrap();
}

/// A region of the guest's memory, in a table of this many regions with room for two.
fn table(count: u32, region: [u64; 4]) -> Vec<u8> {
    let mut table = [count, 0].map(u32::to_ne_bytes).concat();
    table.extend(region.map(u64::to_ne_bytes).concat());
    table.resize(72, 0);
    table
}

/// Sends a table of memory with its file; says whether it was taken.
fn share(raw: &mut UnixStream, table: &[u8], file: &File) -> bool {
    let header = [5, 1 | 8, table.len() as u32].map(u32::to_ne_bytes).concat();
    raw.send_with_fds(&[&header[..], table], &[file.as_raw_fd()]).unwrap();
    let mut reply = [0; 20];
    raw.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..12], [5, 5, 8].map(u32::to_ne_bytes).concat());
    reply[12..] == [0; 8]
}

#[test]
fn a_table_of_memory_may_have_room_to_spare() {
    let device = Served::zoned(Spec::default());
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    // At its start, and where the front end's own code takes the first page.
    for from in [0, 0x1000] {
        let mut raw = UnixStream::connect(device.socket()).unwrap();
        agree(&mut raw, VhostUserProtocolFeatures::REPLY_ACK);
        let region = [from, (1 << 20) - from, USER + from, from];
        assert!(share(&mut raw, &table(1, region), &file));
        // It is there: rings are found in it, and nowhere else.
        for (place, well) in [(USER + (1 << 20) - 0x1000, 0), (USER + (1 << 20), 1)] {
            say(&mut raw, 8, 9, &[0, 128].map(u32::to_ne_bytes).concat());
            raw.read_exact(&mut [0; 20]).unwrap();
            let mut addresses = [0_u32; 2].map(u32::to_ne_bytes).concat();
            addresses.extend([place, place, place, 0].map(u64::to_ne_bytes).concat());
            say(&mut raw, 9, 9, &addresses);
            let mut reply = [0; 20];
            raw.read_exact(&mut reply).unwrap();
            assert_eq!(reply[12], well, "rings at {place:#x}");
        }
        assert!(is_left(&mut raw));
    }
}

/// A front end may send a header first, with the files, and what follows it later.
#[test]
fn messages_may_come_in_pieces() {
    let device = Served::zoned(Spec::default());
    let file = tempfile::tempfile().unwrap();
    file.set_len(2 << 20).unwrap();
    let mut both = table(2, [0, 1 << 20, USER, 0]);
    let second = [1 << 20, 1 << 20, USER + (1 << 20), 1 << 20].map(u64::to_ne_bytes).concat();
    both[40..].copy_from_slice(&second);
    let one = table(1, [0, 1 << 20, USER, 0]);
    // Two regions, one with room to spare, one without.
    for (files, table) in [(2, &both[..]), (1, &one), (1, &one[..40])] {
        // After the request's number, in the header, behind it, in the number of regions, in a region.
        for piece in [4, 9, 12, 14, 30] {
            let mut raw = UnixStream::connect(device.socket()).unwrap();
            agree(&mut raw, VhostUserProtocolFeatures::REPLY_ACK);
            let header = [5, 1 | 8, table.len() as u32].map(u32::to_ne_bytes).concat();
            let message = [&header, table].concat();
            let (first, rest) = message.split_at(piece);
            raw.send_with_fds(&[first], &[file.as_raw_fd(); 2][..files]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            raw.write_all(rest).unwrap();
            let mut reply = [0; 20];
            raw.read_exact(&mut reply).unwrap_or_else(|e| {
                panic!("{files} files, {} bytes, {piece} of them first: {e}", message.len())
            });
            assert_eq!(reply[12..], [0; 8]);
        }
    }
    // A channel is known by the first number of its header.
    let mut raw = UnixStream::connect(device.socket()).unwrap();
    agree(&mut raw, VhostUserProtocolFeatures::BACKEND_REQ);
    let [_, (_ours, theirs)] = channels();
    let header = [21, 1, 0].map(u32::to_ne_bytes).concat();
    raw.send_with_fds(&[&header[..4]], &[theirs.as_raw_fd()]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    raw.write_all(&header[4..]).unwrap();
    say(&mut raw, 15, 1, &[]);
    raw.read_exact(&mut [0; 20]).unwrap();
}

#[test]
fn a_table_of_memory_that_makes_no_sense_ends_the_connection() {
    let device = Served::zoned(Spec::default());
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let whole = [0, 1 << 20, USER, 0];
    // Past the file's end, empty, past the end of all memory.
    for region in [[0, 2 << 20, USER, 0], [0, 0, USER, 0], [u64::MAX - 0xfff, 1 << 20, USER, 0]] {
        let mut raw = UnixStream::connect(device.socket()).unwrap();
        agree(&mut raw, VhostUserProtocolFeatures::REPLY_ACK);
        let header = [5, 1, 72].map(u32::to_ne_bytes).concat();
        raw.send_with_fds(&[&header[..], &table(1, region)], &[file.as_raw_fd()]).unwrap();
        assert!(is_left(&mut raw), "{region:x?}");
    }
    // Without a file; two regions, of which one has none.
    for count in [1, 2] {
        let mut raw = UnixStream::connect(device.socket()).unwrap();
        agree(&mut raw, VhostUserProtocolFeatures::REPLY_ACK);
        if count == 1 {
            say(&mut raw, 5, 1, &table(1, whole));
        } else {
            let header = [5, 1, 72].map(u32::to_ne_bytes).concat();
            raw.send_with_fds(&[&header[..], &table(2, whole)], &[file.as_raw_fd()]).unwrap();
        }
        assert!(is_left(&mut raw), "{count}");
    }
    let mut guest = device.guest(1);
    assert_eq!(guest.ask(0, 4, 0, &[], 0).status, 0);
}

/// A message, by hand.
fn say(raw: &mut UnixStream, request: u32, flags: u32, payload: &[u8]) {
    let mut message = Vec::new();
    for field in [request, flags, payload.len() as u32] {
        message.extend_from_slice(&field.to_ne_bytes());
    }
    message.extend_from_slice(payload);
    raw.write_all(&message).unwrap();
}

/// Agrees on this of vhost-user's own.
fn agree(raw: &mut UnixStream, features: VhostUserProtocolFeatures) {
    raw.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    say(raw, 3, 1, &[]);
    say(raw, 1, 1, &[]);
    raw.read_exact(&mut [0; 20]).unwrap();
    say(raw, 2, 1, &PROTOCOL_FEATURES.to_ne_bytes());
    say(raw, 15, 1, &[]);
    raw.read_exact(&mut [0; 20]).unwrap();
    say(raw, 16, 1, &features.bits().to_ne_bytes());
}

/// Waits for the end of the connection.
fn is_left(raw: &mut UnixStream) -> bool {
    loop {
        match raw.read(&mut [0; 64]) {
            Ok(n) => return n == 0,
            // Another test's signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}
