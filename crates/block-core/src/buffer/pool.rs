//! A pool of aligned buffers, so that a busy node allocates nothing per request.

use super::block::Block;
use super::{BUFFER_ALIGNMENT, IoBufMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The smallest class holds buffers of this many bytes.
const SMALLEST: usize = 4096;
/// Classes double in size: 4 KiB, 8 KiB, … 4 MiB. Larger buffers are not kept.
const CLASSES: usize = 11;

/// Aligned memory for requests, kept for the next one when a buffer is dropped.
///
/// Clones share the same memory. What is kept is bounded by the limit given to
/// [`new`](Self::new); what is lent out is not, because it belongs to requests, which are bounded
/// elsewhere.
#[derive(Clone)]
pub struct BufferPool(Arc<PoolShared>);

pub(super) struct PoolShared {
    classes: [Mutex<Vec<Arc<Block>>>; CLASSES],
    kept: AtomicUsize,
    keep_at_most: usize,
}

impl BufferPool {
    /// A pool that keeps at most `keep_at_most` bytes of unused buffers.
    pub fn new(keep_at_most: usize) -> Self {
        Self(Arc::new(PoolShared {
            classes: std::array::from_fn(|_| Mutex::new(Vec::new())),
            kept: AtomicUsize::new(0),
            keep_at_most,
        }))
    }

    /// A buffer of `len` bytes, aligned to [`BUFFER_ALIGNMENT`].
    ///
    /// Its content is unspecified: zeroes, or what an earlier request of this pool left.
    pub fn get(&self, len: usize) -> IoBufMut {
        let Some((list, size)) =
            class_of(len).and_then(|(i, size)| Some((self.0.classes.get(i)?, size)))
        else {
            return IoBufMut::zeroed(len);
        };
        let found = list.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut block = match found {
            Some(block) => {
                self.0.kept.fetch_sub(size, Ordering::Relaxed);
                block
            }
            None => match Block::zeroed(size, BUFFER_ALIGNMENT) {
                Some(block) => Arc::new(block),
                None => return IoBufMut::zeroed(len),
            },
        };
        if let Some(block) = Arc::get_mut(&mut block) {
            block.home = Some(Arc::clone(&self.0));
        }
        IoBufMut::from_block(BlockRef(Some(block)), len)
    }

    /// Bytes of unused buffers kept at this moment.
    pub fn kept_bytes(&self) -> usize {
        self.0.kept.load(Ordering::Relaxed)
    }
}

impl Default for BufferPool {
    /// Keeps up to 16 MiB.
    fn default() -> Self {
        Self::new(16 << 20)
    }
}

impl std::fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BufferPool").field("kept_bytes", &self.kept_bytes()).finish()
    }
}

/// A handle to a block, which the last handle gives back to the block's pool.
#[derive(Clone)]
pub(super) struct BlockRef(Option<Arc<Block>>);

impl BlockRef {
    pub(super) fn new(block: Block) -> Self {
        Self(Some(Arc::new(block)))
    }

    pub(super) fn ptr(&self) -> NonNull<u8> {
        self.0.as_ref().map_or(NonNull::dangling(), |block| block.ptr())
    }

    pub(super) fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |block| block.size())
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        matches!((&self.0, &other.0), (Some(a), Some(b)) if Arc::ptr_eq(a, b))
    }

    /// Whether no other handle to the block exists.
    pub(super) fn is_unique(&mut self) -> bool {
        self.0.as_mut().is_some_and(|block| Arc::get_mut(block).is_some())
    }
}

impl Drop for BlockRef {
    fn drop(&mut self) {
        if let Some(block) = self.0.take() {
            recycle(block);
        }
    }
}

/// Gives a block back to its pool if this was its last handle. Two handles that are dropped at the
/// same moment may both see the other: then the block is freed, which costs a later allocation.
pub(super) fn recycle(mut block: Arc<Block>) {
    // `get_mut` locks the bus, which most handles that are dropped can do without.
    if Arc::strong_count(&block) > 1 {
        return;
    }
    let Some(unique) = Arc::get_mut(&mut block) else {
        return;
    };
    let Some(home) = unique.home.take() else {
        return;
    };
    let size = unique.size();
    let Some(list) = class_of(size).and_then(|(i, _)| home.classes.get(i)) else {
        return;
    };
    if home.kept.fetch_add(size, Ordering::Relaxed).saturating_add(size) > home.keep_at_most {
        home.kept.fetch_sub(size, Ordering::Relaxed);
        return;
    }
    list.lock().unwrap_or_else(PoisonError::into_inner).push(block);
}

/// The index and buffer size of the class that serves `len` bytes.
fn class_of(len: usize) -> Option<(usize, usize)> {
    let size = len.max(SMALLEST).checked_next_power_of_two()?;
    let index =
        usize::try_from(size.trailing_zeros().checked_sub(SMALLEST.trailing_zeros())?).ok()?;
    (index < CLASSES).then_some((index, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_lent_again() {
        let pool = BufferPool::default();
        let buf = pool.get(5000);
        assert_eq!(buf.len(), 5000);
        let address = buf.as_ptr();
        assert_eq!(address.align_offset(BUFFER_ALIGNMENT), 0);
        drop(buf);
        assert_eq!(pool.kept_bytes(), 8192);
        assert_eq!(pool.get(8192).as_ptr(), address);
    }

    #[test]
    fn a_buffer_comes_back_after_its_last_clone_only() {
        let pool = BufferPool::default();
        let shared = pool.get(4096).freeze();
        let clone = shared.clone();
        drop(shared);
        assert_eq!(pool.kept_bytes(), 0);
        drop(clone);
        assert_eq!(pool.kept_bytes(), 4096);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pool = BufferPool::new(10_000);
        let many: Vec<_> = (0..10).map(|_| pool.get(4096)).collect();
        drop(many);
        assert_eq!(pool.kept_bytes(), 8192);
        drop(pool.get(1 << 30));
        assert_eq!(pool.kept_bytes(), 8192);
    }

    #[test]
    fn a_buffer_may_outlive_its_pool() {
        let mut buf = BufferPool::default().get(100);
        buf.fill(7);
        assert_eq!(buf.to_vec(), vec![7; 100]);
    }
}
