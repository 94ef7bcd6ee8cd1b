//! loom, mended where it is weaker or rougher than std (see the parent module).

pub use ::loom::sync::Arc;

use std::ops::{Deref, DerefMut};

/// loom's mutex with std's `nonpoison` shape.
#[derive(Debug)]
pub struct Mutex<T: ?Sized>(::loom::sync::Mutex<T>);

/// The guard of a [`Mutex`].
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized>(::loom::sync::MutexGuard<'a, T>);

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Mutex<T> {
    /// A new, unlocked mutex.
    pub fn new(value: T) -> Self {
        Self(::loom::sync::Mutex::new(value))
    }

    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0.into_inner().expect("loom's mutex is never poisoned")
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().expect("loom's mutex is never poisoned"))
    }

    /// The value, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("loom's mutex is never poisoned")
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

/// loom's condition variable over the [`Mutex`] above.
#[derive(Debug, Default)]
pub struct Condvar(::loom::sync::Condvar);

impl Condvar {
    /// A new condition variable.
    pub fn new() -> Self {
        Self(::loom::sync::Condvar::new())
    }

    /// Releases the lock, waits, takes the lock again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard(self.0.wait(guard.0).expect("loom's mutex is never poisoned"))
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

/// Atomics whose `SeqCst` accesses loom models as such.
pub mod atomic {
    pub use ::loom::sync::atomic::{Ordering, fence};

    use super::weaken::at_this_site;

    /// Runs `access`, between two fences when it is `SeqCst`.
    fn bracket<R>(order: Ordering, access: impl FnOnce() -> R) -> R {
        if order != Ordering::SeqCst {
            return access();
        }
        fence(Ordering::SeqCst);
        let result = access();
        fence(Ordering::SeqCst);
        result
    }

    macro_rules! integer {
        ($name:ident, $int:ty) => {
            /// loom's atomic with its `SeqCst` accesses between fences.
            #[derive(Debug, Default)]
            pub struct $name(::loom::sync::atomic::$name);

            impl $name {
                /// A new atomic.
                pub fn new(value: $int) -> Self {
                    Self(::loom::sync::atomic::$name::new(value))
                }
                /// As in std.
                #[track_caller]
                pub fn load(&self, order: Ordering) -> $int {
                    let order = at_this_site(order, 0);
                    bracket(order, || self.0.load(order))
                }
                /// As in std.
                #[track_caller]
                pub fn store(&self, value: $int, order: Ordering) {
                    let order = at_this_site(order, 0);
                    bracket(order, || self.0.store(value, order))
                }
                /// As in std.
                #[track_caller]
                pub fn swap(&self, value: $int, order: Ordering) -> $int {
                    let order = at_this_site(order, 0);
                    bracket(order, || self.0.swap(value, order))
                }
                /// As in std.
                #[track_caller]
                pub fn compare_exchange(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    let (success, failure) = (at_this_site(success, 0), at_this_site(failure, 1));
                    bracket(success, || self.0.compare_exchange(current, new, success, failure))
                }
                /// As in std.
                #[track_caller]
                pub fn compare_exchange_weak(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    let (success, failure) = (at_this_site(success, 0), at_this_site(failure, 1));
                    bracket(success, || {
                        self.0.compare_exchange_weak(current, new, success, failure)
                    })
                }
            }
        };
    }

    macro_rules! arithmetic {
        ($name:ident, $int:ty) => {
            impl $name {
                /// As in std.
                #[track_caller]
                pub fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                    let order = at_this_site(order, 0);
                    bracket(order, || self.0.fetch_add(value, order))
                }
                /// As in std.
                #[track_caller]
                pub fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                    let order = at_this_site(order, 0);
                    bracket(order, || self.0.fetch_sub(value, order))
                }
                /// As in std.
                #[track_caller]
                pub fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                    let order = at_this_site(order, 0);
                    bracket(order, || self.0.fetch_or(value, order))
                }
                /// As in std.
                #[track_caller]
                pub fn fetch_and(&self, value: $int, order: Ordering) -> $int {
                    let order = at_this_site(order, 0);
                    bracket(order, || self.0.fetch_and(value, order))
                }
            }
        };
    }

    integer!(AtomicU64, u64);
    integer!(AtomicUsize, usize);
    integer!(AtomicU32, u32);
    integer!(AtomicBool, bool);
    arithmetic!(AtomicU64, u64);
    arithmetic!(AtomicUsize, usize);
    arithmetic!(AtomicU32, u32);

    /// loom's atomic pointer.
    #[derive(Debug)]
    pub struct AtomicPtr<T>(::loom::sync::atomic::AtomicPtr<T>);

    impl<T> AtomicPtr<T> {
        /// A new atomic.
        pub fn new(pointer: *mut T) -> Self {
            Self(::loom::sync::atomic::AtomicPtr::new(pointer))
        }
        /// As in std.
        #[track_caller]
        pub fn load(&self, order: Ordering) -> *mut T {
            let order = at_this_site(order, 0);
            bracket(order, || self.0.load(order))
        }
        /// As in std.
        #[track_caller]
        pub fn store(&self, pointer: *mut T, order: Ordering) {
            let order = at_this_site(order, 0);
            bracket(order, || self.0.store(pointer, order));
        }
    }
}

/// One ordering in the source made weaker, for the tool that shows that some
/// model notices (`cargo run -p loom-tests --bin weakened`).
///
/// `SELVEDGE_WEAKEN=FILE:LINE:COLUMN:ARGUMENT:ORDERING` names the access by the
/// place of its method's name, which of its orderings, and what it becomes.
/// The first access that is weakened creates the file that
/// `SELVEDGE_WEAKEN_REACHED` names.
mod weaken {
    use ::loom::sync::atomic::Ordering;
    use std::panic::Location;
    use std::sync::OnceLock;

    #[derive(Debug)]
    struct Target {
        file: String,
        line: u32,
        column: u32,
        argument: usize,
        order: Ordering,
    }

    impl Target {
        fn parse(text: &str) -> Option<Self> {
            let mut parts = text.rsplitn(5, ':');
            let order = match parts.next()? {
                "Relaxed" => Ordering::Relaxed,
                "Acquire" => Ordering::Acquire,
                "Release" => Ordering::Release,
                "AcqRel" => Ordering::AcqRel,
                _ => return None,
            };
            Some(Self {
                order,
                argument: parts.next()?.parse().ok()?,
                column: parts.next()?.parse().ok()?,
                line: parts.next()?.parse().ok()?,
                file: parts.next()?.to_owned(),
            })
        }

        fn is_at(&self, place: &Location<'_>) -> bool {
            (place.line(), place.column()) == (self.line, self.column)
                && place.file().ends_with(&self.file)
        }
    }

    /// The ordering that the caller asks for, or what it is weakened to.
    #[track_caller]
    pub(super) fn at_this_site(order: Ordering, argument: usize) -> Ordering {
        static TARGET: OnceLock<Option<Target>> = OnceLock::new();
        let target = TARGET.get_or_init(|| {
            let text = std::env::var("SELVEDGE_WEAKEN").ok()?;
            Some(Target::parse(&text).unwrap_or_else(|| panic!("SELVEDGE_WEAKEN={text}")))
        });
        match target {
            Some(target) if target.argument == argument && target.is_at(Location::caller()) => {
                reached();
                target.order
            }
            _ => order,
        }
    }

    fn reached() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            if let Some(path) = std::env::var_os("SELVEDGE_WEAKEN_REACHED") {
                std::fs::write(path, "").expect("SELVEDGE_WEAKEN_REACHED can be written");
            }
        });
    }
}

/// Threads.
pub mod thread {
    pub use ::loom::thread::{Builder, JoinHandle, spawn, yield_now};

    use super::super::{Parked, time};
    use ::loom::sync::{Arc, Notify};
    use std::num::NonZeroUsize;
    use std::time::Instant;

    ::loom::thread_local! {
        static PARKER: Thread = Thread(Arc::new(Notify::new()));
    }

    /// A handle that can wake a parked thread.
    #[derive(Clone, Debug)]
    pub struct Thread(Arc<Notify>);

    impl Thread {
        /// Makes the thread's token available.
        pub fn unpark(&self) {
            self.0.notify();
        }
    }

    /// The handle of the running thread.
    pub fn current() -> Thread {
        PARKER.with(Clone::clone)
    }

    /// Waits for the token. loom tries a wake-up for no reason as well.
    pub fn park() {
        current().0.wait();
    }

    /// Parks. A deadline in the past times out, any other never does.
    pub fn park_until(deadline: Option<Instant>) -> Parked {
        match deadline {
            Some(at) if at <= time::now() => Parked::TimedOut,
            _ => {
                park();
                Parked::Woken
            }
        }
    }

    /// Two: a model has at most four actors.
    pub fn available_parallelism() -> std::io::Result<NonZeroUsize> {
        Ok(const { NonZeroUsize::new(2).unwrap() })
    }
}

/// Shared mutable cells.
pub mod cell {
    pub use ::loom::cell::UnsafeCell;
}

/// Running one future on the current thread.
pub mod future {
    pub use ::loom::future::block_on;
}

/// Spinning.
pub mod hint {
    pub use super::super::no_spin::{Backoff, Spin};
}

/// `loom::thread_local!`.
macro_rules! local_key {
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr) => {
        ::loom::thread_local! { $(#[$attr])* $vis static $name: $t = $init }
    };
}
pub(crate) use local_key;

/// A constructor, not `const`: loom registers what it makes.
macro_rules! const_new {
    ($(#[$attr:meta])* $vis:vis fn $name:ident($($arg:ident: $t:ty),*) -> Self $body:block) => {
        $(#[$attr])* $vis fn $name($($arg: $t),*) -> Self $body
    };
}
pub(crate) use const_new;
