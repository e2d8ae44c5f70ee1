//! The channel by which the back end tells the front end something without being asked. It says one
//! thing: that the configuration space is to be read again, because the device has become larger.
//!
//! The front end learns from the channel's end that the back end is gone, so that it is held for as
//! long as that is there and no longer.

use block_core::{Error, ErrorKind, Result};
use block_export::Heard;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Write};
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
    /// Whether it is to be told of one that came before the channel, and may have read what was.
    untold: bool,
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
        let mut state = self.state();
        state.end = Some(end);
        if state.untold
            && let Err(error) = state.tell()
        {
            tracing::warn!(target: "block", %error, "the front end is not told of the device's size");
        }
    }

    /// The back end is gone.
    pub(crate) fn end(&self) {
        *self.state() = State::default();
    }

    /// Tells that the configuration space has changed.
    ///
    /// # Errors
    /// `Busy` if the front end takes no messages; `Io`.
    pub(crate) fn tell(&self) -> Result<Heard> {
        self.state().tell()
    }
}

impl State {
    fn tell(&mut self) -> Result<Heard> {
        self.untold = true;
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
        end.write_all(&message()).map_err(failed)?;
        self.untold = false;
        Ok(Heard::Now)
    }
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
        channel.end();
        let mut read = Vec::new();
        assert_eq!(from.read_to_end(&mut read).unwrap(), told * 12, "whole messages");
    }

    #[test]
    fn a_front_end_that_is_gone_is_an_error() {
        let channel = agreed();
        let (from, to) = pipe().unwrap();
        channel.hold(OwnedFd::from(to).into());
        drop(from);
        let error = channel.tell().unwrap_err();
        assert!(error.to_string().contains("telling the front end"), "{error}");
    }

    #[test]
    fn a_change_before_the_channel_is_told_once_it_is_there() {
        let channel = agreed();
        assert!(matches!(channel.tell(), Ok(Heard::Later(_))));
        let (mut from, to) = pipe().unwrap();
        let again = to.try_clone().unwrap();
        channel.hold(OwnedFd::from(to).into());
        // And no more than once.
        channel.hold(OwnedFd::from(again).into());
        channel.end();
        let mut read = Vec::new();
        from.read_to_end(&mut read).unwrap();
        assert_eq!(read, message());
    }
}
