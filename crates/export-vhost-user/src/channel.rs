//! The channel by which the back end tells the front end something without being asked. It says one
//! thing: that the configuration space is to be read again, because the device has become larger.
//!
//! The front end learns from the channel's end that the back end is gone: it ends when this is dropped.

use block_core::{Error, ErrorKind, Result};
use block_export::Heard;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, ErrorKind as ErrorKindOfIo, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vhost::vhost_user::VhostUserProtocolFeatures;

/// `VHOST_USER_BACKEND_CONFIG_CHANGE_MSG`, the protocol's version in the flags, and no payload; no
/// reply is asked for.
const CONFIG_CHANGED: [u32; 3] = [2, 1, 0];

/// One front end's channel, if it brought one.
#[derive(Debug, Default)]
pub(crate) struct Channel(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    end: Option<File>,
    /// Whether the front end agreed to be told of changes.
    may_tell: bool,
    /// Whether it has read the configuration space as it is. One that comes again after its server
    /// was restarted goes on with what it read then.
    has_read: bool,
}

impl Channel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what was agreed on.
    pub(crate) fn agree(&self, features: VhostUserProtocolFeatures) {
        let needed = VhostUserProtocolFeatures::CONFIG | VhostUserProtocolFeatures::BACKEND_REQ;
        self.state().may_tell = features.contains(needed);
    }

    /// Holds a channel, instead of the one that was.
    pub(crate) fn hold(&self, end: File) {
        self.state().end = Some(end);
    }

    /// The front end is about to read the configuration space.
    pub(crate) fn note_read(&self) {
        self.state().has_read = true;
    }

    /// Tells a front end whose driver uses the device if it may know it only as it was. What it is
    /// told earlier, it may not heed.
    pub(crate) fn make_up(&self) {
        let mut state = self.state();
        if !state.has_read
            && let Err(error) = state.tell()
        {
            tracing::warn!(target: "block", %error, "the front end is not told of the device's size");
        }
    }

    /// Tells that the configuration space has changed. A front end that does not read it then is told
    /// again when its driver begins to use the device.
    ///
    /// # Errors
    /// `Busy` if the front end takes no messages; `Io`.
    pub(crate) fn tell(&self) -> Result<Heard> {
        let mut state = self.state();
        state.has_read = false;
        state.tell()
    }
}

impl State {
    fn tell(&mut self) -> Result<Heard> {
        let end = match &mut self.end {
            Some(end) if self.may_tell => end,
            _ => return Ok(Heard::Later("the front end has no channel by which it could be told")),
        };
        let failed = |why: io::Error| -> Error {
            let message = format!("telling the front end of the device's size: {why}");
            ErrorKind::from_io(io::Error::new(why.kind(), message)).into()
        };
        let mut ends = [PollFd::new(end.as_fd(), PollFlags::POLLOUT)];
        let ready = poll(&mut ends, PollTimeout::ZERO).map_err(|why| failed(why.into()))?;
        if ready == 0 {
            let message = "the front end does not read what it is told on its channel";
            return Err(ErrorKind::Busy(message.to_owned()).into());
        }
        // A message is so small that it is taken as a whole where there is room at all.
        match end.write_all(&message()) {
            Ok(()) => Ok(Heard::Now),
            Err(why) if is_gone(why.kind()) => {
                Ok(Heard::Later("the front end has closed its channel"))
            }
            Err(why) => Err(failed(why)),
        }
    }
}

fn is_gone(why: ErrorKindOfIo) -> bool {
    matches!(why, ErrorKindOfIo::BrokenPipe | ErrorKindOfIo::ConnectionReset)
}

/// As it is sent: both ends are on one machine, and have one order.
#[allow(clippy::host_endian_bytes)]
fn message() -> [u8; 12] {
    let mut bytes = [0; 12];
    for (place, field) in bytes.chunks_exact_mut(4).zip(CONFIG_CHANGED) {
        place.copy_from_slice(&field.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, pipe};
    use std::os::fd::OwnedFd;

    fn agreed() -> Channel {
        let channel = Channel::default();
        channel.agree(VhostUserProtocolFeatures::all());
        channel
    }

    #[test]
    fn a_front_end_that_does_not_read_holds_up_nobody() {
        let channel = agreed();
        let (mut from, to) = pipe().unwrap();
        channel.hold(OwnedFd::from(to).into());
        let mut told = 0;
        let error = loop {
            match channel.tell() {
                Ok(heard) => assert_eq!(heard, Heard::Now),
                Err(error) => break error,
            }
            told += 1;
        };
        assert_eq!(error.kind().name(), "busy");
        drop(channel);
        let mut read = Vec::new();
        assert_eq!(from.read_to_end(&mut read).unwrap(), told * 12, "whole messages");
    }

    #[test]
    fn a_front_end_that_is_gone_finds_it_when_it_comes_again() {
        let channel = agreed();
        let (from, to) = pipe().unwrap();
        channel.hold(OwnedFd::from(to).into());
        drop(from);
        assert_eq!(channel.tell().unwrap(), Heard::Later("the front end has closed its channel"));
    }

    /// How many messages a front end finds on its channel after this.
    fn messages(what: impl FnOnce(&Channel)) -> usize {
        let channel = agreed();
        let (mut from, to) = pipe().unwrap();
        channel.hold(OwnedFd::from(to).into());
        what(&channel);
        drop(channel);
        let mut read = Vec::new();
        from.read_to_end(&mut read).unwrap();
        read.len() / message().len()
    }

    #[test]
    fn a_driver_that_begins_is_told_unless_its_front_end_has_read_what_is() {
        assert_eq!(messages(|_| {}), 0);
        // One that comes again after its server was restarted does not read.
        assert_eq!(messages(Channel::make_up), 1);
        let read = |channel: &Channel| {
            channel.note_read();
            channel.make_up();
        };
        assert_eq!(messages(read), 0);
        let between = |channel: &Channel| {
            channel.note_read();
            // The front end has no driver yet, and may not heed it.
            assert_eq!(channel.tell().unwrap(), Heard::Now);
            channel.make_up();
        };
        assert_eq!(messages(between), 2, "it was told, but has not read since");
    }

    #[test]
    fn a_change_before_the_channel_is_told_once_it_is_there() {
        let channel = agreed();
        assert!(matches!(channel.tell(), Ok(Heard::Later(_))));
        let (mut from, to) = pipe().unwrap();
        channel.hold(OwnedFd::from(to).into());
        channel.make_up();
        drop(channel);
        let mut read = Vec::new();
        from.read_to_end(&mut read).unwrap();
        assert_eq!(read, message());
    }
}
