//! loom, by way of the harness, which makes its failures end one test only;
//! mended where it is weaker or rougher than std (see the parent module).

pub use selvedge_model::private::Arc;

use std::ops::{Deref, DerefMut};

const CLEAN: &str = "loom's locks are not poisoned";

/// loom's mutex with std's `nonpoison` shape.
#[derive(Debug, Default)]
pub struct Mutex<T>(selvedge_model::sync::Mutex<T>);

/// The guard of a [`Mutex`].
#[derive(Debug)]
pub struct MutexGuard<'a, T>(selvedge_model::sync::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    /// A new, unlocked mutex.
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self(selvedge_model::sync::Mutex::new(value))
    }

    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0.into_inner().expect(CLEAN)
    }

    /// Waits for the lock.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().expect(CLEAN))
    }

    /// The value, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect(CLEAN)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// loom's condition variable over the [`Mutex`] above.
#[derive(Debug, Default)]
pub struct Condvar(selvedge_model::sync::Condvar);

impl Condvar {
    /// A new condition variable.
    #[track_caller]
    pub fn new() -> Self {
        Self(selvedge_model::sync::Condvar::new())
    }

    /// Releases the lock, waits, takes the lock again.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard(self.0.wait(guard.0).expect(CLEAN))
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

/// The harness's atomics, whose `SeqCst` accesses loom models as such, with the
/// orderings that the tool weakens.
pub mod atomic {
    pub use selvedge_model::sync::atomic::{Ordering, fence};

    use super::weaken::at_this_site;
    use selvedge_model::sync::atomic as model;

    macro_rules! access {
        ($value:ty: $($method:ident($($arg:ident),*) -> $gives:ty;)*) => {$(
            /// As in std.
            #[track_caller]
            pub fn $method(&self, $($arg: $value,)* order: Ordering) -> $gives {
                self.0.$method($($arg,)* at_this_site(order, 0))
            }
        )*};
    }

    macro_rules! integer {
        ($($name:ident $value:ty: $($more:ident)*;)*) => {$(
            /// The harness's atomic.
            #[derive(Debug, Default)]
            pub struct $name(model::$name);

            impl $name {
                /// A new atomic.
                #[track_caller]
                pub fn new(value: $value) -> Self {
                    Self(model::$name::new(value))
                }

                access! { $value: load() -> $value; store(value) -> (); swap(value) -> $value;
                    $($more(value) -> $value;)* }

                /// As in std.
                #[track_caller]
                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    let (success, failure) = (at_this_site(success, 0), at_this_site(failure, 1));
                    self.0.compare_exchange(current, new, success, failure)
                }

                /// As in std.
                #[track_caller]
                pub fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    let (success, failure) = (at_this_site(success, 0), at_this_site(failure, 1));
                    self.0.compare_exchange_weak(current, new, success, failure)
                }
            }
        )*};
    }

    integer! {
        AtomicU64 u64: fetch_add fetch_sub fetch_or fetch_and;
        AtomicUsize usize: fetch_add fetch_sub fetch_or fetch_and;
        AtomicU32 u32: fetch_add fetch_sub fetch_or fetch_and;
        AtomicBool bool: ;
    }

    /// The harness's atomic pointer.
    #[derive(Debug)]
    pub struct AtomicPtr<T>(model::AtomicPtr<T>);

    impl<T> AtomicPtr<T> {
        /// A new atomic.
        #[track_caller]
        pub fn new(pointer: *mut T) -> Self {
            Self(model::AtomicPtr::new(pointer))
        }

        access! { *mut T: load() -> *mut T; store(pointer) -> (); }
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
    use super::atomic::Ordering;
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
    pub use selvedge_model::thread::{
        Builder, JoinHandle, Thread, current, park, spawn, yield_now,
    };

    use super::super::{Parked, time};
    use std::num::NonZeroUsize;
    use std::time::Instant;

    /// Parks. A deadline in the past times out, any other never does.
    #[track_caller]
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
    pub use selvedge_model::private::UnsafeCell;
}

/// Running one future on the current thread.
pub mod future {
    pub use selvedge_model::private::block_on;
}

/// Spinning.
pub mod hint {
    pub use super::super::no_spin::{Backoff, Spin};
}

/// `loom::thread_local!`.
macro_rules! local_key {
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr) => {
        ::selvedge_model::thread_local! { $(#[$attr])* $vis static $name: $t = $init }
    };
}
pub(crate) use local_key;

/// A constructor, not `const`: loom registers what it makes.
macro_rules! const_new {
    ($(#[$attr:meta])* $vis:vis fn $name:ident($($arg:ident: $t:ty),*) -> Self $body:block) => {
        $(#[$attr])* #[track_caller] $vis fn $name($($arg: $t),*) -> Self $body
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
