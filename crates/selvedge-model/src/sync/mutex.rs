//! The mutex: it keeps the data in std's; inside of a model the shadow says who
//! may have it, so that std's is never waited for.

use crate::engine::object::Data;
use crate::engine::{self, Access, Id, Key, Place, Wait};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

/// As [`std::sync::Mutex`].
pub struct Mutex<T: ?Sized> {
    id: Id,
    real: std::sync::Mutex<T>,
}

/// As [`std::sync::MutexGuard`].
#[must_use = "if unused the Mutex will immediately unlock"]
pub struct MutexGuard<'a, T: ?Sized> {
    real: Option<std::sync::MutexGuard<'a, T>>,
    lock: &'a Mutex<T>,
    /// The shadow, if the model gave the lock.
    pub(super) shadow: Option<usize>,
    taken: Place,
}

impl<T> Mutex<T> {
    /// As in std.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { id: Id::new(), real: std::sync::Mutex::new(value) }
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If a thread panicked while it had the lock.
    pub fn into_inner(self) -> LockResult<T> {
        self.real.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    pub(super) fn shadow(&self) -> usize {
        self.id.index("Mutex", || Data::Lock { writer: None, readers: Vec::new() })
    }

    /// Takes std's lock, which the shadow says is free.
    fn take<'a>(&'a self, shadow: usize, taken: Place) -> LockResult<MutexGuard<'a, T>> {
        let guard = |real| MutexGuard { real: Some(real), lock: self, shadow: Some(shadow), taken };
        let me = engine::me();
        engine::takes(shadow);
        engine::holds(shadow);
        // Who takes it, looks and gives it up in one step leaves no trace.
        engine::shared(shadow, |data| {
            if let Data::Lock { writer, .. } = data {
                *writer = Some((me, taken));
            }
        });
        if !engine::closed() {
            engine::touched(Key::Object(shadow), Access::Write);
        }
        match self.real.try_lock() {
            Ok(real) => Ok(guard(real)),
            Err(TryLockError::Poisoned(poison)) => {
                Err(PoisonError::new(guard(poison.into_inner())))
            }
            Err(TryLockError::WouldBlock) => super::locked_outside("Mutex", self.id.made()),
        }
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If a thread panicked while it had the lock.
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let at = Location::caller();
        if !engine::inside() {
            return self.outside(self.real.lock(), at);
        }
        let shadow = self.shadow();
        engine::step("lock", Some(shadow), Wait::Write(shadow), None, at);
        engine::done(at, Some(shadow), || "lock()".to_owned());
        self.take(shadow, at)
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If the lock is taken, or a thread panicked while it had it.
    #[track_caller]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        let at = Location::caller();
        if !engine::inside() {
            return match self.real.try_lock() {
                Ok(guard) => self.outside(Ok(guard), at).map_err(TryLockError::Poisoned),
                Err(TryLockError::Poisoned(poison)) => {
                    self.outside(Err(poison), at).map_err(TryLockError::Poisoned)
                }
                Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            };
        }
        let shadow = self.shadow();
        engine::tries();
        engine::touch("try_lock", shadow, at);
        let free = engine::shared(shadow, |data| matches!(data, Data::Lock { writer: None, .. }));
        engine::done(at, Some(shadow), || {
            format!("try_lock() -> {}", if free { "locked" } else { "taken" })
        });
        if !free {
            return Err(TryLockError::WouldBlock);
        }
        self.take(shadow, at).map_err(TryLockError::Poisoned)
    }

    fn outside<'a>(
        &'a self,
        result: LockResult<std::sync::MutexGuard<'a, T>>,
        taken: Place,
    ) -> LockResult<MutexGuard<'a, T>> {
        let guard = |real| MutexGuard { real: Some(real), lock: self, shadow: None, taken };
        result.map(guard).map_err(|poison| PoisonError::new(guard(poison.into_inner())))
    }

    /// As in std.
    pub fn is_poisoned(&self) -> bool {
        if engine::inside() {
            engine::touched(Key::Object(self.shadow()), Access::Read);
        }
        self.real.is_poisoned()
    }

    /// As in std.
    pub fn clear_poison(&self) {
        if engine::inside() {
            engine::touched(Key::Object(self.shadow()), Access::Write);
        }
        self.real.clear_poison();
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If a thread panicked while it had the lock.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.real.get_mut()
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Gives the lock up, for a condition variable: what it takes to take it
    /// again.
    pub(super) fn open(mut self) -> (&'a Mutex<T>, Option<usize>) {
        let (lock, shadow) = (self.lock, self.shadow.take());
        self.real = None;
        release(shadow);
        (lock, shadow)
    }

    /// std's guard, for std's condition variable.
    pub(super) fn into_real(mut self) -> (std::sync::MutexGuard<'a, T>, &'a Mutex<T>) {
        (self.real.take().expect("a guard has the lock"), self.lock)
    }

    pub(super) fn from_real(
        result: LockResult<std::sync::MutexGuard<'a, T>>,
        lock: &'a Mutex<T>,
        at: Place,
    ) -> LockResult<Self> {
        lock.outside(result, at)
    }

    /// Takes the lock again, after a condition variable chose the thread.
    pub(super) fn retake(lock: &'a Mutex<T>, shadow: usize, at: Place) -> LockResult<Self> {
        lock.take(shadow, at)
    }
}

fn release(shadow: Option<usize>) {
    if let Some(shadow) = shadow.filter(|_| engine::inside()) {
        if engine::gives_up(shadow) {
            // It was held for a while, or is poisoned.
            engine::touched(Key::Object(shadow), Access::Write);
        }
        engine::shared(shadow, |data| {
            if let Data::Lock { writer, .. } = data {
                *writer = None;
            }
        });
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        let Some(shadow) = self.shadow.filter(|_| engine::inside()) else {
            return;
        };
        // The lock is given up in one piece with what went before: a step here
        // would show nothing that one before the next operation does not,
        // except to those who try.
        if engine::unlocks_are_steps() {
            engine::touch("unlock", shadow, self.taken);
        }
        self.real = None;
        engine::done(self.taken, Some(shadow), || "unlock".to_owned());
        release(Some(shadow));
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.real.as_ref().expect("a guard has the lock")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        if let Some(shadow) = self.shadow {
            engine::touched(Key::Object(shadow), Access::Write);
        }
        self.real.as_mut().expect("a guard has the lock")
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.real.fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
