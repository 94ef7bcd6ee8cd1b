//! std's threads, which a model schedules.

#[cfg(loom)]
mod loom;
#[cfg(loom)]
pub use self::loom::*;

#[cfg(not(any(loom, feature = "model")))]
pub use std::thread::*;

#[cfg(all(feature = "model", not(loom)))]
mod local;
#[cfg(all(feature = "model", not(loom)))]
mod modelled;
#[cfg(all(feature = "model", not(loom)))]
mod scope;
#[cfg(all(feature = "model", not(loom)))]
pub(crate) use modelled::{park_for, spin};
#[cfg(all(feature = "model", not(loom)))]
pub use {
    local::{AccessError, LocalKey},
    modelled::{
        Builder, JoinHandle, Thread, ThreadId, available_parallelism, current, panicking, park,
        park_timeout, sleep, spawn, yield_now,
    },
    scope::{Scope, ScopedJoinHandle, scope},
    std::thread::Result,
};
