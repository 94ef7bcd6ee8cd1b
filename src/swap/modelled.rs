//! The harness: std's outside of a model, steps of it inside.

// The harness has steps at locks and atomics only.
pub use super::plain::cell;
pub use std::sync::Arc;

pub use selvedge_model::private::whole;
pub use selvedge_model::sync::atomic;

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

/// The harness's mutex with std's `nonpoison` shape.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(selvedge_model::sync::Mutex<T>);

/// The guard of a [`Mutex`].
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized>(selvedge_model::sync::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    /// A new, unlocked mutex.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self(selvedge_model::sync::Mutex::new(value))
    }

    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The value, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// The harness's condition variable over the [`Mutex`] above.
#[derive(Debug, Default)]
pub struct Condvar(selvedge_model::sync::Condvar);

impl Condvar {
    /// A new condition variable.
    #[track_caller]
    pub const fn new() -> Self {
        Self(selvedge_model::sync::Condvar::new())
    }

    /// Releases the lock, waits, takes the lock again.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard(self.0.wait(guard.0).unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes one waiter, if there is one.
    #[track_caller]
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes every waiter.
    #[track_caller]
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Threads.
pub mod thread {
    pub use selvedge_model::thread::{
        Builder, JoinHandle, Thread, available_parallelism, current, park, spawn, yield_now,
    };

    use super::super::{Parked, time};
    use selvedge_model::private;
    use std::time::Instant;

    /// Parks until unparked or until the deadline, which passes whenever the
    /// model's time says.
    #[track_caller]
    pub fn park_until(deadline: Option<Instant>) -> Parked {
        let Some(deadline) = deadline else {
            park();
            return Parked::Woken;
        };
        let left = deadline.saturating_duration_since(time::now());
        if left.is_zero() || private::park_timeout(left) { Parked::TimedOut } else { Parked::Woken }
    }
}

/// Running one future on the current thread.
pub mod future {
    use selvedge_model::private;

    /// Polls `future` to its end on this thread, a task of the model inside of one.
    #[track_caller]
    pub fn block_on<F: Future>(future: F) -> F::Output {
        if private::inside() {
            return private::block_on(future);
        }
        super::super::plain::future::block_on(future)
    }
}

/// Spinning.
pub mod hint {
    pub use super::super::no_spin::{Backoff, Spin};
}

/// `selvedge_model::thread_local!`.
macro_rules! local_key {
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr) => {
        ::selvedge_model::thread_local! { $(#[$attr])* $vis static $name: $t = $init }
    };
}
pub(crate) use local_key;

/// A `const` constructor.
macro_rules! const_new {
    ($(#[$attr:meta])* $vis:vis fn $name:ident($($arg:ident: $t:ty),*) -> Self $body:block) => {
        $(#[$attr])* #[track_caller] $vis const fn $name($($arg: $t),*) -> Self $body
    };
}
pub(crate) use const_new;
