//! Time by this machine's clock alone, which goes on while it sleeps.

use crate::ledger::Nanos;
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine was started, its sleep included: a lease goes
/// on while a laptop is shut.
pub(crate) fn now() -> Nanos {
    let now = clock_gettime(ClockId::Boottime);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// As nanoseconds.
pub(crate) fn nanos(duration: std::time::Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
