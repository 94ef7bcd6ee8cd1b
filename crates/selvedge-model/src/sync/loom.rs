//! loom's types, under std's names.
//!
//! std's own are `Arc` and `Weak` (their counts are taken to be right),
//! `Once`, `OnceLock` and `LazyLock`, which loom does not schedule.

pub mod mpsc;

pub use ::loom::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult,
};
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
    pub fn new(n: usize) -> Self {
        Self { state: Mutex::new((0, 0)), opens: Condvar::new(), size: n }
    }

    /// As in std.
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

/// loom's atomics. An access that is `SeqCst` stands between two `SeqCst`
/// fences, since loom takes it for `AcqRel`: that is at least as strong.
pub mod atomic {
    pub use ::loom::sync::atomic::{AtomicPtr, Ordering, fence};

    fn bracket<R>(order: Ordering, access: impl FnOnce() -> R) -> R {
        if order != Ordering::SeqCst {
            return access();
        }
        fence(Ordering::SeqCst);
        let result = access();
        fence(Ordering::SeqCst);
        result
    }

    macro_rules! atomics {
        ($($name:ident $value:ty: $($method:ident)*;)*) => {$(
            /// loom's atomic, with std's `SeqCst`.
            #[derive(Debug, Default)]
            pub struct $name(::loom::sync::atomic::$name);

            impl $name {
                /// As in std, but not `const`.
                #[track_caller]
                pub fn new(value: $value) -> Self {
                    Self(::loom::sync::atomic::$name::new(value))
                }

                /// As in std.
                #[track_caller]
                pub fn into_inner(self) -> $value {
                    self.0.into_inner()
                }

                /// As in std.
                #[track_caller]
                pub fn load(&self, order: Ordering) -> $value {
                    bracket(order, || self.0.load(order))
                }

                /// As in std.
                #[track_caller]
                pub fn store(&self, value: $value, order: Ordering) {
                    bracket(order, || self.0.store(value, order));
                }

                /// As in std.
                ///
                /// # Errors
                ///
                /// The value that was there, if it was another.
                #[track_caller]
                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    bracket(success, || self.0.compare_exchange(current, new, success, failure))
                }

                /// As in std.
                ///
                /// # Errors
                ///
                /// The value that was there, if it was another.
                #[track_caller]
                pub fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.compare_exchange(current, new, success, failure)
                }

                /// As in std.
                ///
                /// # Errors
                ///
                /// The value that `f` wanted nothing for.
                #[track_caller]
                pub fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    mut f: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    let mut now = self.load(fetch);
                    while let Some(next) = f(now) {
                        match self.compare_exchange_weak(now, next, set, fetch) {
                            Ok(before) => return Ok(before),
                            Err(other) => now = other,
                        }
                    }
                    Err(now)
                }

                $(
                    /// As in std.
                    #[track_caller]
                    pub fn $method(&self, value: $value, order: Ordering) -> $value {
                        bracket(order, || self.0.$method(value, order))
                    }
                )*
            }

            impl From<$value> for $name {
                #[track_caller]
                fn from(value: $value) -> Self {
                    Self::new(value)
                }
            }
        )*};
    }

    atomics! {
        AtomicBool bool: swap fetch_and fetch_nand fetch_or fetch_xor;
        AtomicU8 u8: swap fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
        AtomicU16 u16: swap fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
        AtomicU32 u32: swap fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
        AtomicU64 u64: swap fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
        AtomicUsize usize: swap fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
        AtomicI8 i8: swap fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
        AtomicI16 i16: swap fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
        AtomicI32 i32: swap fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
        AtomicI64 i64: swap fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
        AtomicIsize isize: swap fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
    }
}
