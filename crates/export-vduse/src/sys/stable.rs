//! The promise that mapped memory stays.

use crate::memory::Memory;
use virtio_blk::StableMemory;

// SAFETY: a `Memory` only ever adds parts, never moves their mappings and unmaps them when it is
// dropped; a part is given out with write permission only if it is mapped so; and access is by raw
// volatile pointers only, so that no Rust reference to the bytes exists.
unsafe impl StableMemory for Memory {}
