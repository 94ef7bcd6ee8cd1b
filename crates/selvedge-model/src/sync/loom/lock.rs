//! The locks. They are never poisoned: a thread that panics ends the model.

use crate::loom_engine::{Id, Op, Shown, made, op, quiet, released, taken};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::{LockResult, TryLockError, TryLockResult};

const CLEAN: &str = "loom's locks are not poisoned";

/// As [`std::sync::Mutex`].
pub struct Mutex<T: ?Sized> {
    id: Id,
    inner: ::loom::sync::Mutex<T>,
}

/// As [`std::sync::RwLock`].
pub struct RwLock<T: ?Sized> {
    id: Id,
    inner: ::loom::sync::RwLock<T>,
}

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident, $loom:ident) => {
        $(#[$doc])*
        #[must_use = "if unused the lock will immediately unlock"]
        pub struct $name<'a, T: ?Sized> {
            /// `None` once it is given up.
            pub(super) inner: Option<::loom::sync::$loom<'a, T>>,
            pub(super) id: Id,
        }

        impl<T: ?Sized> Deref for $name<'_, T> {
            type Target = T;
            fn deref(&self) -> &T {
                self.inner.as_deref().expect("the guard has its lock")
            }
        }

        impl<T: ?Sized> Drop for $name<'_, T> {
            fn drop(&mut self) {
                if let Some(inner) = self.inner.take() {
                    released(self.id);
                    crate::loom_engine::call(|| drop(inner));
                }
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

guard! {
    /// As [`std::sync::MutexGuard`].
    MutexGuard, MutexGuard
}
guard! {
    /// As [`std::sync::RwLockReadGuard`].
    RwLockReadGuard, RwLockReadGuard
}
guard! {
    /// As [`std::sync::RwLockWriteGuard`].
    RwLockWriteGuard, RwLockWriteGuard
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_deref_mut().expect("the guard has its lock")
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_deref_mut().expect("the guard has its lock")
    }
}

/// Takes a lock by `$method`, which loom never poisons.
macro_rules! takes {
    ($name:ident, $try_name:ident, $guard:ident) => {
        /// As in std.
        ///
        /// # Errors
        ///
        /// Never: loom poisons no lock.
        #[track_caller]
        pub fn $name(&self) -> LockResult<$guard<'_, T>> {
            let at = Location::caller();
            let what = Op::new(stringify!($name), self.id, at);
            let inner = quiet(what, || self.inner.$name().expect(CLEAN));
            taken(self.id, at);
            Ok($guard { inner: Some(inner), id: self.id })
        }

        /// As in std.
        ///
        /// # Errors
        ///
        /// If the lock is taken.
        #[track_caller]
        pub fn $try_name(&self) -> TryLockResult<$guard<'_, T>> {
            let at = Location::caller();
            let what = Op::new(stringify!($try_name), self.id, at);
            let gave =
                |inner: &Option<_>| Shown::Word(if inner.is_some() { "locked" } else { "taken" });
            let inner = op(what, || self.inner.$try_name().ok(), gave);
            let inner = inner.ok_or(TryLockError::WouldBlock)?;
            taken(self.id, at);
            Ok($guard { inner: Some(inner), id: self.id })
        }
    };
}

impl<T: ?Sized> Mutex<T> {
    takes!(lock, try_lock, MutexGuard);

    /// As in std.
    ///
    /// # Errors
    ///
    /// Never: loom poisons no lock.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        Ok(self.inner.get_mut().expect(CLEAN))
    }
}

impl<T: ?Sized> RwLock<T> {
    takes!(read, try_read, RwLockReadGuard);
    takes!(write, try_write, RwLockWriteGuard);

    /// As in std.
    ///
    /// # Errors
    ///
    /// Never: loom poisons no lock.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        Ok(self.inner.get_mut().expect(CLEAN))
    }
}

macro_rules! makes {
    ($name:ident) => {
        impl<T> $name<T> {
            /// As in std, but not `const`.
            #[track_caller]
            pub fn new(value: T) -> Self {
                let id = made(stringify!($name), Location::caller());
                Self { id, inner: ::loom::sync::$name::new(value) }
            }

            /// As in std.
            ///
            /// # Errors
            ///
            /// Never: loom poisons no lock.
            pub fn into_inner(self) -> LockResult<T> {
                Ok(self.inner.into_inner().expect(CLEAN))
            }
        }

        impl<T: Default> Default for $name<T> {
            #[track_caller]
            fn default() -> Self {
                Self::new(T::default())
            }
        }

        impl<T> From<T> for $name<T> {
            #[track_caller]
            fn from(value: T) -> Self {
                Self::new(value)
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.inner.fmt(f)
            }
        }
    };
}

makes!(Mutex);
makes!(RwLock);
