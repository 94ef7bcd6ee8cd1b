//! Atomics: std's outside of a model. Inside, a shadow that is sequentially
//! consistent, whatever the ordering says.

use crate::engine::object::Data;
use crate::engine::{self, Id, Place};
use std::panic::Location;
use std::sync::atomic as real;

pub use std::sync::atomic::{Ordering, compiler_fence};

/// As [`std::sync::atomic::fence`]. Inside of a model it is a step, and has
/// nothing to add: the model is sequentially consistent.
#[track_caller]
pub fn fence(order: Ordering) {
    if engine::inside() {
        let at = Location::caller();
        engine::step("fence", None, engine::Wait::Ready, None, at);
        engine::done(at, None, || format!("fence({order:?})"));
    } else {
        real::fence(order);
    }
}

macro_rules! common {
    ($name:ident, $value:ty, [$($generic:tt)*]) => {
        impl<$($generic)*> $name<$($generic)*> {
            /// As in std.
            #[track_caller]
            pub const fn new(value: $value) -> Self {
                Self { real: real::$name::new(value), id: Id::new() }
            }

            /// The shadow's place.
            fn shadow(&self) -> usize {
                self.id.index(stringify!($name), || {
                    // ORDERING: nothing else is published by the value that an
                    // object has before a model uses it.
                    let value = self.real.load(Ordering::Relaxed);
                    Data::Value(Box::new(Shadow(real::$name::new(value))))
                })
            }

            /// What `f` does. One that leaves the value as it was is a load.
            fn with<R>(index: usize, f: impl FnOnce(&real::$name<$($generic)*>) -> R) -> R {
                engine::told(index, |data: &mut Data| match data {
                    Data::Value(value) => {
                        let value = &value
                            .downcast_ref::<Shadow<real::$name<$($generic)*>>>()
                            .expect("an atomic keeps its type")
                            .0;
                        // ORDERING: on the model's one thread.
                        let before = value.load(Ordering::Relaxed);
                        let result = f(value);
                        (result, value.load(Ordering::Relaxed) != before)
                    }
                    _ => unreachable!("an atomic keeps its kind"),
                })
            }

            /// One access: on the shadow inside of a model.
            #[track_caller]
            fn access<R>(
                &self,
                op: &'static str,
                f: impl FnOnce(&real::$name<$($generic)*>) -> R,
                text: impl FnOnce(&R) -> String,
            ) -> R {
                if !engine::inside() {
                    return f(&self.real);
                }
                let at: Place = Location::caller();
                let index = self.shadow();
                engine::touch(op, index, at);
                let result = Self::with(index, f);
                engine::done(at, Some(index), || text(&result));
                result
            }

            /// Brings the shadow's value back, before a use that needs no step.
            fn settle(&self) {
                if engine::inside() && let Some(index) = self.id.known() {
                    let value = Self::with(index, |shadow| shadow.load(Ordering::SeqCst));
                    self.real.store(value, Ordering::SeqCst);
                    self.id.forget();
                }
            }

            /// As in std.
            pub fn get_mut(&mut self) -> &mut $value {
                self.settle();
                self.real.get_mut()
            }

            /// As in std.
            pub fn into_inner(self) -> $value {
                self.settle();
                self.real.into_inner()
            }

            /// As in std.
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                self.access("load", |a| a.load(order), |v| format!("load() -> {v:?}"))
            }

            /// As in std.
            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                self.access("store", |a| a.store(value, order), |()| format!("store({value:?})"));
            }

            /// As in std.
            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.access(
                    "swap",
                    |a| a.swap(value, order),
                    |v| format!("swap({value:?}) -> {v:?}"),
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
                self.access(
                    "compare_exchange",
                    |a| a.compare_exchange(current, new, success, failure),
                    |r| format!("compare_exchange({current:?}, {new:?}) -> {r:?}"),
                )
            }

            /// As in std. Inside of a model it does not fail for no reason.
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
                if !engine::inside() {
                    return self.real.compare_exchange_weak(current, new, success, failure);
                }
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

            /// As in std.
            pub fn as_ptr(&self) -> *mut $value {
                self.settle();
                self.real.as_ptr()
            }
        }

        impl<$($generic)*> std::fmt::Debug for $name<$($generic)*> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // No step: what is printed is no part of the model.
                match self.id.known().filter(|_| engine::inside()) {
                    Some(index) => {
                        let value = Self::with(index, |shadow| shadow.load(Ordering::SeqCst));
                        value.fmt(f)
                    }
                    None => self.real.fmt(f),
                }
            }
        }

        impl<$($generic)*> From<$value> for $name<$($generic)*> {
            #[track_caller]
            fn from(value: $value) -> Self {
                Self::new(value)
            }
        }
    };
}

/// What an execution keeps of an atomic.
struct Shadow<T>(T);

macro_rules! fetch {
    ($name:ident, $value:ty: $($method:ident)*) => {
        impl $name {
            $(
                /// As in std.
                #[track_caller]
                pub fn $method(&self, value: $value, order: Ordering) -> $value {
                    self.access(
                        stringify!($method),
                        |a| a.$method(value, order),
                        |v| format!(concat!(stringify!($method), "({:?}) -> {:?}"), value, v),
                    )
                }
            )*
        }
    };
}

macro_rules! integers {
    ($($name:ident $value:ty,)*) => {$(
        /// As in std.
        pub struct $name {
            real: real::$name,
            id: Id,
        }

        common!($name, $value, []);
        fetch!($name, $value: fetch_add fetch_sub fetch_and fetch_nand fetch_or fetch_xor fetch_max fetch_min);

        impl Default for $name {
            #[track_caller]
            fn default() -> Self {
                Self::new(0)
            }
        }
    )*};
}

integers! {
    AtomicU8 u8, AtomicU16 u16, AtomicU32 u32, AtomicU64 u64, AtomicUsize usize,
    AtomicI8 i8, AtomicI16 i16, AtomicI32 i32, AtomicI64 i64, AtomicIsize isize,
}

/// As in std.
pub struct AtomicBool {
    real: real::AtomicBool,
    id: Id,
}

common!(AtomicBool, bool, []);
fetch!(AtomicBool, bool: fetch_and fetch_nand fetch_or fetch_xor);

impl AtomicBool {
    /// As in std.
    #[track_caller]
    pub fn fetch_not(&self, order: Ordering) -> bool {
        self.fetch_xor(true, order)
    }
}

impl Default for AtomicBool {
    #[track_caller]
    fn default() -> Self {
        Self::new(false)
    }
}

/// As in std.
pub struct AtomicPtr<T> {
    real: real::AtomicPtr<T>,
    id: Id,
}

impl<T> AtomicPtr<T> {
    /// As in std.
    #[track_caller]
    pub const fn new(value: *mut T) -> Self {
        Self { real: real::AtomicPtr::new(value), id: Id::new() }
    }

    fn shadow(&self) -> usize {
        self.id.index("AtomicPtr", || {
            let value = self.real.load(Ordering::Relaxed);
            Data::Value(Box::new(Shadow(real::AtomicPtr::<()>::new(value.cast()))))
        })
    }

    fn with<R>(index: usize, f: impl FnOnce(&real::AtomicPtr<()>) -> R) -> R {
        engine::told(index, |data: &mut Data| match data {
            Data::Value(value) => {
                let value = &value
                    .downcast_ref::<Shadow<real::AtomicPtr<()>>>()
                    .expect("an atomic keeps its type")
                    .0;
                let before = value.load(Ordering::Relaxed);
                let result = f(value);
                (result, value.load(Ordering::Relaxed) != before)
            }
            _ => unreachable!("an atomic keeps its kind"),
        })
    }

    #[track_caller]
    fn access<R>(
        &self,
        op: &'static str,
        inside: impl FnOnce(&real::AtomicPtr<()>) -> R,
        outside: impl FnOnce(&real::AtomicPtr<T>) -> R,
        text: impl FnOnce(&R) -> String,
    ) -> R {
        if !engine::inside() {
            return outside(&self.real);
        }
        let at: Place = Location::caller();
        let index = self.shadow();
        engine::touch(op, index, at);
        let result = Self::with(index, inside);
        engine::done(at, Some(index), || text(&result));
        result
    }

    fn settle(&self) {
        if engine::inside()
            && let Some(index) = self.id.known()
        {
            let value = Self::with(index, |shadow| shadow.load(Ordering::SeqCst));
            self.real.store(value.cast(), Ordering::SeqCst);
            self.id.forget();
        }
    }

    /// As in std.
    pub fn get_mut(&mut self) -> &mut *mut T {
        self.settle();
        self.real.get_mut()
    }

    /// As in std.
    pub fn into_inner(self) -> *mut T {
        self.settle();
        self.real.into_inner()
    }

    /// As in std.
    #[track_caller]
    pub fn load(&self, order: Ordering) -> *mut T {
        self.access(
            "load",
            |a| a.load(order).cast(),
            |a| a.load(order),
            |v| format!("load() -> {v:?}"),
        )
    }

    /// As in std.
    #[track_caller]
    pub fn store(&self, value: *mut T, order: Ordering) {
        self.access(
            "store",
            |a| a.store(value.cast(), order),
            |a| a.store(value, order),
            |()| format!("store({value:?})"),
        );
    }

    /// As in std.
    #[track_caller]
    pub fn swap(&self, value: *mut T, order: Ordering) -> *mut T {
        self.access(
            "swap",
            |a| a.swap(value.cast(), order).cast(),
            |a| a.swap(value, order),
            |v| format!("swap({value:?}) -> {v:?}"),
        )
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// The pointer that was there, if it was another.
    #[track_caller]
    pub fn compare_exchange(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        self.access(
            "compare_exchange",
            |a| {
                a.compare_exchange(current.cast(), new.cast(), success, failure)
                    .map(<*mut ()>::cast)
                    .map_err(<*mut ()>::cast)
            },
            |a| a.compare_exchange(current, new, success, failure),
            |r| format!("compare_exchange({current:?}, {new:?}) -> {r:?}"),
        )
    }

    /// As in std. Inside of a model it does not fail for no reason.
    ///
    /// # Errors
    ///
    /// The pointer that was there, if it was another.
    #[track_caller]
    pub fn compare_exchange_weak(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        if !engine::inside() {
            return self.real.compare_exchange_weak(current, new, success, failure);
        }
        self.compare_exchange(current, new, success, failure)
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// The pointer that `f` wanted nothing for.
    #[track_caller]
    pub fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        mut f: impl FnMut(*mut T) -> Option<*mut T>,
    ) -> Result<*mut T, *mut T> {
        let mut now = self.load(fetch);
        while let Some(next) = f(now) {
            match self.compare_exchange_weak(now, next, set, fetch) {
                Ok(before) => return Ok(before),
                Err(other) => now = other,
            }
        }
        Err(now)
    }
}

impl<T> Default for AtomicPtr<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(std::ptr::null_mut())
    }
}

impl<T> From<*mut T> for AtomicPtr<T> {
    #[track_caller]
    fn from(value: *mut T) -> Self {
        Self::new(value)
    }
}

impl<T> std::fmt::Debug for AtomicPtr<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.real.fmt(f)
    }
}
