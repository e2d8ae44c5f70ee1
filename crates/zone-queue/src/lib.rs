//! A queue per zone, for every driver whose zones are written by position.
//!
//! A sequential zone takes writes at its write pointer only, so writes to one zone must go one
//! after the other. The queue makes that fast and safe:
//!
//! - **Group commit.** Writes and appends that arrive while one is in flight wait, and then go out
//!   together as one vectored write. Zones do not know of each other and go in parallel.
//! - **Order.** Requests of one zone take effect in the order in which they were first polled.
//!   Each append's position is known when its data has landed. A plain write names its position,
//!   and is checked against where the zone will stand when its turn comes.
//! - **Management** waits for what came before it and holds back what comes after
//!   ([`Sequencer::exclusive`]).
//! - **Cancellation.** A request whose future is dropped before its turn leaves no trace. From its
//!   turn on it belongs to the zone's own task, which nobody can drop: it lands, the pointer is
//!   right, and the others go on.
//! - **Errors.** A merged write that fails is tried again request by request, so exactly those
//!   fail whose data did not land.
//! - **Bounds.** A request takes its place in line when it is first polled, and needs no poll to
//!   get its turn: a caller that is slow to poll holds nobody up. What waits is bounded by its
//!   callers: a request whose caller goes away is taken out of the queue, with its memory, at
//!   once. Requests that line up behind a full queue are counted ([`QueueStats::waits`]).
//!
//! What a write does, and where a zone's pointer stands, is the business of a [`ZoneTarget`]: an
//! emulated zone or a real one.
#![forbid(unsafe_code)]

mod entry;
mod exclusive;
mod queue;
mod runner;
mod sequencer;
mod stats;

pub use entry::Payload;
pub use exclusive::{ExclusiveZone, Ticket};
pub use sequencer::{Aftermath, QueueLimits, Sequencer, ZoneTarget};
pub use stats::QueueStats;
