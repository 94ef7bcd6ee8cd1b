//! loom's threads, under std's names. It has no scoped ones.

pub use ::loom::thread::{Builder, JoinHandle, Thread, ThreadId, current, park, spawn, yield_now};
pub use std::thread::{Result, panicking};

use std::time::Duration;

/// Lets others run: loom's time stands still.
pub fn sleep(_: Duration) {
    yield_now();
}

/// Parks: loom's time stands still, and the time is never up.
pub fn park_timeout(_: Duration) {
    park();
}
