//! Production: std itself, with the locks' poisoning taken off.

pub use super::plain::{cell, future};
pub use std::sync::{Arc, atomic};

use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

/// [`std::sync::Mutex`] without poisoning.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(std::sync::Mutex<T>);

/// The guard of a [`Mutex`].
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized>(std::sync::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    /// A new, unlocked mutex.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock: spins and yields for a while, then parks. The
    /// critical sections of this library are short, and a futex wake costs
    /// a hundred times one of them.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.try_lock() {
            Ok(guard) => MutexGuard(guard),
            Err(TryLockError::Poisoned(guard)) => MutexGuard(guard.into_inner()),
            Err(TryLockError::WouldBlock) => self.lock_contended(),
        }
    }

    #[cold]
    fn lock_contended(&self) -> MutexGuard<'_, T> {
        let backoff = hint::Backoff::new();
        while !backoff.is_completed() {
            backoff.snooze();
            match self.0.try_lock() {
                Ok(guard) => return MutexGuard(guard),
                Err(TryLockError::Poisoned(guard)) => return MutexGuard(guard.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The value, without locking: the borrow proves that nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// [`std::sync::Condvar`] over the [`Mutex`] above.
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// A new condition variable.
    pub const fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    /// Releases the lock, waits, takes the lock again. May wake for no reason.
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
    pub use std::thread::{
        Builder, JoinHandle, Thread, available_parallelism, current, park, spawn, yield_now,
    };

    use super::super::Parked;
    use std::time::Instant;

    /// Parks until unparked or until `deadline` (`None`: no deadline). May
    /// wake for no reason. A deadline that has passed does not park.
    pub fn park_until(deadline: Option<Instant>) -> Parked {
        let Some(deadline) = deadline else {
            park();
            return Parked::Woken;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Parked::TimedOut;
        }
        std::thread::park_timeout(left.min(super::LONGEST_PARK));
        Parked::Woken
    }
}

/// Some platforms turn very long timeouts into errors; a shorter sleep is one
/// more spurious wake-up, which every caller allows for.
const LONGEST_PARK: Duration = Duration::from_secs(3_600);

/// Spinning.
pub mod hint {
    pub use crossbeam_utils::Backoff;

    /// How long a thread polls before it parks: closely at first, since the
    /// other end is often a cache miss away, then giving its core to others,
    /// who may be what it waits for. A few microseconds in all, a tenth of
    /// what parking and being woken costs.
    #[derive(Debug, Default)]
    pub struct Spin(u32);

    impl Spin {
        const CLOSE: u32 = 48;
        const YIELDING: u32 = 8;

        /// From the start.
        pub fn new() -> Self {
            Self(0)
        }

        /// Waits a little; `false` when it is time to park.
        #[inline]
        pub fn again(&mut self) -> bool {
            self.0 += 1;
            if self.0 <= Self::CLOSE {
                std::hint::spin_loop();
            } else if self.0 <= Self::CLOSE + Self::YIELDING {
                std::thread::yield_now();
            } else {
                return false;
            }
            true
        }
    }
}

/// `std::thread_local!` with a constant initial value.
macro_rules! local_key {
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr) => {
        ::std::thread_local! { $(#[$attr])* $vis static $name: $t = const { $init } }
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

/// See the harness's.
#[derive(Debug)]
pub struct Whole;

/// An operation of `block` begins: one step of a model that trusts it.
#[inline(always)]
pub fn whole(_block: &'static str) -> Whole {
    Whole
}
