//! The readers-writer lock, as the mutex.

use crate::engine::object::Data;
use crate::engine::{self, Access, Id, Key, Place, Wait};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

/// As [`std::sync::RwLock`]. Inside of a model, neither side goes first; but who
/// reads already does not read once more while somebody waits to write, which
/// deadlocks with std's lock on many systems.
pub struct RwLock<T: ?Sized> {
    id: Id,
    real: std::sync::RwLock<T>,
}

/// As [`std::sync::RwLockReadGuard`].
#[must_use = "if unused the RwLock will immediately unlock"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    real: Option<std::sync::RwLockReadGuard<'a, T>>,
    held: Held,
}

/// As [`std::sync::RwLockWriteGuard`].
#[must_use = "if unused the RwLock will immediately unlock"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    real: Option<std::sync::RwLockWriteGuard<'a, T>>,
    held: Held,
}

/// Who has the shadow, if it is the model's.
struct Held {
    shadow: Option<usize>,
    task: usize,
    reads: bool,
    taken: Place,
}

impl Held {
    fn outside(taken: Place) -> Self {
        Self { shadow: None, task: 0, reads: false, taken }
    }

    /// Before std's guard is dropped.
    fn leave(&self) {
        if let Some(shadow) = self.shadow.filter(|_| engine::inside())
            && engine::unlocks_are_steps()
        {
            engine::touch("unlock", shadow, self.taken);
        }
    }

    /// After.
    fn left(&self) {
        let Some(shadow) = self.shadow.filter(|_| engine::inside()) else {
            return;
        };
        engine::done(self.taken, Some(shadow), || "unlock".to_owned());
        // Readers cannot tell each other.
        let leave = |data: &mut Data| {
            if let Data::Lock { writer, readers } = data {
                match readers.iter().position(|(task, _)| *task == self.task) {
                    Some(index) => drop(readers.remove(index)),
                    None => *writer = None,
                }
            }
        };
        if self.reads {
            engine::shared(shadow, leave)
        } else {
            engine::object(shadow, leave)
        }
        let _ = engine::gives_up(shadow);
    }
}

impl<T> RwLock<T> {
    /// As in std.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { id: Id::new(), real: std::sync::RwLock::new(value) }
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If a thread panicked while it wrote.
    pub fn into_inner(self) -> LockResult<T> {
        self.real.into_inner()
    }
}

macro_rules! side {
    ($guard:ident, $lock:ident, $try_lock:ident, $wait:ident, $reads:literal, ($($free:tt)*), $take:expr) => {
        /// As in std.
        ///
        /// # Errors
        ///
        /// If a thread panicked while it wrote.
        #[track_caller]
        pub fn $lock(&self) -> LockResult<$guard<'_, T>> {
            let at = Location::caller();
            if !engine::inside() {
                let guard = |real| $guard { real: Some(real), held: Held::outside(at) };
                let taken = self.real.$lock();
                return taken.map(guard).map_err(|p| PoisonError::new(guard(p.into_inner())));
            }
            let shadow = self.shadow();
            engine::step(stringify!($lock), Some(shadow), Wait::$wait(shadow), None, at);
            engine::done(at, Some(shadow), || concat!(stringify!($lock), "()").to_owned());
            let held = self.hold(shadow, $reads, at, $take);
            let guard = |real| $guard { real: Some(real), held };
            match self.real.$try_lock() {
                Ok(real) => Ok(guard(real)),
                Err(TryLockError::Poisoned(p)) => Err(PoisonError::new(guard(p.into_inner()))),
                Err(TryLockError::WouldBlock) => super::locked_outside("RwLock", self.id.made()),
            }
        }

        /// As in std.
        ///
        /// # Errors
        ///
        /// If the lock is taken, or a thread panicked while it wrote.
        #[track_caller]
        pub fn $try_lock(&self) -> TryLockResult<$guard<'_, T>> {
            let at = Location::caller();
            let mut held = Held::outside(at);
            if engine::inside() {
                let shadow = self.shadow();
                engine::tries();
                engine::touch(stringify!($try_lock), shadow, at);
                // A writer can tell whether there are readers, though it changes nothing.
                let free = |data: &mut Data| matches!(data, $($free)*);
                let free = if $reads {
                    engine::shared(shadow, free)
                } else {
                    engine::object(shadow, free)
                };
                engine::done(at, Some(shadow), || {
                    let got = if free { "locked" } else { "taken" };
                    format!(concat!(stringify!($try_lock), "() -> {}"), got)
                });
                if !free {
                    return Err(TryLockError::WouldBlock);
                }
                held = self.hold(shadow, $reads, at, $take);
            }
            let inside = held.shadow.is_some();
            let guard = |real| $guard { real: Some(real), held };
            match self.real.$try_lock() {
                Ok(real) => Ok(guard(real)),
                Err(TryLockError::Poisoned(p)) => {
                    Err(TryLockError::Poisoned(PoisonError::new(guard(p.into_inner()))))
                }
                Err(TryLockError::WouldBlock) if inside => {
                    super::locked_outside("RwLock", self.id.made())
                }
                Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            }
        }
    };
}

impl<T: ?Sized> RwLock<T> {
    fn shadow(&self) -> usize {
        self.id.index("RwLock", || Data::Lock { writer: None, readers: Vec::new() })
    }

    /// Notes who has the lock.
    fn hold(
        &self,
        shadow: usize,
        reads: bool,
        taken: Place,
        take: fn(&mut Data, (usize, Place)),
    ) -> Held {
        let task = engine::me();
        engine::takes(shadow);
        let take = |data: &mut Data| take(data, (task, taken));
        if reads {
            engine::shared(shadow, take)
        } else {
            engine::object(shadow, take)
        }
        Held { shadow: Some(shadow), task, reads, taken }
    }

    side!(
        RwLockReadGuard,
        read,
        try_read,
        Read,
        true,
        (Data::Lock { writer: None, .. }),
        |data, who| {
            if let Data::Lock { readers, .. } = data {
                readers.push(who);
            }
        }
    );
    side!(
        RwLockWriteGuard,
        write,
        try_write,
        Write,
        false,
        (Data::Lock { writer: None, readers } if readers.is_empty()),
        |data, who| {
            if let Data::Lock { writer, .. } = data {
                *writer = Some(who);
            }
        }
    );

    /// As in std.
    pub fn is_poisoned(&self) -> bool {
        if engine::inside() {
            engine::touched(Key::Object(self.shadow()), Access::Read);
        }
        self.real.is_poisoned()
    }

    /// As in std.
    pub fn clear_poison(&self) {
        self.real.clear_poison();
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If a thread panicked while it wrote.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.real.get_mut()
    }
}

macro_rules! guard {
    ($guard:ident) => {
        impl<T: ?Sized> Drop for $guard<'_, T> {
            fn drop(&mut self) {
                self.held.leave();
                self.real = None;
                self.held.left();
            }
        }

        impl<T: ?Sized> Deref for $guard<'_, T> {
            type Target = T;
            fn deref(&self) -> &T {
                self.real.as_ref().expect("a guard has the lock")
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<T: ?Sized + fmt::Display> fmt::Display for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

guard!(RwLockReadGuard);
guard!(RwLockWriteGuard);

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.real.as_mut().expect("a guard has the lock")
    }
}

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.real.fmt(f)
    }
}
