//! Exercise 8: timeouts.

use crate::rt;
use crate::timeout::{self, Elapsed};
use std::time::Duration;

/// Sleeps for `dt`, and returns it.
pub async fn maybe_slow(dt: Duration) -> Duration {
    rt::sleep(dt).await;
    dt
}

/// [`maybe_slow`], for `timeout` at most.
///
/// # Errors
///
/// [`Elapsed`] if it took longer.
pub async fn with_timeout(dt: Duration, timeout: Duration) -> Result<Duration, Elapsed> {
    timeout::with_timeout(maybe_slow(dt), timeout).await
}
