//! The zone state machine of ZBC, ZAC and NVMe ZNS as pure logic: a request in, a new state or a
//! typed refusal out. No I/O, no clock, no async; an emulated device puts its data around it.
//!
//! ```
//! use zone_model::{Geometry, GeometryConfig, ZoneModel};
//!
//! # fn main() -> Result<(), block_core::ErrorKind> {
//! let geometry = Geometry::new(&GeometryConfig {
//!     size: 1 << 30,
//!     zone_size: 16 << 20,
//!     zone_capacity: Some(12 << 20),
//!     conventional: 2,
//!     block_size: 4096,
//!     max_open: 8,
//!     max_active: 16,
//! })?;
//! let mut model = ZoneModel::new(geometry);
//!
//! let append = model.append(32 << 20, 8192)?;
//! assert_eq!(append.position, 32 << 20);
//! let refusal = model.write(32 << 20, 4096).unwrap_err();
//! assert_eq!(
//!     refusal.to_string(),
//!     "zone 2 at 0x2000000 expects its next write at 0x2002000, not at 0x2000000",
//! );
//! # Ok(())
//! # }
//! ```
//!
//! All offsets, lengths and write pointers are in bytes.
//!
//! # Conditions
//!
//! A sequential zone is *empty*, *implicitly open*, *explicitly open*, *closed*, *full*,
//! *read-only* or *offline*; a conventional zone is *not write pointer*, forever. Open and closed
//! zones are *active*.
//!
//! | from | write, append | open | close | finish | reset |
//! |---|---|---|---|---|---|
//! | empty | implicitly open ᵃ ᵒ | explicitly open ᵃ ᵒ | – | full ᵃ ᵒ | – |
//! | implicitly open | – | explicitly open | closed ᵉ | full | empty |
//! | explicitly open | – | – | closed ᵉ | full | empty |
//! | closed | implicitly open ᵒ | explicitly open ᵒ | – | full | empty |
//! | full | `ZoneFull` | `ZoneFull` | – | – | empty |
//! | read-only | `ZoneReadOnly` | `ZoneReadOnly` | `ZoneReadOnly` | `ZoneReadOnly` | `ZoneReadOnly` |
//! | offline | `ZoneOffline` | `ZoneOffline` | `ZoneOffline` | `ZoneOffline` | `ZoneOffline` |
//!
//! – success without a change; ᵃ needs an active resource, else `TooManyActive`; ᵒ needs an open
//! resource, else `TooManyOpen`; ᵉ empty if nothing was written (ZBC).
//! A write that reaches the capacity makes the zone full and gives its resources back. Read-only
//! and offline come from a failing device ([`ZoneModel::set_condition`]), never from a request.
//!
//! # Resources
//!
//! `max_open` limits the open zones, `max_active` the active ones; 0 is no limit. When all open
//! resources are taken, the implicitly open zone whose last write is the longest ago is closed to
//! make room, for a write as well as for an explicit open (ZBC, ZNS). Only when all open zones are
//! explicitly open is the request refused. Active resources are never taken from another zone, and
//! are checked first. A finish of an empty zone passes through open, so it needs both to be
//! possible, and closes nobody. A refusal changes nothing.
//!
//! # Writes in two steps
//!
//! [`start_write`](ZoneModel::start_write) and [`start_append`](ZoneModel::start_append) check
//! everything, take the resources, and say where the data goes;
//! [`complete_write`](ZoneModel::complete_write) moves the write pointer over what has landed. In
//! between, the zone may be closed to make room for another; it then counts as written, keeps its
//! active resource, and takes the data as a closed zone.
//!
//! # Management
//!
//! A request on several zones is done as a whole or not at all. A conventional zone in its range
//! is refused, unless the range is the whole device: then conventional, read-only and offline
//! zones are skipped, whatever the operation. Finish keeps the data that was written; what lies
//! above reads as zeroes.
//!
//! # What survives a restart
//!
//! [`ZoneModel::saved`] gives for each zone the bytes written and whether it is full, read-only or
//! offline; [`ZoneModel::restore`] takes it back. Open zones come back closed.
#![forbid(unsafe_code)]

mod geometry;
mod manage;
mod model;
mod recency;
mod resources;
mod saved;
mod write;

pub use geometry::{Geometry, GeometryConfig, MAX_ZONES, ZoneSpan};
pub use model::ZoneModel;
pub use saved::{SavedCondition, SavedZone};
pub use write::Started;

#[cfg(test)]
mod stories;
