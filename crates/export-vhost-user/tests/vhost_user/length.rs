//! A device that becomes larger while a guest uses it.

use crate::device::Served;
use block_export::Heard;
use std::io::{self, Read, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use vhost::VhostBackend;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{FrontendReqHandler, VhostUserFrontend, VhostUserFrontendReqHandlerMut};
use virtio_driver::{Guest, PROTOCOL_FEATURES};

const MIB: u64 = 1 << 20;
/// Sectors of a MiB.
const MS: u64 = MIB / 512;
const IN: u32 = 0;
const OUT: u32 = 1;

/// A VMM, which hears that it shall read the configuration space again.
struct Vmm(mpsc::Sender<()>);

impl VhostUserFrontendReqHandlerMut for Vmm {
    fn handle_config_change(&mut self) -> io::Result<u64> {
        self.0.send(()).unwrap();
        Ok(0)
    }
}

/// Hands a channel over; what is said on it is heard at the end that is returned.
fn listen(guest: &mut Guest) -> mpsc::Receiver<()> {
    let (heard, ear) = mpsc::channel();
    let mut handler = FrontendReqHandler::new(Arc::new(Mutex::new(Vmm(heard)))).unwrap();
    guest.frontend.set_backend_request_fd(&handler.get_tx_raw_fd()).unwrap();
    std::thread::spawn(move || while handler.handle_request().is_ok() {});
    ear
}

fn hears(ear: &mpsc::Receiver<()>) -> bool {
    ear.recv_timeout(Duration::from_secs(20)).is_ok()
}

fn capacity(guest: &mut Guest) -> u64 {
    u64::from_le_bytes(guest.config(0, 8).unwrap().try_into().unwrap())
}

#[test]
fn a_guest_hears_of_a_larger_device_and_uses_all_of_it() {
    let device = Served::regular(MIB);
    let mut guest = device.guest(1);
    assert_eq!(capacity(&mut guest), MS);
    let ear = listen(&mut guest);
    let block = [7; 4096];
    assert_eq!(guest.ask(0, OUT, 0, &block, 0).status, 0);
    assert_ne!(guest.ask(0, OUT, MS, &block, 0).status, 0, "beyond the end");
    for grown in [2, 3] {
        assert_eq!(device.grow(grown * MIB).unwrap(), Heard::Now);
        assert!(hears(&ear));
        assert_eq!(capacity(&mut guest), grown * MS);
        let last = grown * MS - 8;
        assert_eq!(guest.ask(0, OUT, last, &block, 0).status, 0);
        assert_eq!(guest.ask(0, IN, last, &[], 4096).data, block);
        assert_ne!(guest.ask(0, OUT, last + 1, &block, 0).status, 0);
    }
    assert_eq!(guest.ask(0, IN, 0, &[], 4096).data, block, "what was there is there");
    assert_eq!(device.grow(3 * MIB).unwrap(), Heard::Now, "nothing is new");
    assert!(ear.recv_timeout(Duration::from_millis(200)).is_err(), "and nobody is told");
    let dir = device.stop();
    let mut last = [0; 4096];
    let image = std::fs::File::open(dir.path().join("f.raw")).unwrap();
    image.read_exact_at(&mut last, 3 * MIB - 4096).unwrap();
    assert_eq!(last, block);
}

#[test]
fn a_device_that_nobody_uses_is_larger_for_who_comes() {
    let device = Served::regular(MIB);
    assert_eq!(device.grow(2 * MIB).unwrap(), Heard::Later("no front end is connected"));
    let mut guest = device.guest(1);
    assert_eq!(capacity(&mut guest), 2 * MS);
    assert_eq!(guest.ask(0, IN, 2 * MS - 8, &[], 4096).status, 0);
}

#[test]
fn who_brings_a_channel_late_hears_of_it_then() {
    let device = Served::regular(MIB);
    let mut guest = device.guest(1);
    assert_eq!(capacity(&mut guest), MS);
    let heard = device.grow(2 * MIB).unwrap();
    let why = "the front end has no channel by which it could be told";
    assert_eq!(heard, Heard::Later(why));
    assert_eq!(guest.ask(0, IN, 2 * MS - 8, &[], 4096).status, 0, "it may ask all the same");
    let ear = listen(&mut guest);
    assert!(hears(&ear));
    assert_eq!(capacity(&mut guest), 2 * MS);
}

/// One that comes again, as to a server that was restarted, goes on with the configuration space that
/// it read from the one before.
#[test]
fn whose_driver_begins_without_a_look_is_told_to_look() {
    for looks in [false, true] {
        let device = Served::regular(MIB);
        let mut guest = device.connect(1);
        guest.accept(!0).unwrap();
        let ear = listen(&mut guest);
        if looks {
            assert_eq!(capacity(&mut guest), MS);
        }
        guest.share().unwrap();
        guest.start(0).unwrap();
        assert_eq!(guest.ask(0, IN, 0, &[], 4096).status, 0);
        // It was said before the request was answered: what comes at all is there, or on its way.
        assert_eq!(device.grow(2 * MIB).unwrap(), Heard::Now);
        for _ in 0..if looks { 1 } else { 2 } {
            assert!(hears(&ear));
        }
        assert!(ear.recv_timeout(Duration::from_millis(200)).is_err(), "no more than that");
    }
}

/// Without the feature `CONFIG` the message means nothing to it.
#[test]
fn who_did_not_agree_to_be_told_is_not() {
    for agrees in [false, true] {
        let device = Served::regular(MIB);
        let mut guest = device.connect(1);
        guest.frontend.set_features(guest.offered | PROTOCOL_FEATURES).unwrap();
        let mut features = guest.frontend.get_protocol_features().unwrap();
        features.set(VhostUserProtocolFeatures::CONFIG, agrees);
        guest.frontend.set_protocol_features(features).unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        guest.frontend.set_backend_request_fd(&theirs.as_raw_fd()).unwrap();
        drop(theirs);
        // The answer to this comes after the messages before it were taken.
        guest.frontend.get_queue_num().unwrap();
        assert_eq!(device.grow(2 * MIB).unwrap() == Heard::Now, agrees);
        drop(guest);
        device.stop();
        let mut said = Vec::new();
        ours.read_to_end(&mut said).unwrap();
        assert_eq!(said.len(), if agrees { 12 } else { 0 });
    }
}

/// Linux as a user-mode process brings the end of a pipe.
#[test]
fn a_pipe_is_a_channel_too() {
    let device = Served::regular(MIB);
    let mut guest = device.guest(1);
    let (mut from, to) = pipe().unwrap();
    guest.frontend.set_backend_request_fd(&to.as_raw_fd()).unwrap();
    drop(to);
    assert_eq!(device.grow(2 * MIB).unwrap(), Heard::Now);
    let mut message = [0; 12];
    from.read_exact(&mut message).unwrap();
    assert_eq!(message, *b"\x02\0\0\0\x01\0\0\0\0\0\0\0");
}
