//! loom's types, under std's names.
//!
//! std's own are `Arc` and `Weak` (their counts are taken to be right),
//! `Once`, `OnceLock` and `LazyLock`, which loom does not schedule.

pub(crate) mod arc;
pub mod atomic;
mod condvar;
mod lock;
pub mod mpsc;

pub use condvar::{Condvar, WaitTimeoutResult};
pub use lock::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use std::sync::{
    Arc, LazyLock, LockResult, Once, OnceLock, OnceState, PoisonError, TryLockError, TryLockResult,
    Weak,
};

/// As [`std::sync::Barrier`], over loom's lock.
#[derive(Debug)]
pub struct Barrier {
    state: Mutex<(usize, usize)>,
    opens: Condvar,
    size: usize,
}

/// As [`std::sync::BarrierWaitResult`].
#[derive(Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// As in std.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// As in std, but not `const`.
    #[track_caller]
    pub fn new(n: usize) -> Self {
        Self { state: Mutex::new((0, 0)), opens: Condvar::new(), size: n }
    }

    /// As in std.
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        let mut state = self.state.lock().expect("loom's locks are not poisoned");
        let generation = state.1;
        state.0 += 1;
        if state.0 >= self.size {
            *state = (0, generation + 1);
            self.opens.notify_all();
            return BarrierWaitResult(true);
        }
        while state.1 == generation {
            state = self.opens.wait(state).expect("loom's locks are not poisoned");
        }
        BarrierWaitResult(false)
    }
}
