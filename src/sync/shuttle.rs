//! shuttle, with a deadline that may pass at any scheduling point.

pub use ::shuttle::sync::{Arc, atomic};

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

/// shuttle's mutex with std's `nonpoison` shape.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(::shuttle::sync::Mutex<T>);

/// The guard of a [`Mutex`].
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized>(::shuttle::sync::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    /// A new, unlocked mutex.
    pub const fn new(value: T) -> Self {
        Self(::shuttle::sync::Mutex::new(value))
    }

    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
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

/// shuttle's condition variable over the [`Mutex`] above.
#[derive(Debug, Default)]
pub struct Condvar(::shuttle::sync::Condvar);

impl Condvar {
    /// A new condition variable.
    pub const fn new() -> Self {
        Self(::shuttle::sync::Condvar::new())
    }

    /// Releases the lock, waits, takes the lock again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard(self.0.wait(guard.0).unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes one waiter, if there is one.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes every waiter.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Threads.
pub mod thread {
    pub use ::shuttle::thread::{Builder, JoinHandle, spawn, yield_now};

    use super::super::{Parked, time};
    use ::shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    ::shuttle::thread_local! {
        static PARKER: Thread = Thread(Arc::new(BatchSemaphore::new(0, Fairness::Unfair)));
    }

    /// A handle that can wake a parked thread.
    #[derive(Clone, Debug)]
    pub struct Thread(Arc<BatchSemaphore>);

    impl Thread {
        /// Makes the thread's token available. Two wake-ups at the same time
        /// may leave two tokens: the second is a wake-up for no reason.
        pub fn unpark(&self) {
            if self.0.available_permits() == 0 {
                self.0.release(1);
            }
        }
    }

    /// The handle of the running thread.
    pub fn current() -> Thread {
        PARKER.with(Clone::clone)
    }

    /// Waits for the token. shuttle's own `park` may wake for no reason at any
    /// step and any number of times: a loop around it has endless schedules.
    pub fn park() {
        current().0.acquire_blocking(1).expect("it is never closed");
    }

    /// Parks until unparked or until the deadline, which a thread of its own
    /// lets pass whenever the scheduler likes.
    pub fn park_until(deadline: Option<Instant>) -> Parked {
        let Some(deadline) = deadline else {
            park();
            return Parked::Woken;
        };
        if deadline <= time::now() {
            return Parked::TimedOut;
        }
        // Whoever comes first settles it: a clock that comes late leaves no
        // token behind for the next wait.
        let settled = Arc::new(AtomicBool::new(false));
        spawn({
            let (settled, parked) = (Arc::clone(&settled), current());
            move || {
                if !settled.swap(true, Ordering::Relaxed) {
                    parked.unpark();
                }
            }
        });
        park();
        if settled.swap(true, Ordering::Relaxed) { Parked::TimedOut } else { Parked::Woken }
    }

    /// Two.
    pub fn available_parallelism() -> std::io::Result<NonZeroUsize> {
        Ok(const { NonZeroUsize::new(2).unwrap() })
    }
}

/// Shared mutable cells; shuttle schedules at locks and atomics only.
pub mod cell {
    /// A [`std::cell::UnsafeCell`] with loom's shape.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// A new cell.
        pub const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Reads through a shared pointer, valid during the call.
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Writes through an exclusive pointer, valid during the call.
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }

        /// The value itself.
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }
}

/// Running one future on the current thread.
pub mod future {
    pub use ::shuttle::future::block_on;
}

/// Spinning.
pub mod hint {
    pub use super::super::no_spin::{Backoff, Spin};
}

/// `shuttle::thread_local!`.
macro_rules! local_key {
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr) => {
        ::shuttle::thread_local! { $(#[$attr])* $vis static $name: $t = $init }
    };
}
pub(crate) use local_key;

/// A `const` constructor.
macro_rules! const_new {
    ($(#[$attr:meta])* $vis:vis fn $name:ident($($arg:ident: $t:ty),*) -> Self $body:block) => {
        $(#[$attr])* $vis const fn $name($($arg: $t),*) -> Self $body
    };
}
pub(crate) use const_new;
