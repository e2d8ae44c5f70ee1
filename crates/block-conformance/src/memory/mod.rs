//! Devices in memory: the simplest drivers that keep the whole contract.
//!
//! They prove the battery, and serve as children in the tests of filters and formats. What is
//! durable is told apart from what is merely written, so that a flush that somebody forgets to pass
//! on is seen after a reopen.

mod regular;
mod zone_state;
mod zoned;

pub use regular::{MemoryConfig, MemoryDriver, MemoryStore};
pub use zoned::{MemoryDamage, MemoryZoned, MemoryZonedConfig, MemoryZonedStore};

use block_core::{ErrorKind, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a range. The backend validated it; a test may forget to.
fn range_of(data: &mut [u8], offset: u64, len: u64) -> Result<&mut [u8]> {
    let length = data.len() as u64;
    let (start, end) = (offset as usize, offset.saturating_add(len) as usize);
    data.get_mut(start..end).ok_or_else(|| ErrorKind::OutOfRange { length }.into())
}
