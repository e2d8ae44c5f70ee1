//! Memory that belongs to somebody else, as a guest's would.
#![allow(unsafe_code)] // Such a buffer can only be made by a promise about the memory.

use block_core::{IoBuf, IoBufMut};
use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;

struct Guest(Box<[UnsafeCell<u8>]>);

// SAFETY: the bytes are touched through the buffers made below only, by at most one at a time: the
// cases wait for a request to end, or drop it and settle, before they use the memory again.
unsafe impl Send for Guest {}
// SAFETY: as above.
unsafe impl Sync for Guest {}

/// `len` bytes of foreign memory to read into, at an odd address.
pub(crate) fn foreign_mut(len: usize) -> IoBufMut {
    let guest = Arc::new(Guest((0..=len).map(|_| UnsafeCell::new(0xee)).collect()));
    // From the address of all, so that the pointer may be used for all.
    let second = UnsafeCell::raw_get(guest.0.as_ptr().wrapping_add(1));
    let Some(ptr) = NonNull::new(second) else {
        return IoBufMut::from(Vec::new());
    };
    // SAFETY: the `len` bytes from the second on are alive as long as the owner is, and no
    // reference to them is ever made.
    unsafe { IoBufMut::from_foreign(ptr, len, guest) }
}

/// The data in foreign memory, at an odd address.
pub(crate) fn foreign(data: &[u8]) -> IoBuf {
    let mut buf = foreign_mut(data.len());
    buf.copy_from_slice(data);
    buf.freeze()
}
