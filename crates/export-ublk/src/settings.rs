//! What a user chooses about the device.

use block_core::{ErrorKind, Result};

/// How a graph becomes a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The number N of `/dev/ublkbN`; `None` takes the first that is free.
    pub id: Option<u32>,
    /// Hardware queues, each with a thread: 1 to 4096. The kernel takes no more than it has
    /// processors.
    pub queues: u16,
    /// Requests that each queue holds at once: 1 to 4096.
    pub depth: u16,
    /// The device outlives this process: if it is killed, requests wait until the device is
    /// exported again under the same number, instead of failing (`UBLK_F_USER_RECOVERY`).
    ///
    /// On an emulated zoned device this also means `write_through`: its write pointers are in this
    /// process's memory until they are flushed, and whoever uses the device lives on without it.
    pub recover: bool,
    /// Every write is durable before it is answered, and the kernel is told of no cache to flush.
    pub write_through: bool,
}

impl Settings {
    /// The largest number that a queue's depth may be, and the number of queues
    /// (`UBLK_MAX_QUEUE_DEPTH`, `UBLK_MAX_NR_QUEUES`).
    pub const MAX: u16 = 4096;
    /// One more than the largest number that a device may have: the kernel has so many minors.
    pub const MAX_ID: u32 = 1 << 20;

    /// # Errors
    /// `InvalidOption` if a number is out of its range.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |message| Err(ErrorKind::InvalidOption(message).into());
        for (what, number) in [("queues", self.queues), ("depth", self.depth)] {
            if !(1..=Self::MAX).contains(&number) {
                return refuse(format!("{what}: {number} is not from 1 to {}", Self::MAX));
            }
        }
        match self.id {
            Some(id) if id >= Self::MAX_ID => {
                refuse(format!("id: {id} is not below {}", Self::MAX_ID))
            }
            None if self.recover => refuse(
                "a device that is to be recovered must be found again: give it an id".to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

impl Default for Settings {
    /// The first free number, a queue for each processor up to four, 128 requests each.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let queues = u16::try_from(processors.min(4)).unwrap_or(1);
        Self { id: None, queues, depth: 128, recover: false, write_through: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        let good = Settings::default();
        good.check().unwrap();
        let message = |settings: Settings| settings.check().unwrap_err().to_string();
        assert!(message(Settings { queues: 0, ..good }).contains("queues: 0"));
        assert!(message(Settings { depth: 4097, ..good }).contains("depth: 4097"));
        assert!(message(Settings { id: Some(1 << 20), ..good }).contains("id: 1048576"));
        Settings { id: Some((1 << 20) - 1), depth: 4096, ..good }.check().unwrap();
    }

    #[test]
    fn a_device_to_recover_needs_a_number_to_be_found_by() {
        let recover = Settings { recover: true, ..Settings::default() };
        assert!(recover.check().unwrap_err().to_string().contains("give it an id"));
        Settings { id: Some(0), ..recover }.check().unwrap();
    }
}
