//! A virtio-blk device (virtio 1.3, section 5.2), zoned ones included, for every door that moves
//! virtqueues: vhost-user and VDUSE.
//!
//! - [`features`]: what is offered, and which choices of a driver are refused;
//! - [`config`]: the configuration space, byte for byte;
//! - [`Chain`]: a descriptor chain, taken apart and checked;
//! - [`memory`]: guest memory as the owned buffers of the block layer, without a copy;
//! - [`Device`]: answers one request;
//! - [`queue`]: takes requests from a virtqueue, and completes them in batches.
//!
//! # Hostile guests
//! A guest may write anything anywhere at any time. What a request says is read once, checked, and
//! used from then on as read. A request that is wrong in itself is answered with an error status;
//! if there is no place for a status, or the rings themselves make no sense, the queue is dead until
//! the driver resets it, and all others go on. What a queue holds is bounded by its size and by
//! [`Chain::MAX_SEGMENTS`].
#![deny(unsafe_code)]

mod chain;
pub mod config;
mod device;
pub mod features;
mod kick;
pub mod memory;
pub mod queue;
mod request;

pub use chain::{Broken, Chain, Segment, Segments};
pub use device::{Answer, Device};
pub use features::{Negotiated, Refusal};
pub use memory::StableMemory;
