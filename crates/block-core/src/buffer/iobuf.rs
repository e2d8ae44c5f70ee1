//! Single-segment buffers.
#![allow(unsafe_code)]

use super::BUFFER_ALIGNMENT;
use super::block::Block;
use super::pool::BlockRef;
use bytes::Bytes;
use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

/// Who keeps the memory alive.
#[derive(Clone)]
enum Owner {
    /// Nobody: the buffer is empty.
    None,
    /// Memory that this crate allocated.
    Block(BlockRef),
    /// Memory of a `Bytes`, never written.
    Bytes(Bytes),
    /// Memory that others may read and write at any time, such as a guest's.
    Foreign(Arc<dyn Any + Send + Sync>),
}

impl Owner {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Block(a), Self::Block(b)) => a.same(b),
            (Self::Foreign(a), Self::Foreign(b)) => Arc::ptr_eq(a, b),
            // Two adjacent pieces of different `Bytes` cannot be told from two pieces of one.
            _ => false,
        }
    }

    fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }
}

/// Memory to read into: this handle alone may write these bytes.
///
/// Get one from a [`BufferPool`](super::BufferPool) (aligned, recycled), from
/// [`zeroed`](Self::zeroed) (aligned), or from a `Vec<u8>` (no copy, perhaps unaligned).
pub struct IoBufMut {
    ptr: NonNull<u8>,
    len: usize,
    owner: Owner,
}

// SAFETY: the handle owns its range exclusively and every owner is Send and Sync; for foreign
// memory the constructor's contract demands that access from any thread is allowed.
unsafe impl Send for IoBufMut {}
// SAFETY: `&IoBufMut` allows nothing but reading.
unsafe impl Sync for IoBufMut {}

impl IoBufMut {
    /// Zeroed memory aligned to [`BUFFER_ALIGNMENT`], outside any pool.
    pub fn zeroed(len: usize) -> Self {
        match Block::zeroed(len, BUFFER_ALIGNMENT) {
            Some(block) => Self::from_block(BlockRef::new(block), len),
            // Only a length above isize::MAX is no valid layout, and no allocator has that much.
            None => Self::from(vec![0; len]),
        }
    }

    pub(super) fn from_block(block: BlockRef, len: usize) -> Self {
        debug_assert!(len <= block.size());
        Self { ptr: block.ptr(), len: len.min(block.size()), owner: Owner::Block(block) }
    }

    /// Memory that belongs to somebody else, for example a guest's.
    ///
    /// # Safety
    /// `ptr` must be valid for reads and writes of `len` bytes, from any thread, for as long as
    /// `owner` or a clone of it lives. No Rust reference to this memory may exist meanwhile. Other
    /// parties (a guest, a device) may change it at any time.
    pub unsafe fn from_foreign(
        ptr: NonNull<u8>,
        len: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { ptr, len, owner: Owner::Foreign(owner) }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of the first byte, for a system call.
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr.as_ptr()
    }

    /// Address of the first byte, for a system call that fills the buffer.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// The bytes; `None` for foreign memory, which may change while it is looked at.
    pub fn as_slice(&self) -> Option<&[u8]> {
        if self.owner.is_foreign() {
            return None;
        }
        // SAFETY: the range is initialized (blocks are zeroed or come from a Vec's initialized
        // part), alive while `self` is, and written only through `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) })
    }

    /// The bytes, to change; `None` for foreign memory.
    pub fn as_mut_slice(&mut self) -> Option<&mut [u8]> {
        if self.owner.is_foreign() {
            return None;
        }
        // SAFETY: as for `as_slice`; this handle is the only one to its range.
        Some(unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) })
    }

    /// Copies from `src` to the start of the buffer; returns how many bytes fitted.
    pub fn copy_from_slice(&mut self, src: &[u8]) -> usize {
        let n = src.len().min(self.len);
        // SAFETY: both ranges are valid for `n` bytes. They cannot overlap: `src` is a Rust
        // reference, and none exists to memory that `self` may write.
        unsafe { std::ptr::copy_nonoverlapping(src.as_ptr(), self.ptr.as_ptr(), n) };
        n
    }

    /// Copies the first bytes to `dst`; returns how many.
    pub fn copy_to_slice(&self, dst: &mut [u8]) -> usize {
        copy_out(self.ptr, self.len, dst)
    }

    /// Sets every byte.
    pub fn fill(&mut self, byte: u8) {
        // SAFETY: the range is valid for writes of `len` bytes and only this handle writes it.
        unsafe { std::ptr::write_bytes(self.ptr.as_ptr(), byte, self.len) };
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut vec = vec![0; self.len];
        self.copy_to_slice(&mut vec);
        vec
    }

    /// Takes the first `at` bytes (or all, if there are fewer) out of this buffer.
    #[must_use]
    pub fn split_to(&mut self, at: usize) -> Self {
        let at = at.min(self.len);
        let front = Self { ptr: self.ptr, len: at, owner: self.owner.clone() };
        // SAFETY: `at` is within the range.
        self.ptr = unsafe { self.ptr.add(at) };
        self.len = self.len.saturating_sub(at);
        front
    }

    /// Joins `next` to the end if it is the memory right behind this buffer; otherwise gives it
    /// back.
    pub(super) fn unsplit(&mut self, next: Self) -> Result<(), Self> {
        let end = self.ptr.as_ptr().wrapping_add(self.len);
        if end == next.ptr.as_ptr() && self.owner.same(&next.owner) {
            self.len = self.len.saturating_add(next.len);
            Ok(())
        } else {
            Err(next)
        }
    }

    /// Makes it a buffer to write from. No copy.
    pub fn freeze(self) -> IoBuf {
        IoBuf { ptr: self.ptr, len: self.len, owner: self.owner }
    }

    /// The bytes as [`Bytes`]. No copy, except of foreign memory.
    pub fn into_bytes(self) -> Bytes {
        self.freeze().into_bytes()
    }
}

impl From<Vec<u8>> for IoBufMut {
    fn from(vec: Vec<u8>) -> Self {
        let len = vec.len();
        match Block::from_vec(vec) {
            Some(block) => Self::from_block(BlockRef::new(block), len),
            None => Self { ptr: NonNull::dangling(), len: 0, owner: Owner::None },
        }
    }
}

/// Memory to write from: shared, never changed through any handle, cheap to clone and slice.
#[derive(Clone)]
pub struct IoBuf {
    ptr: NonNull<u8>,
    len: usize,
    owner: Owner,
}

// SAFETY: nobody writes the range through a handle while an `IoBuf` exists, and every owner is
// Send and Sync; for foreign memory the constructor's contract allows access from any thread.
unsafe impl Send for IoBuf {}
// SAFETY: as above.
unsafe impl Sync for IoBuf {}

impl IoBuf {
    /// `len` zero bytes, aligned to [`BUFFER_ALIGNMENT`].
    pub fn zeroed(len: usize) -> Self {
        IoBufMut::zeroed(len).freeze()
    }

    /// An aligned copy of `data`.
    pub fn copy_of(data: &[u8]) -> Self {
        let mut buf = IoBufMut::zeroed(data.len());
        buf.copy_from_slice(data);
        buf.freeze()
    }

    /// Memory that belongs to somebody else, for example a guest's.
    ///
    /// # Safety
    /// `ptr` must be valid for reads of `len` bytes, from any thread, for as long as `owner` or a
    /// clone of it lives. Other parties may change it at any time; no `&mut` to it may exist.
    pub unsafe fn from_foreign(
        ptr: NonNull<u8>,
        len: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { ptr, len, owner: Owner::Foreign(owner) }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of the first byte, for a system call.
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr.as_ptr()
    }

    /// The bytes; `None` for foreign memory, which may change while it is looked at.
    pub fn as_slice(&self) -> Option<&[u8]> {
        if self.owner.is_foreign() {
            return None;
        }
        // SAFETY: initialized, alive while `self` is, and never written while shared.
        Some(unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) })
    }

    /// Copies the first bytes to `dst`; returns how many.
    pub fn copy_to_slice(&self, dst: &mut [u8]) -> usize {
        copy_out(self.ptr, self.len, dst)
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut vec = vec![0; self.len];
        self.copy_to_slice(&mut vec);
        vec
    }

    /// Takes the first `at` bytes (or all, if there are fewer) out of this buffer. No copy.
    #[must_use]
    pub fn split_to(&mut self, at: usize) -> Self {
        let at = at.min(self.len);
        let front = Self { ptr: self.ptr, len: at, owner: self.owner.clone() };
        // SAFETY: `at` is within the range.
        self.ptr = unsafe { self.ptr.add(at) };
        self.len = self.len.saturating_sub(at);
        front
    }

    /// The bytes as [`Bytes`]. No copy, except of foreign memory, which is copied so that it can
    /// no longer change.
    pub fn into_bytes(self) -> Bytes {
        match &self.owner {
            Owner::None => Bytes::new(),
            Owner::Block(_) => Bytes::from_owner(BlockBytes(self)),
            Owner::Bytes(bytes) => {
                let start = self.ptr.as_ptr().addr().saturating_sub(bytes.as_ptr().addr());
                bytes.slice(start..start.saturating_add(self.len))
            }
            Owner::Foreign(_) => Bytes::from(self.to_vec()),
        }
    }

    /// The memory to write to again, if this is the only handle to memory of this crate.
    pub fn try_into_mut(mut self) -> Result<IoBufMut, Self> {
        let unique = match &mut self.owner {
            Owner::Block(block) => block.is_unique(),
            _ => false,
        };
        if unique {
            Ok(IoBufMut { ptr: self.ptr, len: self.len, owner: self.owner })
        } else {
            Err(self)
        }
    }
}

/// An `IoBuf` over a block: the one kind that can stand behind a `Bytes`.
struct BlockBytes(IoBuf);

impl AsRef<[u8]> for BlockBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice().unwrap_or_default()
    }
}

impl From<Bytes> for IoBuf {
    fn from(bytes: Bytes) -> Self {
        let ptr = NonNull::from(bytes.as_ref()).cast();
        Self { ptr, len: bytes.len(), owner: Owner::Bytes(bytes) }
    }
}

impl From<IoBufMut> for IoBuf {
    fn from(buf: IoBufMut) -> Self {
        buf.freeze()
    }
}

impl From<Vec<u8>> for IoBuf {
    fn from(vec: Vec<u8>) -> Self {
        IoBufMut::from(vec).freeze()
    }
}

fn copy_out(ptr: NonNull<u8>, len: usize, dst: &mut [u8]) -> usize {
    let n = dst.len().min(len);
    // SAFETY: both ranges are valid for `n` bytes; `dst` is exclusive, so they cannot overlap.
    unsafe { std::ptr::copy_nonoverlapping(ptr.as_ptr(), dst.as_mut_ptr(), n) };
    n
}

macro_rules! debug_as_length {
    ($($t:ty),*) => {$(
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($t), "({} bytes)"), self.len)
            }
        }
    )*};
}
debug_as_length!(IoBuf, IoBufMut);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_in_and_out_without_a_copy() {
        let bytes = Bytes::from(vec![1, 2, 3, 4]);
        let address = bytes.as_ptr();
        let mut buf = IoBuf::from(bytes);
        let front = buf.split_to(1);
        assert_eq!(front.into_bytes().as_ptr(), address);
        assert_eq!(&buf.into_bytes()[..], &[2, 3, 4]);

        let buf = IoBufMut::zeroed(4096);
        let address = buf.as_ptr();
        assert_eq!(buf.into_bytes().as_ptr(), address);
    }

    #[test]
    fn a_vector_becomes_a_buffer_without_a_copy() {
        let vec = vec![9; 100];
        let address = vec.as_ptr();
        let mut buf = IoBufMut::from(vec);
        assert_eq!(buf.as_ptr(), address);
        buf.as_mut_slice().unwrap()[0] = 1;
        assert_eq!(buf.to_vec()[..2], [1, 9]);
        assert_eq!(IoBufMut::from(Vec::new()).len(), 0);
    }

    #[test]
    fn split_pieces_join_again_only_where_they_belong() {
        let mut whole = IoBufMut::zeroed(100);
        let mut front = whole.split_to(60);
        front.fill(1);
        whole.fill(2);
        let stranger = IoBufMut::zeroed(10);
        assert!(front.unsplit(stranger).is_err());
        front.unsplit(whole).unwrap();
        assert_eq!(front.to_vec(), [vec![1; 60], vec![2; 40]].concat());
    }

    #[test]
    fn only_the_last_handle_becomes_writable_again() {
        let buf = IoBufMut::zeroed(10).freeze();
        let clone = buf.clone();
        let buf = buf.try_into_mut().unwrap_err();
        drop(clone);
        assert!(buf.try_into_mut().is_ok());
    }

    #[test]
    fn foreign_memory_is_copied_never_shown() {
        let mut memory = vec![5_u8; 16];
        let ptr = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: `memory` outlives the buffer and is not touched meanwhile.
        let mut buf = unsafe { IoBufMut::from_foreign(ptr, 16, Arc::new(())) };
        assert!(buf.as_slice().is_none() && buf.as_mut_slice().is_none());
        assert_eq!(buf.copy_from_slice(&[1, 2]), 2);
        assert_eq!(buf.to_vec()[..3], [1, 2, 5]);
        assert_eq!(buf.into_bytes()[..2], [1, 2]);
    }
}
