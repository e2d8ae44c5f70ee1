//! The vocabulary and the contract of the block layer.
#![deny(unsafe_code)]

mod aio;
pub mod buffer;
pub mod driver;
pub mod edge;
pub mod error;
pub mod flags;
pub mod graph;
pub mod histogram;
pub mod inflight;
pub mod limits;
pub mod node;
mod observe;
pub mod options;
pub mod registry;
pub mod stats;
pub mod turns;
pub mod view;
pub mod waitlist;
pub mod zone;

pub use aio::Aio;
pub use buffer::{BUFFER_ALIGNMENT, BufferPool, IoBuf, IoBufMut, IoVec, IoVecMut};
pub use driver::{BlockDriver, ZonedDriver};
pub use edge::{Child, ChildNeeds, ChildRole};
pub use error::{Error, ErrorKind, Result};
pub use flags::RequestFlags;
pub use graph::{Graph, Inherited, OpenContext};
pub use histogram::Histogram;
pub use inflight::{InFlight, InFlightGuard};
pub use limits::Limits;
pub use node::Node;
pub use observe::{Call, Request};
pub use options::{ByteSize, ChildSpec, ImageSpec, OnOff, Options, parse_size};
pub use registry::{ContentClaim, DriverFactory, PathClaim, Registry};
pub use stats::{Counter, NodeStats, OpKind, OpStats};
pub use view::NodeView;
pub use waitlist::Waitlist;
pub use zone::{Zone, ZoneCondition, ZoneId, ZoneOp, ZoneType, ZonedLimits, ZonedModel};
