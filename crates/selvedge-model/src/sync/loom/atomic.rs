//! loom's atomics. An access that is `SeqCst` stands between two `SeqCst`
//! fences, since loom takes it for `AcqRel`: that is at least as strong.

use crate::loom_engine::{Id, Op, Place, Shown, made, op, quiet};
use std::fmt;
use std::panic::Location;

pub use ::loom::sync::atomic::Ordering;

/// As in std.
#[track_caller]
pub fn fence(order: Ordering) {
    let what = Op { order: Some(order), ..Op::new("fence", Id::NONE, Location::caller()) };
    quiet(what, || ::loom::sync::atomic::fence(order));
}

fn bracket<R>(order: Ordering, access: impl FnOnce() -> R) -> R {
    if order != Ordering::SeqCst {
        return access();
    }
    ::loom::sync::atomic::fence(Ordering::SeqCst);
    let result = access();
    ::loom::sync::atomic::fence(Ordering::SeqCst);
    result
}

/// A value that an atomic holds.
trait Value: Copy {
    fn shown(self) -> Shown;
}

impl Value for bool {
    fn shown(self) -> Shown {
        Shown::Bool(self)
    }
}

impl<T> Value for *mut T {
    fn shown(self) -> Shown {
        Shown::Pointer(self.addr())
    }
}

macro_rules! values {
    ($($int:ty: $shown:ident $wide:ty;)*) => {$(
        impl Value for $int {
            fn shown(self) -> Shown {
                Shown::$shown(self as $wide)
            }
        }
    )*};
}

values! {
    u8: Unsigned u64; u16: Unsigned u64; u32: Unsigned u64; u64: Unsigned u64; usize: Unsigned u64;
    i8: Signed i64; i16: Signed i64; i32: Signed i64; i64: Signed i64; isize: Signed i64;
}

/// What was there, or that it was something else.
fn swapped<T: Value>(result: &Result<T, T>) -> Shown {
    match result {
        Ok(_) => Shown::Word("done"),
        Err(other) => other.shown(),
    }
}

fn access<T: Value, R>(
    (name, id, at): (&'static str, Id, Place),
    args: [Option<T>; 2],
    order: Ordering,
    run: impl FnOnce() -> R,
    gave: impl FnOnce(&R) -> Shown,
) -> R {
    let args = args.map(|arg| arg.map_or(Shown::Nothing, Value::shown));
    op(Op { name, object: id, args, order: Some(order), at }, || bracket(order, run), gave)
}

macro_rules! accesses {
    ($value:ty) => {
        /// As in std.
        #[track_caller]
        pub fn load(&self, order: Ordering) -> $value {
            let what = ("load", self.id, Location::caller());
            access::<$value, _>(what, [None; 2], order, || self.inner.load(order), |v| v.shown())
        }

        /// As in std.
        #[track_caller]
        pub fn store(&self, value: $value, order: Ordering) {
            let what = ("store", self.id, Location::caller());
            let run = || self.inner.store(value, order);
            access(what, [Some(value), None], order, run, |()| Shown::Nothing);
        }

        /// As in std.
        #[track_caller]
        pub fn swap(&self, value: $value, order: Ordering) -> $value {
            let what = ("swap", self.id, Location::caller());
            access(
                what,
                [Some(value), None],
                order,
                || self.inner.swap(value, order),
                |v| v.shown(),
            )
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
            let what = ("compare_exchange", self.id, Location::caller());
            let run = || self.inner.compare_exchange(current, new, success, failure);
            access(what, [Some(current), Some(new)], success, run, swapped)
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
    };
}

macro_rules! atomics {
    ($($name:ident $value:ty: $($method:ident)*;)*) => {$(
        /// loom's atomic, with std's `SeqCst`.
        pub struct $name {
            inner: ::loom::sync::atomic::$name,
            id: Id,
        }

        impl $name {
            /// As in std, but not `const`.
            #[track_caller]
            pub fn new(value: $value) -> Self {
                let id = made(stringify!($name), Location::caller());
                Self { inner: ::loom::sync::atomic::$name::new(value), id }
            }

            /// As in std.
            #[track_caller]
            pub fn into_inner(self) -> $value {
                self.inner.into_inner()
            }

            accesses!($value);

            $(
                /// As in std.
                #[track_caller]
                pub fn $method(&self, value: $value, order: Ordering) -> $value {
                    let what = (stringify!($method), self.id, Location::caller());
                    let run = || self.inner.$method(value, order);
                    access(what, [Some(value), None], order, run, |v| v.shown())
                }
            )*
        }

        impl Default for $name {
            #[track_caller]
            fn default() -> Self {
                Self::new(<$value>::default())
            }
        }

        impl From<$value> for $name {
            #[track_caller]
            fn from(value: $value) -> Self {
                Self::new(value)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.inner.fmt(f)
            }
        }
    )*};
}

atomics! {
    AtomicBool bool: fetch_and fetch_nand fetch_or fetch_xor;
    AtomicU8 u8: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
    AtomicU16 u16: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
    AtomicU32 u32: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
    AtomicU64 u64: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
    AtomicUsize usize: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
    AtomicI8 i8: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
    AtomicI16 i16: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
    AtomicI32 i32: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
    AtomicI64 i64: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
    AtomicIsize isize: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min;
}

/// loom's atomic pointer, with std's `SeqCst`.
pub struct AtomicPtr<T> {
    inner: ::loom::sync::atomic::AtomicPtr<T>,
    id: Id,
}

impl<T> AtomicPtr<T> {
    /// As in std, but not `const`.
    #[track_caller]
    pub fn new(pointer: *mut T) -> Self {
        let id = made("AtomicPtr", Location::caller());
        Self { inner: ::loom::sync::atomic::AtomicPtr::new(pointer), id }
    }

    accesses!(*mut T);
}

impl<T> Default for AtomicPtr<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(std::ptr::null_mut())
    }
}

impl<T> fmt::Debug for AtomicPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
