//! Atomics and locks that are no steps of a model, for what is not part of any
//! claim: unique ids, and the clocks of test recorders. Which schedules are
//! equal depends on them all the same: each use says what it touches.

pub use std::sync::OnceLock;
pub use std::sync::atomic::Ordering;

use selvedge_model::kit::Foreign;
use std::sync::{LockResult, MutexGuard};

/// [`std::sync::Mutex`].
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized> {
    foreign: Foreign,
    real: std::sync::Mutex<T>,
}

impl<T> Mutex<T> {
    /// As in std.
    pub const fn new(value: T) -> Self {
        Self { foreign: Foreign::new(), real: std::sync::Mutex::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// As in std.
    ///
    /// # Errors
    ///
    /// As in std.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.foreign.touch();
        self.real.lock()
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// As in std.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.real.get_mut()
    }
}

macro_rules! atomics {
    ($($(#[$attr:meta])* $name:ident($of:ty) { $($call:ident),* })*) => {$(
        $(#[$attr])*
        #[derive(Debug, Default)]
        pub struct $name {
            foreign: Foreign,
            real: std::sync::atomic::$name,
        }

        impl $name {
            /// As in std.
            pub const fn new(value: $of) -> Self {
                Self { foreign: Foreign::new(), real: std::sync::atomic::$name::new(value) }
            }

            /// As in std.
            pub fn load(&self, order: Ordering) -> $of {
                self.foreign.look();
                self.real.load(order)
            }

            /// As in std.
            pub fn store(&self, value: $of, order: Ordering) {
                self.foreign.touch();
                self.real.store(value, order);
            }

            $(
                /// As in std.
                pub fn $call(&self, value: $of, order: Ordering) -> $of {
                    self.foreign.touch();
                    self.real.$call(value, order)
                }
            )*
        }
    )*};
}

atomics! {
    /// [`std::sync::atomic::AtomicBool`].
    AtomicBool(bool) { swap, fetch_or, fetch_and }
    /// [`std::sync::atomic::AtomicU64`].
    AtomicU64(u64) { swap, fetch_add, fetch_sub, fetch_max }
    /// [`std::sync::atomic::AtomicUsize`].
    AtomicUsize(usize) { swap, fetch_add, fetch_sub, fetch_max }
}
