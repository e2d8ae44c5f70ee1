//! CPU time of this process.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// User and system time of all threads since the process started; zero where the system has no
/// such clock.
pub(crate) fn process_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
