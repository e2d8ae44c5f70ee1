//! A device that becomes larger while it is in use.
//!
//! [`Export::look_again`] finds out that there is more of the image than there was. From then on
//! requests may go so far, and the doors tell the device's users, each in its way: a door listens to
//! [`Announcements`], and answers each.

use crate::characteristics::whole_blocks;
use crate::export::Export;
use block_core::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// How long a device is, and who must hear of it.
#[derive(Debug)]
pub(crate) struct Length {
    now: AtomicU64,
    /// What the users have heard. Held by one look at a time.
    told: tokio::sync::Mutex<u64>,
    doors: Mutex<Vec<mpsc::UnboundedSender<Announcement>>>,
}

/// What a look at the image came to. Lengths are in bytes.
#[derive(Debug)]
pub struct Look {
    /// How long the device was for its users.
    pub from: u64,
    /// How long it is now: not less.
    pub to: u64,
    /// When they hear of it, or why a door could not tell them: the next look tells them again.
    pub heard: Result<Heard>,
}

/// When a device's users hear of its new length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// They have been told.
    Now,
    /// They find it when they ask the next time; this is why they could not be told.
    Later(&'static str),
}

/// What a door is to tell its users. One that is dropped without an answer counts as a failure.
#[derive(Debug)]
pub struct Announcement {
    length: u64,
    answer: oneshot::Sender<Result<Heard>>,
}

/// A door's ear. It hears nothing more once it is dropped.
#[derive(Debug)]
pub struct Announcements(mpsc::UnboundedReceiver<Announcement>);

impl Length {
    pub(crate) fn new(length: u64) -> Self {
        let now = AtomicU64::new(length);
        Self { now, told: tokio::sync::Mutex::new(length), doors: Mutex::default() }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }

    fn doors(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<Announcement>>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all doors that are there, and waits for each.
    async fn announce(&self, length: u64) -> Result<Heard> {
        let mut answers = Vec::new();
        self.doors().retain(|door| {
            let (answer, answered) = oneshot::channel();
            let is_there = door.send(Announcement { length, answer }).is_ok();
            if is_there {
                answers.push(answered);
            }
            is_there
        });
        let mut all = Ok(Heard::Now);
        for answered in answers {
            // A door that ends just now has no users left.
            let heard = answered.await.unwrap_or(Err(ErrorKind::Closed.into()));
            all = match (all, heard) {
                (Ok(Heard::Now), heard) => heard,
                (Ok(_), Err(error)) => Err(error),
                (all, _) => all,
            };
        }
        all
    }
}

impl Announcement {
    /// The device's length in bytes. Requests may go so far already.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Says what came of it.
    pub fn answer(self, heard: Result<Heard>) {
        // Who asked may have gone away.
        let _ = self.answer.send(heard);
    }
}

impl Announcements {
    /// The next one; waits for ever if there never is one.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn next(&mut self) -> Announcement {
        match self.0.recv().await {
            Some(announcement) => announcement,
            // The export is gone.
            None => std::future::pending().await,
        }
    }
}

impl Export {
    /// The device's length in bytes: whole blocks. It never becomes less.
    pub fn length(&self) -> u64 {
        self.growth().now()
    }

    /// Hears of each new length from now on. For doors: who listens must answer.
    pub fn announcements(&self) -> Announcements {
        let (door, ear) = mpsc::unbounded_channel();
        self.growth().doors().push(door);
        Announcements(ear)
    }

    /// Looks whether there is more of the image than there was, as after `truncate -s`, and if so lets
    /// requests go so far and has the doors tell the device's users. What a door could not tell is told
    /// again by the next look.
    ///
    /// Requests under way go on. Of an image that ends within a block, that block is not shown; with
    /// `cache.direct=on` it is, filled up with zeroes.
    ///
    /// # Errors
    /// `Shrunk` if there is less than there was: the device keeps its length, and requests to what is
    /// gone fail below. `Unsupported` for a device with zones. `Io`, `Closed`.
    ///
    /// # Cancellation
    /// The device has its new length or the old one; another look tells its users what they have not
    /// heard.
    pub async fn look_again(&self) -> Result<Look> {
        let length = self.growth();
        let mut told = length.told.lock().await;
        let found = self.backend().refresh().await?;
        let (from, to) = (*told, whole_blocks(found, self.characteristics().block_size.into()));
        if to < length.now() {
            return Err(self.cut(length.now(), found));
        }
        if to == from {
            return Ok(Look { from, to, heard: Ok(Heard::Now) });
        }
        // First: who hears of it may ask for it at once.
        length.now.store(to, Ordering::Release);
        let heard = length.announce(to).await;
        if heard.is_ok() {
            *told = to;
        }
        Ok(Look { from, to, heard })
    }

    /// Somebody in this process has cut the image.
    #[cold]
    fn cut(&self, length: u64, found: u64) -> Error {
        let error = Error::from(ErrorKind::Shrunk { length, found });
        error.with_request("look at the length", None).with_node(self.backend().root().name_arc())
    }
}
