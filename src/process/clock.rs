//! The monotonic clock, which parent and workers share.

use super::supervisor::Nanos;
use rustix::time::{ClockId, clock_gettime};

pub(crate) fn now() -> Nanos {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
