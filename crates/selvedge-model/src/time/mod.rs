//! tokio's time, which passes in a model as [`Time`](crate::Time) says.

#[cfg(not(feature = "model"))]
pub use tokio::time::{
    Instant, Interval, MissedTickBehavior, Sleep, Timeout, error, interval, interval_at, sleep,
    sleep_until, timeout, timeout_at,
};

#[cfg(feature = "model")]
mod instant;
#[cfg(feature = "model")]
mod modelled;
#[cfg(feature = "model")]
pub use {
    instant::Instant,
    modelled::{
        Interval, Sleep, Timeout, error, interval, interval_at, sleep, sleep_until, timeout,
        timeout_at,
    },
    tokio::time::MissedTickBehavior,
};
