//! One heap allocation with a chosen alignment: the memory behind pooled buffers.
#![allow(unsafe_code)]

use super::pool::PoolShared;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;

/// Memory of a fixed size and alignment. Which bytes of it a handle may touch is the handle's
/// matter; a block only keeps the memory alive.
pub(super) struct Block {
    ptr: NonNull<u8>,
    layout: Layout,
    /// The pool that the block goes back to. `None` for memory outside any pool and for blocks
    /// that lie in a pool, so that a pool and its blocks never keep each other alive.
    pub(super) home: Option<Arc<PoolShared>>,
}

// SAFETY: a block is plain memory without thread affinity; access to it is governed by the
// handles, which hand out `&mut` to disjoint ranges only.
unsafe impl Send for Block {}
// SAFETY: `&Block` gives out nothing but the address.
unsafe impl Sync for Block {}

impl Block {
    /// Zeroed memory. `None` if size and alignment are not a valid layout.
    pub(super) fn zeroed(size: usize, align: usize) -> Option<Self> {
        let layout = Layout::from_size_align(size.max(1), align).ok()?;
        // SAFETY: the layout's size is not zero.
        let ptr = unsafe { alloc_zeroed(layout) };
        let Some(ptr) = NonNull::new(ptr) else { handle_alloc_error(layout) };
        Some(Self { ptr, layout, home: None })
    }

    /// Takes over the memory of a vector; `None` if it never allocated.
    pub(super) fn from_vec(vec: Vec<u8>) -> Option<Self> {
        let layout = Layout::array::<u8>(vec.capacity()).ok()?;
        if layout.size() == 0 {
            return None;
        }
        let mut vec = std::mem::ManuallyDrop::new(vec);
        let ptr = NonNull::new(vec.as_mut_ptr())?;
        Some(Self { ptr, layout, home: None })
    }

    pub(super) fn ptr(&self) -> NonNull<u8> {
        self.ptr
    }

    pub(super) fn size(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated by the global allocator with exactly this layout
        // (`alloc_zeroed` above, or by `Vec<u8>` with its capacity), and nobody else frees it.
        unsafe { dealloc(self.ptr.as_ptr(), self.layout) }
    }
}
