//! std's synchronization primitives, which a model sees.
//!
//! | build | what these are |
//! |---|---|
//! | feature `model` off | std's own |
//! | feature `model` on | std's outside of a model, modelled inside |
//! | `--cfg loom` | loom's |
//!
//! Inside of a model every operation is one step, and all memory is
//! sequentially consistent: what an ordering that is too weak would do, only
//! loom shows.

#[cfg(loom)]
mod loom;
#[cfg(loom)]
pub use self::loom::*;

#[cfg(not(any(loom, feature = "model")))]
pub use std::sync::{
    Arc, Barrier, BarrierWaitResult, Condvar, LazyLock, LockResult, Mutex, MutexGuard, Once,
    OnceLock, OnceState, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
    TryLockResult, WaitTimeoutResult, Weak, atomic, mpsc,
};

#[cfg(all(feature = "model", not(loom)))]
pub mod atomic;
#[cfg(all(feature = "model", not(loom)))]
mod barrier;
#[cfg(all(feature = "model", not(loom)))]
mod condvar;
#[cfg(all(feature = "model", not(loom)))]
pub mod mpsc;
#[cfg(all(feature = "model", not(loom)))]
mod mutex;
#[cfg(all(feature = "model", not(loom)))]
mod once;
#[cfg(all(feature = "model", not(loom)))]
mod rwlock;

#[cfg(all(feature = "model", not(loom)))]
pub use {
    barrier::{Barrier, BarrierWaitResult},
    condvar::{Condvar, WaitTimeoutResult},
    mutex::{Mutex, MutexGuard},
    once::{LazyLock, Once, OnceLock, OnceState},
    rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak},
};

/// The model gave a lock that somebody outside of it has.
#[cfg(all(feature = "model", not(loom)))]
fn locked_outside(kind: &str, made: crate::engine::Place) -> ! {
    panic!(
        "the {kind} made at {}:{} is locked outside of the model: make it inside of the body, or \
         use std's own for what collects over executions",
        made.file(),
        made.line()
    )
}
